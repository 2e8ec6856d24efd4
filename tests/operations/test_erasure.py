"""Whoever leaves is forgotten: what they were called and what was said goes, that it was said stays."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from accounts.models import ReplyWindow
from bridge.models import (
    Attachment,
    Contact,
    Conversation,
    Delivery,
    FallbackSender,
    Message,
    Reason,
    Route,
    SessionEpoch,
    State,
    Target,
)
from bridge.models.deliveries import CONVERSATION_OF_EVENT
from bridge.operations import erasure, replay
from bridge.pipeline.delivery import settle
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox
from bridge.runtime.worker import tasks
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import Content, Window
from tests.operations.erasure import leave, stored_files
from tests.operations.talk import account_with_a_talk
from tests.support import factories
from tests.support.factories import (
    FAN,
    OFFICIAL,
    app,
    claim,
    hear,
    in_thread,
    mini,
    official,
    route,
    said,
    turn,
)
from tests.support.followers import crowd

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
SECRETS = ("geheimes Wort", "Antwort darauf", "红姐", "passport.png", "bytes of a picture", FAN)


def follow(account: ChannelAccount, person: str = FAN) -> Message:
    return hear(account, "subscribe", person, kind="event", follows=True, window=Window(3, 60))


def everything() -> str:
    """All that is stored, as text; keys and hashes of the platform's ids apart."""
    tables = [name for name in connection.introspection.table_names() if not name.startswith(("django_", "auth_"))]
    with connection.cursor() as cursor:
        found = []
        for name in tables:
            cursor.execute(f'SELECT * FROM "{name}"')  # noqa: S608  names of our tables
            found += [json.dumps(list(values), default=str, ensure_ascii=False) for values in cursor.fetchall()]
    return "\n".join(found)


@pytest.fixture
def account() -> ChannelAccount:
    return account_with_a_talk()


def carry_everything() -> None:
    """What is pending was carried: the agent answered, the first part went out, the webhook was called."""
    for carrier in ("connector", "worker", "webhook"):
        for delivery in claim(carrier):  # type: ignore[arg-type]
            attempt = settle.open_attempt(delivery, {"said": "geheimes Wort"})
            settle.mark_delivered(
                delivery,
                attempt,
                response={"said": "Antwort darauf"},
                note=Cause("x", {"detail": "红姐"}),
                remote_id=FAN if carrier == "worker" else "",
            )


def test_nothing_of_them_is_left_and_the_states_stay(
    account: ChannelAccount, django_capture_on_commit_callbacks: Any
) -> None:
    carry_everything()
    carry_everything()
    Attachment.objects.update(handle=f"handle {FAN}", handle_at=timezone.now(), check_trace=f"trace {FAN}")
    Message.objects.update(request_hash="geheimes Wort")
    states = dict(Delivery.objects.values_list("pk", "state"))
    keys = set(Message.objects.values_list("idempotency_key", flat=True))
    names = stored_files()
    before = everything()
    assert [secret for secret in SECRETS if secret not in before] == ["bytes of a picture"]
    assert len(names) == 2

    leave(account)
    router.route_waiting()
    with django_capture_on_commit_callbacks(execute=True):
        assert erasure.erase_people() == 1
    assert [name for name in names if default_storage.exists(name)] == []

    after = everything()
    assert [line for line in after.splitlines() for secret in SECRETS if secret in line] == []
    assert dict(Delivery.objects.filter(pk__in=states).values_list("pk", "state")) == states
    assert set(Message.objects.values_list("idempotency_key", flat=True)) > keys
    contact, talk = Contact.objects.get(), Conversation.objects.get()
    assert contact.external_id == talk.peer_id == str(talk) == f"erased-{contact.pk}"
    assert (contact.subscribed, contact.erasure_requested_at, ReplyWindow.objects.count()) == (False, None, 0)
    assert contact.name_fetched_at, "nobody asks the platform for the name of a pseudonym"
    assert set(Message.objects.values_list("peer_id", "text")) == {(talk.peer_id, "")}
    assert set(Attachment.objects.values_list("state", "size")) == {("failed", 18)}
    assert erasure.erase_people() == 0


