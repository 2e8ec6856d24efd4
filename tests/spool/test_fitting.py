"""Whatever a platform signed is stored in some form: no 5xx, no silent 200."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from bridge.models import Contact, Message
from bridge.pipeline.inbound import receive, router
from bridge.runtime.spool.fitting import MAX_ID, make_storable, shorten_id
from channels_wechat.contract.messages import MediaItem
from tests.inbound.test_no_event_lost import callback, push
from tests.support import factories
from tests.support.callbacks import call, from_app
from tests.support.factories import AGENT, CORP, app, bot, mini, official, route, said

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
LONG = "x" * 300
MADE: dict[str, Any] = {"wecom_app": app, "wecom_aibot": bot, "official_account": official, "mini_program": mini}


def deep(levels: int, inner: Any = 1) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


def test_ids_longer_than_the_columns_are_kept_shortened_and_known_again() -> None:
    account = app()
    route(account)
    xml = (
        f"<xml><ToUserName>wwcorp</ToUserName><FromUserName>{LONG}</FromUserName><CreateTime>{int(time.time())}</CreateTime>"
        f"<MsgType>text</MsgType><Content>hello</Content><MsgId>{LONG}</MsgId><AgentID>1000002</AgentID></xml>"
    )
    for _twice in range(2):
        assert call(account, *from_app(xml=xml)).status == 200
    message = Message.objects.get()
    assert (message.text, len(message.sender), len(message.peer_id)) == ("hello", MAX_ID, MAX_ID)
    assert message.raw["FromUserName"] == LONG
    assert router.route_waiting() == 1
    assert message.deliveries.get().state == "pending"


TEXT = f"<Content>hello</Content><MsgId>{LONG}</MsgId>"
OVERLONG = {
    "wecom_app": lambda: push(f"{TEXT}<AgentID>{AGENT}</AgentID>", sender=LONG, to=CORP, kind="text"),
    "wecom_aibot": lambda: {"msgid": LONG, "chatid": LONG, "from": {"userid": LONG}, "text": {"content": "hello"}},
    "official_account": lambda: push(TEXT, sender=LONG, kind="text"),
    "mini_program": lambda: push(TEXT, sender=LONG, kind="text"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OVERLONG)
def test_an_overlong_id_is_kept_by_the_callback_of_every_kind(kind: str) -> None:
    account = MADE[kind](**({"answers": "messages"} if kind == "official_account" else {}))
    route(account)
    for _twice in range(2):
        assert call(account, *callback(kind, OVERLONG[kind]())).status == 200
    message = Message.objects.get()
    found = (message.text, len(message.sender), len(message.peer_id), len(message.idempotency_key))
    assert found == ("hello", MAX_ID, MAX_ID, MAX_ID)
    assert router.route_waiting() == 1
    assert message.deliveries.get().state == "pending"


def test_different_long_ids_stay_different_and_short_ones_stay_as_they_are() -> None:
    assert shorten_id(LONG + "a") != shorten_id(LONG + "b")
    assert len(shorten_id(LONG)) == MAX_ID
    assert shorten_id("y" * MAX_ID) == "y" * MAX_ID


@pytest.mark.parametrize(
    "fields",
    [
        {"occurred_at": 10**30},
        {"occurred_at": -(10**18)},
        {"raw": {"n": 10**5000, "inf": float("inf"), "nan": float("nan")}},
        {"raw": {"deep": deep(900)}},
        {"raw": {"deep": deep(100_000)}},
        {"raw": {"a\0b": "c\0d", "\ud800": "\udfff"}},
        {"text": "a\0b\ud800"},
        {"text": "長" * 300_000},
        {"kind": "k" * 50},
        {"key": "k" * 5000},
        {"contacts": {LONG: LONG}},
        {"media": tuple(MediaItem("image", LONG * 10, LONG * 2, LONG) for _ in range(3))},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_any_value_is_stored_and_routed(fields: dict[str, Any]) -> None:
    account = app()
    route(account)
    assert factories.receive(account, replace(said("hello"), **fields))
    assert router.route_waiting() == 1
    delivery = Message.objects.get().deliveries.get()
    assert delivery.reason != "internal_error"


def test_a_name_longer_than_its_column_is_kept_cut() -> None:
    account = app()
    route(account)
    factories.receive(account, replace(said("hello"), contacts={"zhangsan": LONG}))
    router.route_waiting()
    assert Contact.objects.get(external_id="zhangsan").name == LONG[:200]


@pytest.mark.django_db(transaction=True)
def test_the_last_resort_keeps_key_and_people() -> None:
    account = app()
    row = {**receive.build_row(account, said("hello")), "occurred_at": "no time at all"}
    assert receive.store_inbound([row])[0]
    message = Message.objects.get()
    assert (message.kind, message.sender, message.idempotency_key) == ("unsupported", "zhangsan", row["key"])
    assert message.raw["error"] == "DataError"
    assert receive.store_inbound([row]) == [None]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANY = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(ANY)
def test_any_json_can_be_stored(value: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb", [json.dumps(make_storable(value))])
