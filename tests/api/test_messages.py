"""Sending: once for each key, whoever asks how often and at what moment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.models import ChannelAccount
from bridge.models import Attachment, Delivery, Message
from tests.api.conftest import calling_as, user_with
from tests.support import factories
from tests.support.factories import at_once

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World

URL = "/api/v1/messages/"
TO = {"peer": {"kind": "direct", "id": "zhangsan"}}


def post(client: Client, body: Any, key: str = "k1", **more: Any) -> Any:
    return client.post(URL, body, content_type="application/json", headers={"Idempotency-Key": key}, **more)


def upload(client: Client, body: Any, *files: Any, key: str = "k1", **more: Any) -> Any:
    parts = {"message": json.dumps(body), "files": list(files), **more}
    return client.post(URL, parts, headers={"Idempotency-Key": key})


def text(name: str = "hello", **where: Any) -> dict[str, Any]:
    return {**where, "content": {"text": name}}


def test_a_message_is_queued_and_told_once(operator: Client, world: World) -> None:
    first = post(operator, text(account=world.app.pk, **TO))
    again = post(operator, text(conversation=world.person.pk))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.content == again.content
    message = Message.objects.get(source="api")
    deeds = [entry.additional_data for entry in LogEntry.objects.get_for_object(world.person) if entry.additional_data]
    assert deeds == [{"action": "sent a message"}]
    receipt = first.json()
    assert receipt["id"] == message.pk
    assert receipt["peer"] == {"kind": "direct", "id": "zhangsan"}
    assert receipt["deliveries"] == [message.deliveries.get().pk]
    assert (message.text, message.direction, message.conversation_id) == ("hello", "out", world.person.pk)


def test_the_answer_stays_the_same_when_the_delivery_is_done(operator: Client, world: World) -> None:
    first = post(operator, text(conversation=world.person.pk))
    factories.shift(
        Delivery.objects.get(pk=first.json()["deliveries"][0]), state="skipped", reason="stopped", finished_at=0
    )
    assert post(operator, text(conversation=world.person.pk)).content == first.content


@pytest.mark.parametrize("change", ["text", "peer", "account", "kind", "data"])
def test_the_same_key_with_another_body_is_refused(operator: Client, world: World, change: str) -> None:
    other_app = factories.app(agent_id=7)
    first = {"account": world.app.pk, **TO, "content": {"kind": "textcard", "data": CARD, "text": ""}}
    other: dict[str, dict[str, Any]] = {
        "text": {"content": {"text": "other"}},
        "peer": {"peer": {"kind": "direct", "id": "lisi"}},
        "account": {"account": other_app.pk},
        "kind": {"content": {"text": "hello"}},
        "data": {"content": {**first["content"], "data": {**CARD, "title": "Other"}}},
    }
    assert post(operator, first).status_code == 201
    answer = post(operator, {**first, **other[change]})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert Message.objects.filter(source="api").count() == 1


CARD = {"title": "Report", "description": "Ready", "url": "https://example.com"}


def test_keys_live_in_their_users_own_space(world: World) -> None:
    one, other = user_with("Operators"), user_with("Admins")
    answers = [post(calling_as(user), text(conversation=world.person.pk)) for user in (one, one, other)]
    assert [answer.status_code for answer in answers] == [201, 200, 201]
    assert Message.objects.filter(source="api").values_list("client", flat=True).distinct().count() == 2


@pytest.mark.parametrize("key", ["", "a key", "schlüssel", "k" * 201])
def test_a_key_is_needed(operator: Client, world: World, key: str) -> None:
    answer = post(operator, text(conversation=world.person.pk), key)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")
    assert not Message.objects.filter(source="api").exists()


def test_files_go_with_the_message_and_into_its_fingerprint(operator: Client, world: World) -> None:
    def pdf(content: bytes) -> SimpleUploadedFile:
        return SimpleUploadedFile("report.pdf", content, "application/pdf")

    body = text("here it is", conversation=world.person.pk)
    first = upload(operator, body, pdf(b"%PDF one"))
    assert first.status_code == 201
    stored = Attachment.objects.get(message_id=first.json()["id"])
    assert (stored.name, stored.mime, stored.file.read()) == ("report.pdf", "application/pdf", b"%PDF one")
    stored.file.close()
    assert first.json()["attachments"] == [stored.pk]
    assert len(first.json()["deliveries"]) == 2
    again = upload(operator, body, pdf(b"%PDF one"))
    assert (again.status_code, again.content) == (200, first.content)
    assert upload(operator, body, pdf(b"%PDF two")).status_code == 409
    renamed = SimpleUploadedFile("other.pdf", b"%PDF one", "application/pdf")
    assert upload(operator, body, renamed).status_code == 409
    assert post(operator, body).status_code == 409
    assert Attachment.objects.filter(message__source="api").count() == 1


def test_what_was_sent_wrongly_is_named(operator: Client, world: World) -> None:
    here = {"conversation": world.person.pk}
    cases: list[tuple[Any, str]] = [
        ({"content": {"text": "x"}}, "non_field_errors"),
        ({**here, "account": world.app.pk, **TO, "content": {"text": "x"}}, "non_field_errors"),
        ({"account": world.app.pk, "content": {"text": "x"}}, "non_field_errors"),
        ({**here}, "content"),
        ({**here, "content": {}}, "content.text"),
        ({**here, "content": {"text": " \n"}}, "content.text"),
        ({**here, "content": {"text": "a\u0000b"}}, "content.text"),
        ({**here, "content": {"text": "\ud800"}}, "content.text"),
        ({**here, "content": {"text": "x", "bold": True}}, "content.bold"),
        ({**here, "content": {"kind": "hologram"}}, "content.kind"),
        ({**here, "content": {"text": "x"}, "urgent": True}, "urgent"),
        ({"conversation": 10**30, "content": {"text": "x"}}, "conversation"),
        ({"account": world.app.pk, "peer": {"kind": "robot", "id": ""}, "content": {"text": "x"}}, "peer.kind"),
        ([], "non_field_errors"),
    ]
    for body, name in cases:
        answer = post(operator, json.dumps(body))
        assert answer.status_code == 400, (body, answer.content)
        assert name in answer.json()["details"], (body, answer.json())
    assert not Message.objects.filter(source="api").exists()


def test_parts_of_a_form_are_checked_too(operator: Client, world: World) -> None:
    def tried(*files: Any, **parts: Any) -> Any:
        return operator.post(URL, {"files": list(files), **parts}, headers={"Idempotency-Key": "k1"})

    good = json.dumps(text(conversation=world.person.pk))
    assert tried(message="{").json()["code"] == "parse_error"
    assert tried().json()["code"] == "parse_error"
    assert "attachment" in tried(message=good, attachment="x").json()["details"]
    assert tried(SimpleUploadedFile("empty.txt", b""), message=good).status_code == 400
    assert tried(*[SimpleUploadedFile(f"{n}.txt", b"x") for n in range(11)], message=good).status_code == 400
    card = json.dumps({"conversation": world.person.pk, "content": {"kind": "textcard", "data": CARD}})
    assert "files" in tried(SimpleUploadedFile("a.txt", b"x"), message=card).json()["details"]
    long_type = SimpleUploadedFile("a.txt", b"a text file", "text/" + "x" * 300)
    assert tried(long_type, message=good).status_code == 201


def test_what_the_platform_cannot_carry_is_refused_and_the_key_stays_free(operator: Client, world: World) -> None:
    refused = post(operator, text(conversation=world.group.pk) | {"content": {"kind": "template_card", "data": {}}})
    assert (refused.status_code, refused.json()["code"]) == (422, "cannot_send")
    assert refused.json()["message"]
    assert not Message.objects.filter(source="api").exists()
    assert post(operator, text(conversation=world.person.pk)).status_code == 201


def test_an_account_of_a_retired_kind_can_be_read_and_is_not_spoken_through(operator: Client, world: World) -> None:
    ChannelAccount.objects.update(kind="wecom_fax")
    paths = {
        "accounts": world.app.pk, "conversations": world.person.pk, "messages": world.question.pk, "deliveries": world.dead.pk
    }  # fmt: skip
    found = [(operator.get(f"/api/v1/{name}/"), operator.get(f"/api/v1/{name}/{pk}/")) for name, pk in paths.items()]
    assert {answer.status_code for pair in found for answer in pair} == {200}
    refused = post(operator, text(conversation=world.person.pk))
    assert (refused.status_code, refused.json()["code"]) == (422, "cannot_send")
    kept = operator.post(f"/api/v1/deliveries/{world.dead.pk}/replay/")
    assert (kept.status_code, kept.json()["code"]) == (422, "cannot_replay")
    for answer in (refused, kept):
        assert answer.json()["message"] == "This kind of account is no longer supported."
    assert not Message.objects.filter(source="api").exists()


def test_a_bot_that_speaks_only_in_answer_says_so(operator: Client, world: World) -> None:
    Message.objects.update(reply_until=None)
    answer = post(operator, text(conversation=world.group.pk))
    assert (answer.status_code, answer.json()["code"]) == (422, "cannot_send")


def test_the_sender_need_not_be_able_to_read(world: World) -> None:
    user = user_with("Operators")
    user.groups.get().permissions.remove(*user.groups.get().permissions.filter(codename="read_content"))
    answer = post(calling_as(user), text("a secret", conversation=world.person.pk))
    assert answer.status_code == 201
    assert b"a secret" not in answer.content


@pytest.mark.django_db(transaction=True)
def test_many_with_one_key_at_once_send_once() -> None:
    account, clients = factories.app(), [calling_as(user) for user in [user_with("boss")] * 6]
    body = text(account=account.pk, **TO)
    answers = at_once(*[lambda client=client: post(client, body) for client in clients])
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 200, 201]
    assert len({answer.content for answer in answers}) == 1
    assert (Message.objects.count(), Delivery.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_one_key_for_several_accounts_at_once_sends_once() -> None:
    accounts = [factories.app(corp_id=f"wwtest000000000{n}") for n in range(4)]
    clients = [calling_as(user) for user in [user_with("boss")] * 4]
    answers = at_once(
        *[
            lambda client=client, account=account: post(client, text(account=account.pk, **TO))
            for client, account in zip(clients, accounts, strict=True)
        ]
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert Message.objects.count() == 1


@pytest.mark.parametrize("peer", ["zhangsan|lisi", "@all"])
def test_several_people_are_meant_and_allowed_or_nothing_is_sent(operator: Client, world: World, peer: str) -> None:
    body = text(account=world.app.pk, peer={"kind": "direct", "id": peer})
    before = Message.objects.count()
    unsaid = post(operator, body)
    assert unsaid.status_code == 422
    assert unsaid.json()["code"] == "cannot_send"
    assert post(operator, {**body, "several": True}, "k2").status_code == 403
    assert Message.objects.count() == before
    boss = calling_as(user_with("boss"))
    assert post(boss, body, "k3").status_code == 422, "a right is no intention"
    assert post(boss, {**body, "several": True}, "k4").status_code == 201
    assert Message.objects.get(idempotency_key="k4").peer_id == peer


def test_several_is_no_hindrance_for_one_person(operator: Client, world: World) -> None:
    assert post(operator, {**text(account=world.app.pk, **TO), "several": True}).status_code == 201


def test_files_may_weigh_more_than_json(operator: Client, world: World, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000
    body = text("x" * 100, conversation=world.person.pk)
    assert upload(operator, body, SimpleUploadedFile("a.txt", b"x" * 5000)).status_code == 201
    assert post(operator, text("x" * 5000, conversation=world.person.pk), "k2").status_code == 413


def test_a_key_that_staff_used_is_free_for_a_script(operator: Client, world: World) -> None:
    factories.send(world.app, client="user:1", key="k1")
    Message.objects.filter(idempotency_key="k1").update(client=f"user:{User.objects.get(username='Operators-user').pk}")
    assert post(operator, text(conversation=world.person.pk)).status_code == 201