def test_it_is_recorded_without_the_data(account: ChannelAccount) -> None:
    leave(account)
    router.route_waiting()
    erasure.erase_people()
    entries = LogEntry.objects.filter(additional_data__action=erasure.AUDIT_TEXT)
    assert [entry.object_repr for entry in entries] == [f"erased-{Contact.objects.get().pk}"]
    titles = LogEntry.objects.get(content_type__model="conversation", changes__has_key="title")
    assert titles.changes == {"title": ["•••", "•••"]}
    mapped = LogEntry.objects.get(content_type__model="route", object_pk=str(Route.objects.earliest("pk").pk))
    assert (mapped.changes["note"], mapped.changes["agent_id"]) == (["•••", "•••"], ["None", "main"])


def test_nobody_sends_to_them_any_more_in_place_of_another_account(account: ChannelAccount) -> None:
    talk = Conversation.objects.create(account=app(), peer_kind="direct", peer_id="somebody")
    FallbackSender.objects.create(conversation=talk, position=0, account=account, peer_kind="direct", peer_id=FAN)
    leave(account)
    router.route_waiting()
    assert not FallbackSender.objects.exists()


def test_whoever_comes_back_within_a_second_is_new(account: ChannelAccount) -> None:
    first = Delivery.objects.filter(target=Target.AGENT).get()
    leave(account)
    follow(account)
    back = hear(account, "da bin ich", FAN)
    assert router.route_waiting() == 1  # what follows the event is said by somebody new: another batch
    assert router.route_waiting() == 2
    assert erasure.erase_people() == 1
    back.refresh_from_db()
    assert (back.text, back.peer_id, back.sender) == ("da bin ich", FAN, FAN)
    old, new = Conversation.objects.order_by("pk")
    assert (old.erased, new.erased, new.peer_id, back.conversation_id) == (True, False, FAN, new.pk)
    assert dict(Contact.objects.values_list("external_id", "subscribed")) == {old.peer_id: False, FAN: True}
    assert ReplyWindow.objects.get().peer_id == FAN
    question = Delivery.objects.get(message=back)
    assert question.state == State.SKIPPED  # their mapping was theirs alone; the other one names them no more
    route(account, peer_kind="direct", agent_id="other")
    again = turn(account, "und jetzt?", FAN)
    assert again.payload["session_key"] != first.payload["session_key"]


def test_the_agent_remembers_nothing_of_them() -> None:
    account = official()
    route(account)
    before = turn(account, "1", FAN).payload["session_key"]
    assert turn(account, "2", FAN).payload["session_key"] == before
    leave(account)
    router.route_waiting()
    assert turn(account, "3", FAN).payload["session_key"] != before


def test_a_shared_memory_that_they_began_anew_does_not_come_back() -> None:
    account = official()
    route(account, scope=Route.Scope.SHARED, commands_for_all=True)
    before = turn(account, "1", FAN).payload["session_key"]
    turn(account, "/new", FAN)
    renewed = turn(account, "2", FAN).payload["session_key"]
    leave(account)
    router.route_waiting()
    assert turn(account, "3", "oOther").payload["session_key"] == renewed != before


def test_nothing_is_left_of_a_session_that_they_began_anew() -> None:
    account = official()
    route(account, scope="sender")
    hear(account, "hello", FAN)
    hear(account, "/new", FAN)
    router.route_waiting()
    assert SessionEpoch.objects.count() == 1
    leave(account)
    router.route_waiting()
    assert SessionEpoch.objects.count() == 0


def test_one_by_one_as_in_a_batch(account: ChannelAccount) -> None:
    """A message that breaks the batch has it routed one by one."""
    leave(account)
    back = hear(account, "da bin ich", FAN)
    router._route_one_by_one()
    back.refresh_from_db()
    assert back.conversation is not None
    assert (back.conversation.peer_id, Contact.objects.filter(external_id=FAN).count()) == (FAN, 1)


