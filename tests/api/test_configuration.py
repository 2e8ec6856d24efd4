"""Accounts, gateways and mappings by script: the same rules as in the admin, and secrets that only go in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry

from accounts.models import ChannelAccount
from bridge.models import Conversation, Route
from openclaw.models import Gateway
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.support.factories import World

JSON = {"content_type": "application/json"}
NEW = {"kind": "wecom_app", "name": "Shop", "credentials": factories.APP_FIELDS}


def test_an_account_is_added(boss: Client) -> None:
    answer = boss.post("/api/v1/accounts/", NEW, **JSON)
    assert answer.status_code == 201, answer.content
    account = ChannelAccount.objects.get(name="Shop")
    assert account.credentials["secret"] == factories.SECRET
    assert account.external_id == answer.json()["external_id"]
    assert answer.json()["callback_url"] == f"https://bridge.example/callbacks/{account.key}"
    assert "credentials" not in answer.json()
    assert factories.SECRET not in answer.content.decode()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"kind": "telegram"}, "kind"),
        ({"name": ""}, "name"),
        ({"credentials": {}}, "credentials.corp_id"),
        ({"credentials": {**factories.APP_FIELDS, "encoding_aes_key": "short"}}, "credentials.encoding_aes_key"),
        ({"credentials": {**factories.APP_FIELDS, "password": "x"}}, "credentials.password"),
        ({"credentials": {**factories.APP_FIELDS, "secret": ["x"]}}, "credentials.secret"),
        ({"credentials": {**factories.APP_FIELDS, "corp_id": "\ud800"}}, "credentials.corp_id"),
        ({"credentials": "x"}, "credentials"),
        ({"api_base_url": "http://169.254.169.254/"}, "api_base_url"),
        ({"api_base_url": "ftp://example.com"}, "api_base_url"),
        ({"external_id": "x", "state": "ok", "key": "x"}, "key"),
    ],
)
def test_a_wrong_account_is_refused_by_field(boss: Client, change: dict[str, Any], name: str) -> None:
    answer = boss.post("/api/v1/accounts/", {**NEW, **change}, **JSON)
    assert answer.status_code == 400, answer.content
    assert name in answer.json()["details"], answer.json()
    assert factories.SECRET not in answer.content.decode()
    assert not ChannelAccount.objects.exists()


def test_shares_are_read_and_written(boss: Client) -> None:
    made = boss.post("/api/v1/accounts/", NEW, **JSON).json()
    assert (made["gateway_share"], made["turns_per_minute"]) == (75, 30)
    url = f"/api/v1/accounts/{made['id']}/"
    for given, shown in (
        ({"gateway_share": 40}, (40, 30)),
        ({"turns_per_minute": None}, (40, None)),
        ({"name": "Other"}, (40, None)),
    ):
        assert boss.patch(url, given, **JSON).status_code == 200
        read = boss.get(url).json()
        assert (read["gateway_share"], read["turns_per_minute"]) == shown


@pytest.mark.parametrize("value", [0, -1, 1.5, "much", True, [1], 70_000])
@pytest.mark.parametrize("name", ["gateway_share", "turns_per_minute"])
def test_shares_that_make_no_sense_are_refused_by_field(boss: Client, name: str, value: Any) -> None:
    account = factories.account()
    answer = boss.patch(f"/api/v1/accounts/{account.pk}/", {name: value}, **JSON)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [name])
    before = (account.gateway_share, account.turns_per_minute)
    account.refresh_from_db()
    assert (account.gateway_share, account.turns_per_minute) == before


def test_sentences_are_read_and_written(boss: Client) -> None:
    made = boss.post("/api/v1/accounts/", {**NEW, "sentences": {"failed": "出错了"}}, **JSON).json()
    assert (made["language"], made["sentences"]) == ("zh-hans", {"failed": "出错了"})
    url = f"/api/v1/accounts/{made['id']}/"
    assert boss.patch(url, {"sentences": {"stopped": "停"}}, **JSON).json()["sentences"] == {
        "failed": "出错了",
        "stopped": "停",
    }
    assert boss.patch(url, {"sentences": {"failed": ""}}, **JSON).json()["sentences"] == {"stopped": "停"}
    assert boss.patch(url, {"name": "Other"}, **JSON).json()["sentences"] == {"stopped": "停"}
    for wrong, field in (({"nonsense": "x"}, "nonsense"), ({"file_missing": "{x}"}, "sentences.file_missing")):
        answer = boss.patch(url, {"sentences": wrong}, **JSON)
        assert answer.status_code == 400
        assert field in str(answer.json()["details"])


def test_an_identity_is_taken_once(boss: Client) -> None:
    assert boss.post("/api/v1/accounts/", NEW, **JSON).status_code == 201
    again = boss.post("/api/v1/accounts/", {**NEW, "name": "Again"}, **JSON)
    assert again.status_code == 400
    assert "Shop" in str(again.json()["details"])


def test_changing_one_thing_leaves_the_others(boss: Client) -> None:
    account = factories.app()
    account.set_state("stopped", "", {"text": "refused"})  # type: ignore[arg-type]
    url = f"/api/v1/accounts/{account.pk}/"
    answer = boss.patch(url, {"name": "New name", "credentials": {"secret": "another"}}, **JSON)
    assert answer.status_code == 200, answer.content
    assert (answer.json()["name"], answer.json()["state"]) == ("New name", "new")
    after = ChannelAccount.objects.get(pk=account.pk)
    assert after.credentials == {**account.credentials, "secret": "another"}
    assert (after.api_base_url, after.external_id, after.retention_days) == (
        account.api_base_url, account.external_id, account.retention_days,
    )  # fmt: skip
    assert boss.patch(url, {"kind": "wecom_aibot"}, **JSON).status_code == 400
    assert ChannelAccount.objects.get(pk=account.pk).kind == "wecom_app"


@pytest.mark.parametrize(
    ("name", "made"),
    [("accounts", factories.app), ("gateways", factories.gateway), ("webhooks", factories.endpoint)],
)
def test_when_it_was_changed_is_written_too(boss: Client, name: str, made: Callable[[], Any]) -> None:
    row = made()
    long_ago = row.updated_at - timedelta(days=1)
    type(row).objects.update(updated_at=long_ago)
    assert boss.patch(f"/api/v1/{name}/{row.pk}/", {"name": "Another"}, **JSON).status_code == 200
    row.refresh_from_db()
    assert (row.name, row.updated_at > long_ago) == ("Another", True)


def test_an_account_that_never_spoke_can_be_deleted(boss: Client) -> None:
    account = factories.app()
    assert boss.delete(f"/api/v1/accounts/{account.pk}/").status_code == 204
    assert not ChannelAccount.objects.exists()


def test_what_is_in_use_is_not_deleted(boss: Client, world: World) -> None:
    """A gateway that a mapping names, and an account of whose events a webhook is told."""
    spare, named = factories.app(agent_id=7), factories.connected_gateway(name="Named")
    factories.endpoint_with_a_new_secret(name="Of the spare", account=spare)
    Route.objects.update(gateway=named)
    for path in (
        f"gateways/{named.pk}/",
        f"accounts/{spare.pk}/",
        f"accounts/{world.app.pk}/",
        f"gateways/{world.gateway.pk}/",
    ):
        answer = boss.delete(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use"), path
    assert (ChannelAccount.objects.count(), Gateway.objects.count()) == (3, 2)


def test_who_changed_it_is_noted_without_the_secret(boss: Client) -> None:
    account = factories.app()
    boss.patch(f"/api/v1/accounts/{account.pk}/", {"credentials": {"secret": "another-secret"}}, **JSON)
    entry = LogEntry.objects.filter(object_id=account.pk, actor__isnull=False).latest("id")
    assert entry.actor.get_username() == "boss-user"  # type: ignore[union-attr]
    assert "another-secret" not in str(entry.changes)


def test_a_gateway_is_added_changed_and_deleted(boss: Client) -> None:
    given = {"name": "Home", "base_url": "http://127.0.0.1:18789/", "token": "gateway-secret"}
    answer = boss.post("/api/v1/gateways/", given, **JSON)
    assert answer.status_code == 201, answer.content
    gateway = Gateway.objects.get()
    assert (gateway.base_url, gateway.token) == ("http://127.0.0.1:18789", "gateway-secret")
    assert "gateway-secret" not in answer.content.decode()
    url = f"/api/v1/gateways/{gateway.pk}/"
    gateway.set_state("stopped", "bad_token", {"detail": "refused"})  # type: ignore[arg-type]
    changed = boss.patch(url, {"max_in_flight": 3}, **JSON)
    assert (changed.json()["max_in_flight"], changed.json()["state"]) == (3, "new")
    gateway.refresh_from_db()
    assert (gateway.token, gateway.max_in_flight) == ("gateway-secret", 3)
    assert boss.delete(url).status_code == 204


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"base_url": "127.0.0.1"}, "base_url"),
        ({"base_url": "http://user:secret@host/"}, "base_url"),
        ({"base_url": "http://host/?token=secret"}, "base_url"),
        ({"timeout_seconds": 1}, "timeout_seconds"),
        ({"transport": "carrier pigeon"}, "transport"),
        ({"device_key": "x"}, "device_key"),
        ({"name": "OpenClaw at home"}, "name"),
    ],
)
def test_a_wrong_gateway_is_refused_by_field(boss: Client, change: dict[str, Any], name: str) -> None:
    factories.connected_gateway()
    answer = boss.post("/api/v1/gateways/", {"name": "Second", "base_url": "http://127.0.0.1:1", **change}, **JSON)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [name]), answer.content


def test_a_mapping_is_added_and_answers(boss: Client, world: World) -> None:
    given = {"account": world.app.pk, "gateway": world.gateway.pk, "agent_id": "support", "peer_kind": "direct"}
    answer = boss.post("/api/v1/routes/", given, **JSON)
    assert answer.status_code == 201, answer.content
    question = {"account": world.app.pk, "peer": {"kind": "direct", "id": "lisi"}, "text": "hello"}
    decision = boss.post("/api/v1/routes/resolve/", question, **JSON).json()
    assert decision["answered"] is True
    assert decision["route"]["id"] == answer.json()["id"]
    assert (decision["reason"], decision["text"]) == ("", "hello")
    assert decision["steps"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"addressed": False}, "not_addressed"),
        ({"sender": "lisi"}, "sender"),
        ({"peer": {"kind": "direct", "id": "wrGROUP"}}, "no_route"),
    ],
)
def test_everything_that_is_asked_counts(boss: Client, world: World, change: dict[str, Any], reason: str) -> None:
    Route.objects.update(trigger="mention", allowed_senders="zhangsan")
    peer = {"kind": "group", "id": "wrGROUP"}
    question = {"account": world.bot.pk, "peer": peer, "sender": "zhangsan", "text": "hello", **change}
    decision = boss.post("/api/v1/routes/resolve/", question, **JSON).json()
    assert (decision["reason"], decision["answered"]) == (reason, not reason)


def test_why_nobody_would_answer(boss: Client, world: World) -> None:
    question = {"account": world.app.pk, "peer": {"kind": "direct", "id": "lisi"}}
    decision = boss.post("/api/v1/routes/resolve/", question, **JSON).json()
    assert (decision["answered"], decision["reason"], decision["route"]) == (False, "no_route", None)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"peer_kind": "direct", "peer_id": ""}, ""),
        ({"peer_kind": "group", "account": "<app>"}, "peer_kind"),
        ({"trigger": "prefix"}, "trigger_words"),
        ({"peer_kind": "", "peer_id": "wrX"}, "non_field_errors"),
        ({"peer_id": "wrGROUP"}, "non_field_errors"),
        ({"account": 0}, "account"),
        ({"account": True}, "account"),
        ({"gateway": 10**40}, "gateway"),
        ({"agent": "main"}, "agent"),
    ],
)
def test_mappings_follow_the_models_rules(boss: Client, world: World, change: dict[str, Any], name: str) -> None:
    given = {"account": world.bot.pk, "gateway": world.gateway.pk, "agent_id": "main", "peer_kind": "group", **change}
    given["account"] = world.app.pk if given["account"] == "<app>" else given["account"]
    answer = boss.post("/api/v1/routes/", given, **JSON)
    assert answer.status_code == (400 if name else 201), answer.content
    if name:
        assert list(answer.json()["details"]) == [name], answer.json()
        assert Route.objects.count() == 1


def test_a_conversation_is_renamed_and_paused(operator: Client, world: World) -> None:
    url = f"/api/v1/conversations/{world.group.pk}/"
    before = Conversation.objects.get(pk=world.group.pk)
    answer = operator.patch(url, {"title": "Market", "mode": "human"}, **JSON)
    assert (answer.json()["title"], answer.json()["mode"]) == ("Market", "human")
    after = Conversation.objects.get(pk=world.group.pk)
    assert (after.title, after.mode, after.last_inbound_at) == ("Market", "human", before.last_inbound_at)
    assert operator.post(f"{url}new-session/").json()["session"] == 1
    deed = LogEntry.objects.get_for_object(world.group).latest("id")
    assert (deed.actor.get_username(), deed.additional_data) == ("Operators-user", {"action": "began a new session"})
    assert operator.patch(url, {"mode": "off"}, **JSON).status_code == 400


def test_a_title_takes_less_than_a_mode(operator: Client, world: World) -> None:
    from django.contrib.auth.models import Group

    group = Group.objects.get(name="Operators")
    group.permissions.remove(*group.permissions.filter(codename="pause_conversation"))
    url = f"/api/v1/conversations/{world.group.pk}/"
    assert operator.patch(url, {"title": "Market"}, **JSON).status_code == 200
    assert operator.patch(url, {"title": "Sales", "mode": "paused"}, **JSON).status_code == 403
    assert operator.post(f"{url}new-session/").status_code == 403
    world.group.refresh_from_db()
    assert (world.group.title, world.group.mode, world.group.session_epoch) == ("Market", "bot", 0)


def test_all_sending_is_stopped_and_allowed_again(boss: Client) -> None:
    account = factories.app()
    path = f"/api/v1/accounts/{account.pk}/"
    assert boss.get(path).json()["sending_stopped_at"] is None
    stopped = boss.post(f"{path}stop-sending/").json()["sending_stopped_at"]
    assert stopped
    assert boss.post(f"{path}stop-sending/").json()["sending_stopped_at"] == stopped
    assert boss.post(f"{path}allow-sending/").json()["sending_stopped_at"] is None
    assert boss.post(f"{path}stop-sending/", {"why": "x"}, **JSON).status_code == 400
    assert boss.patch(path, {"sending_stopped_at": stopped}, **JSON).status_code == 400
    said = [entry.additional_data for entry in LogEntry.objects.get_for_object(account) if entry.additional_data]
    assert said == [{"action": "Sending is allowed again."}, {"action": "All sending is stopped."}]
