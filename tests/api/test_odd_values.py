"""What is written by script is stored as it was meant, or refused at its field: nothing is read as something else or passed over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from accounts.models import ChannelAccount
from bridge.models import Conversation, Message, Route, WebhookEndpoint
from openclaw.models import Gateway
from tests.admin.test_matrix import everything
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World

JSON = {"content_type": "application/json"}
UNSEEN = "\u200b"
READ_ONLY = [
    ("gateways", "id", 999),
    ("gateways", "state", "stopped"),
    ("gateways", "agents", [{"id": "x"}]),
    ("accounts", "kind", "mini_program"),
    ("accounts", "external_id", "x"),
    ("accounts", "state_reason", "x"),
    ("webhooks", "origin", "http://example.com"),
    ("webhooks", "previous_until", "2030-01-01T00:00:00Z"),
    ("webhooks", "created_at", "2020-01-01T00:00:00Z"),
    ("routes", "id", 999),
    ("conversations", "session", 7),
    ("conversations", "peer", {"kind": "group", "id": "x"}),
]
WRONG_TYPES = [
    *((name, field, value) for value in (5, 1.5, True) for name, field in (("gateways", "name"), ("routes", "agent_id"))),
    *((name, "enabled", value) for value in (1, 0, "true", "yes", "off") for name in ("gateways", "accounts", "webhooks", "routes")),
    ("accounts", "api_base_url", 5),
    ("accounts", "name", 5),
    ("webhooks", "url", 5),
    ("conversations", "title", 5),
    ("routes", "allow_cards", "1"),
]  # fmt: skip
INVISIBLE = [
    ("gateways", "name", UNSEEN),
    ("gateways", "token", UNSEEN),
    ("webhooks", "name", f"{UNSEEN}\u202e"),
    ("webhooks", "url", UNSEEN),
    ("routes", "peer_id", UNSEEN),
    ("routes", "peer_id", "wr\x1bX"),
    ("routes", "agent_id", UNSEEN),
    ("routes", "agent_id", "ma\nin"),
    ("routes", "allowed_senders", f"{UNSEEN}\n{UNSEEN}"),
    ("routes", "trigger_words", UNSEEN),
    ("conversations", "title", UNSEEN),
]
HALVES = [
    ("gateways", "transport", "\ud800"),
    ("accounts", "language", "a\udc00b"),
    ("routes", "scope", "\ud800"),
    ("conversations", "mode", "\ud800"),
]


@pytest.fixture
def paths(world: World) -> dict[str, str]:
    rows = {
        "gateways": world.gateway,
        "accounts": world.app,
        "webhooks": world.webhook,
        "routes": world.route,
        "conversations": world.group,
    }
    return {name: f"/api/v1/{name}/{row.pk}/" for name, row in rows.items()}


def stored() -> dict[str, Any]:
    return {name: rows for name, rows in everything().items() if name != "knox.AuthToken"}


@pytest.mark.parametrize(("name", "field", "value"), [*READ_ONLY, *WRONG_TYPES, *INVISIBLE, *HALVES])
def test_a_value_that_cannot_be_meant_is_refused_at_its_field(
    boss: Client, paths: dict[str, str], name: str, field: str, value: Any
) -> None:
    before = stored()
    answer = boss.patch(paths[name], json.dumps({field: value}), **JSON)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [field]), answer.content
    assert stored() == before


@pytest.mark.parametrize("name", ["gateways", "accounts", "webhooks", "routes", "conversations"])
def test_what_was_read_may_be_sent_back(boss: Client, paths: dict[str, str], name: str) -> None:
    ChannelAccount.objects.update(state="ok", state_params={})  # a stopped one tries again, which changes its state
    shown = boss.get(paths[name]).json()
    answer = boss.patch(paths[name], json.dumps(shown), **JSON)
    assert answer.status_code == 200, answer.content
    found = {*shown} - {"updated_at", "events", "external_id"}  # a sorted list, and what the credentials say
    assert {field: answer.json()[field] for field in found} == {field: shown[field] for field in found}


def test_what_is_only_read_is_refused_in_what_is_new(boss: Client) -> None:
    new = {"name": "Home", "base_url": "http://127.0.0.1:9", "state": "ok"}
    assert list(boss.post("/api/v1/gateways/", new, **JSON).json()["details"]) == ["state"]
    assert not Gateway.objects.exists()


def test_half_a_character_in_a_name_is_shown_as_its_escape(boss: Client) -> None:
    for body in ('{"\\ud800": 1}', '{"\\ud800": 1, "\\ud800": 1}', '{"filter": {"a\\udc00": ["x"]}}'):
        answer = boss.post("/api/v1/deliveries/replay/", body, **JSON)
        assert answer.status_code == 400
        (name,) = answer.json()["details"]
        assert name.rpartition(".")[2] in ("\\ud800", "a\\udc00")


@pytest.mark.parametrize(
    "name",
    ["GATEWAY ONE", "gateway  one ", f"gate{UNSEEN}way one", "ｇａｔｅｗａｙ one", "gateway\none", "Gateway One"],
)
def test_two_gateways_cannot_have_names_that_look_alike(boss: Client, name: str) -> None:
    first, other = factories.connected_gateway(name="gateway one"), factories.connected_gateway(name="Other")
    made = boss.post("/api/v1/gateways/", {"name": name, "base_url": "http://127.0.0.1:9"}, **JSON)
    changed = boss.patch(f"/api/v1/gateways/{other.pk}/", {"name": name}, **JSON)
    for answer in (made, changed):
        assert (answer.status_code, list(answer.json()["details"])) == (400, ["name"])
        assert "gateway one" in answer.json()["details"]["name"][0]
    assert boss.patch(f"/api/v1/gateways/{first.pk}/", {"name": name}, **JSON).status_code == 200
    assert Gateway.objects.count() == 2


def test_a_gateway_that_was_stored_beside_its_like_can_still_be_changed(boss: Client) -> None:
    factories.connected_gateway(name="home")
    old = factories.connected_gateway(name="HOME")
    assert boss.patch(f"/api/v1/gateways/{old.pk}/", {"enabled": False}, **JSON).status_code == 200


def test_lists_of_a_mapping_are_stored_without_what_nobody_sees(boss: Client, world: World) -> None:
    given = {
        "peer_id": f"{UNSEEN}wrX ",
        "allowed_senders": f"{UNSEEN}lisi\n\n wangwu",
        "trigger_words": "👩\u200d👧\n\u200b\n请问",
    }
    assert boss.patch(f"/api/v1/routes/{world.route.pk}/", given, **JSON).status_code == 200
    route = Route.objects.get()
    assert (route.peer_id, route.allowed_senders, route.trigger_words) == ("wrX", "lisi\nwangwu", "👩\u200d👧\n请问")


def test_a_title_is_one_line_and_keeps_its_emoji(boss: Client, paths: dict[str, str]) -> None:
    boss.patch(paths["conversations"], {"title": " 👩\u200d👧\n family "}, **JSON)
    assert Conversation.objects.filter(title="👩\u200d👧 family").exists()


@pytest.mark.parametrize("number", [10**20, 10**30])
def test_a_number_that_no_platform_writes_is_not_cut(boss: Client, number: int) -> None:
    account = factories.app()
    answer = boss.patch(f"/api/v1/accounts/{account.pk}/", {"credentials": {"agent_id": number}}, **JSON)
    assert list(answer.json()["details"]) == ["credentials.agent_id"]


@pytest.mark.parametrize(
    "place", ["webhooks/{hook}/test", "conversations/{person}/new-session", "deliveries/{dead}/replay"]
)
def test_an_action_without_a_body_passes_none_over(boss: Client, world: World, place: str) -> None:
    names = {"hook": world.webhook.pk, "person": world.person.pk, "dead": world.dead.pk}
    url, before = f"/api/v1/{place.format(**names)}/", stored()
    for body, name in (('{"twice": false}', "twice"), ("[1]", "non_field_errors")):
        answer = boss.post(url, body, **JSON)
        assert (answer.status_code, list(answer.json()["details"])) == (400, [name])
    assert stored() == before
    assert boss.post(url, "{}", **JSON).status_code in (200, 202)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"text": UNSEEN}, "content.text"),
        ({"text": "hello", "data": {"title": "x"}}, "content.data"),
        ({"kind": "textcard", "text": "hello", "data": {"title": "t", "description": "d", "url": "https://x.example"}}, "content.text"),
    ],
)  # fmt: skip
def test_what_a_message_would_pass_over_is_refused(boss: Client, content: dict[str, Any], name: str) -> None:
    where = {"account": factories.app().pk, "peer": {"kind": "direct", "id": "zhangsan"}}
    answer = boss.post("/api/v1/messages/", {**where, "content": content}, headers={"Idempotency-Key": "odd"}, **JSON)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [name]), answer.content
    assert not Message.objects.exists()
    confidential = {"text": "hello", "data": {"safe": 1}}
    sent = boss.post(
        "/api/v1/messages/", {**where, "content": confidential}, headers={"Idempotency-Key": "odd"}, **JSON
    )
    assert sent.status_code == 201


def test_a_webhook_keeps_its_address(boss: Client) -> None:
    hook = factories.endpoint("https://hooks.example.com/x")
    boss.patch(f"/api/v1/webhooks/{hook.pk}/", {"url": UNSEEN}, **JSON)
    assert WebhookEndpoint.objects.get().url == "https://hooks.example.com/x"