def test_they_can_leave_twice(account: ChannelAccount) -> None:
    for _time in range(2):
        leave(account)
        router.route_waiting()
        erasure.erase_people()
        follow(account)
        router.route_waiting()
    leave(account)
    leave(account)
    router.route_waiting()
    router.route_waiting()
    assert erasure.erase_people() == 2
    assert Contact.objects.filter(external_id__startswith="erased-", erasure_requested_at=None).count() == 4


def test_a_repeated_callback_is_still_known(account: ChannelAccount) -> None:
    once = said("noch einmal", FAN)
    factories.receive(account, once)
    leave(account)
    router.route_waiting()
    erasure.erase_people()
    assert factories.receive(account, once) is None


def test_another_account_and_other_people_are_left_alone(account: ChannelAccount) -> None:
    other = mini()
    kept = [
        turn(other, "bleibt", FAN).message,
        turn(account, "bleibt auch", "oOther").message,
        turn(app(), "x", FAN).message,
    ]
    window = {"left": 3, "until": timezone.now() + timedelta(hours=1)}
    factories.reply_window(other, FAN, **window)
    factories.reply_window(account, "oOther", **window)
    leave(account)
    router.route_waiting()
    erasure.erase_people()
    assert [Message.objects.get(pk=one.pk).text for one in kept if one] == ["bleibt", "bleibt auch", "x"]
    talks = [Message.objects.get(pk=one.pk).conversation for one in kept if one]
    people = [(talk.account_id, talk.peer_id) for talk in talks if talk]
    assert people == [(one.account_id, one.peer_id) for one in kept if one]
    assert [who for _account, who in people[:2]] == [FAN, "oOther"]
    assert set(ReplyWindow.objects.values_list("account", "peer_id")) == {(other.pk, FAN), (account.pk, "oOther")}


def test_a_batch_at_a_time_and_again_after_a_kill(account: ChannelAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "BATCH", 2)
    for number in range(5):
        hear(account, f"geheimes Wort {number}", FAN)
    router.route_waiting()
    leave(account)
    router.route_waiting()
    ids = list(Message.objects.order_by("pk").values_list("pk", flat=True))
    erasure._erase_batch(ids[:2], Conversation.objects.get().peer_id)  # killed after its first batch
    assert "geheimes Wort 4" in everything()
    tasks.erase()
    assert "geheimes Wort" not in everything()


@pytest.mark.parametrize(("total", "left"), [(1, {}), (2, {"before": "Dear Ann"})])
def test_a_text_that_was_written_for_one_replay_is_erased(account: ChannelAccount, total: int, left: object) -> None:
    answered = Delivery.objects.filter(target=Target.CHANNEL).earliest("pk")
    run = factories.replay_run(
        answered, "finished", finished_at=timezone.now(), total=total, changes={"before": "Dear Ann"}
    )
    run.items.update(result="failed", before={"payload": {"text": "hello"}})
    leave(account)
    router.route_waiting()
    erasure.erase_people()
    run.refresh_from_db()
    assert (run.changes, run.items.get().before) == (left, {})


def test_a_text_that_was_written_for_a_replay_that_never_ran_is_erased(account: ChannelAccount) -> None:
    answered = Delivery.objects.filter(target=Target.CHANNEL).earliest("pk")
    run = factories.replay_run(answered, total=1, changes={"text": "Dear Ann"})
    assert run.items.get().result == ""
    leave(account)
    router.route_waiting()
    erasure.erase_people()
    run.refresh_from_db()
    assert run.changes == {}


def test_nothing_can_be_said_or_replayed(account: ChannelAccount) -> None:
    carry_everything()
    leave(account)
    router.route_waiting()
    erasure.erase_people()
    talk = Conversation.objects.get()
    assert outbox.why_not_send(talk) == str(outbox.PERSON_ERASED)
    with pytest.raises(outbox.CannotSend):
        outbox.send(account, "direct", talk.peer_id, Content(text="hallo?"), source="staff")
    Delivery.objects.update(state=State.DEAD, reason=Reason.PERMANENT, finished_at=timezone.now())
    result = replay.replay(Delivery.objects.values_list("pk", flat=True))
    assert (result.count, len(result.refused)) == (0, Delivery.objects.count())


