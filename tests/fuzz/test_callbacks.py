"""Whatever a stranger, or the platform itself, posts to a callback address is received or refused, and what is received can be stored."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import Identity
from channels_wechat.simulator.core import crypto as platform
from channels_wechat.wecom.aibot.callback import AIBotByCallback
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.wire.http import Http
from tests.fuzz.strangers import TEXTS, objects, storable
from tests.support.factories import APP_FIELDS, BOT_FIELDS, CORP, KEY, TOKEN

QUICK = settings(max_examples=50, deadline=None)
HTTP = Http()
KINDS = [
    (WeComApp(Identity("1", f"{CORP}:1", dict(APP_FIELDS), ""), HTTP), CORP),
    (AIBotByCallback(Identity("2", "AIBOT", dict(BOT_FIELDS), ""), HTTP), ""),
]
ELEMENTS = (
    "MsgType", "text", "image", "voice", "video", "location", "link", "event", "Event", "EventKey", "click", "FromUserName", "AgentID",
    "CreateTime", "MsgId", "Content", "MediaId", "Title", "Url", "TaskId", "SelectedItems", "SelectedItem", "ScanCodeInfo", "ChangeType",
    "template_card_event", "enter_agent", "Location_X", "Label", "JobId", "Encrypt",
)  # fmt: skip
MEMBERS = (
    "msgtype", "text", "content", "image", "url", "mixed", "msg_item", "quote", "stream", "event", "eventtype", "template_card_event",
    "feedback_event", "from", "userid", "corpid", "chatid", "chattype", "group", "single", "msgid", "aibotid", "response_url", "voice",
    "file", "video", "selected_items", "task_id", "feedback", "type", "id",
)  # fmt: skip


def _element(item: Any) -> str:
    """Any tree as XML, legal or nearly."""
    if isinstance(item, dict):
        return "".join(f"<{name or 'x'}>{_element(inner)}</{name or 'x'}>" for name, inner in item.items())
    if isinstance(item, list):
        return "".join(f"<Item>{_element(inner)}</Item>" for inner in item)
    return f"<![CDATA[{item}]]>"


def _xml(item: Any) -> bytes:
    return f"<xml>{_element(item)}</xml>".encode("utf-8", "surrogatepass")


def _json(item: Any) -> bytes:
    return json.dumps(item).encode()


PLAIN = st.binary(max_size=200) | objects(*ELEMENTS).map(_xml) | objects(*MEMBERS).map(_json)


def sealed(plain: bytes, receiver: str, form: str) -> tuple[dict[str, str], bytes]:
    """Query and body, signed and encrypted with the right keys."""
    ciphertext, timestamp = platform.encrypt(KEY, plain, receiver), str(int(time.time()))
    query = {
        "msg_signature": platform.signature(TOKEN, timestamp, "n", ciphertext),
        "timestamp": timestamp,
        "nonce": "n",
    }
    body = f"<xml><Encrypt>{ciphertext}</Encrypt></xml>" if form == "xml" else json.dumps({"encrypt": ciphertext})
    return query, body.encode()


def heard(channel: Any, query: dict[str, str], body: bytes) -> None:
    """Taken whole, and acknowledged; or refused by name."""
    try:
        reception = channel.parse(query, body)
    except CallbackRefused as refused:
        found: Any = str(refused)
        assert refused.status in (400, 403, 413)  # noqa: PT017 - either way it is a result
    else:
        found = reception.inbound
        channel.acknowledge(query, reception)
    assert storable(list(found) if isinstance(found, tuple) else found)


@pytest.mark.parametrize(("channel", "receiver"), KINDS, ids=["app", "bot"])
@pytest.mark.parametrize("form", ["xml", "json"])
@QUICK
@given(plain=PLAIN)
@example(plain=b"[" * 50_000)
@example(plain=b"<a>" * 50_000)
@example(plain=b'{"msgtype": "text", "text": {"content": "\\ud800\\u0000"}, "msgid": "1"}')
@example(plain=b"<xml><MsgType>location</MsgType><CreateTime>" + b"9" * 5000 + b"</CreateTime></xml>")
def test_what_the_platform_signed_is_heard_or_refused(channel: Any, receiver: str, form: str, plain: bytes) -> None:
    heard(channel, *sealed(plain, receiver, form))


@pytest.mark.parametrize("channel", [kind for kind, _receiver in KINDS], ids=["app", "bot"])
@QUICK
@given(
    st.dictionaries(st.sampled_from(["msg_signature", "timestamp", "nonce", "echostr"]), TEXTS | st.just("9" * 5000)),
    PLAIN | objects("encrypt", "Encrypt").map(_json) | objects("Encrypt", "encrypt").map(_xml),
)
@example({"timestamp": "²", "echostr": "²"}, b"{}")
def test_what_a_stranger_posts_is_refused(channel: Any, query: dict[str, str], body: bytes) -> None:
    with pytest.raises(CallbackRefused):
        channel.parse(query, body)
    with pytest.raises(CallbackRefused):
        channel.challenge(query)