def test_a_mapping_and_a_place_in_a_list_are_nobodys(account: ChannelAccount) -> None:
    leave(account)
    router.route_waiting()
    name = f"erased-{Contact.objects.get().pk}"
    assert set(Route.objects.values_list("peer_id", "note", "allowed_senders")) == {
        (name, "", ""), ("", "", f"oOther\n{name}"),
    }  # fmt: skip


def test_mappings_of_other_people_and_accounts_are_left_alone(account: ChannelAccount) -> None:
    other = mini()
    kept = [
        route(account, peer_kind="direct", peer_id="oOther", note="the other one", allowed_senders=f"{FAN}2"),
        route(account, peer_kind="group", peer_id=FAN, note="a group"),
        route(other, peer_kind="direct", peer_id=FAN, note="another account's"),
        route(other, allowed_senders=FAN),
    ]
    rows = Route.objects.filter(pk__in=[each.pk for each in kept]).order_by("pk")
    group = factories.conversation(account, FAN, "group", title="a group")
    before = list(rows.values())
    leave(account)
    router.route_waiting()
    assert erasure.erase_people() == 1
    assert list(rows.values()) == before
    group.refresh_from_db()
    assert (group.peer_id, group.title) == (FAN, "a group")


def test_a_withdrawn_right_of_a_mini_program_erases_too() -> None:
    account = mini()
    turn(account, "geheimes Wort", FAN)
    leave(account, follows=None)
    router.route_waiting()
    assert erasure.erase_people() == 1
    assert Contact.objects.get().subscribed is None
    assert "geheimes Wort" not in everything()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_record_it_once() -> None:
    account = official()
    for number in range(20):
        hear(account, f"geheimes Wort {number}", f"o{number}")
    router.route_waiting()
    for number in range(20):
        leave(account, f"o{number}")
    router.route_waiting()
    with ThreadPoolExecutor(2) as pool:
        counts = [done.result(30) for done in [pool.submit(in_thread(erasure.erase_people)) for _twice in range(2)]]
    assert sum(counts) + erasure.erase_people() == 20
    assert LogEntry.objects.filter(additional_data__action=erasure.AUDIT_TEXT).count() == 20


def test_the_platform_tells_who_comes_and_goes(valkey: object) -> None:
    with crowd() as people:
        account = official(people.client.url)
        come, go = (partial(deed, OFFICIAL, FAN) for deed in (people.client.follow, people.client.unfollow))
        people.does(account, come)
        assert Contact.objects.get().subscribed is True
        people.says(account, "geheimes Wort")
        people.does(account, go)
        tasks.erase()
        assert "geheimes Wort" not in everything()
        assert FAN not in everything()
        people.client.advance(1)  # events have no id: the same one within a second is a repetition
        people.does(account, come)
        people.says(account, "wieder da")
        tasks.erase()
    assert dict(Contact.objects.values_list("external_id", "subscribed"))[FAN] is True
    assert list(Message.objects.exclude(text="").values_list("text", "peer_id")) == [
        ("wieder da", FAN),
        ("subscribe", FAN),
    ]


def test_what_webhooks_were_told_is_found_by_an_index(account: ChannelAccount) -> None:
    body = {"data": {"conversation": {"id": 7}}}
    told_before = [Delivery(target=Target.WEBHOOK, lane="hook:1", payload={"body": body}) for _call in range(1000)]
    Delivery.objects.bulk_create(told_before)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE bridge_delivery")
        told = Delivery.objects.annotate(talk=CONVERSATION_OF_EVENT).filter(target=Target.WEBHOOK, talk="1")
        assert "delivery_told" in told.values("pk").explain()
