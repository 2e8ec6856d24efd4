"""What an AI bot answers a callback at once; and the form of its account."""

from __future__ import annotations

from typing import Any

import pytest

from channels_wechat.contract.capabilities import Streaming
from channels_wechat.contract.connection import Connection
from channels_wechat.contract.messages import Peer, message_uuid
from channels_wechat.wecom.aibot.channel import WeComAIBot
from tests.channels.wecom.aibot import ACCOUNT, KEY, bot, callback, fixture, heard, opened

# --- what is said at once


@pytest.mark.parametrize("name", ["text__group", "mixed__group", "image__single", "voice__single", "file__single"])
def test_a_message_opens_a_stream_named_after_it(name: str):
    query, body = callback(fixture(name))
    reception = bot().parse(query, body)
    stream = message_uuid(ACCOUNT, fixture(name)["msgid"]).hex
    assert opened(bot().acknowledge(query, reception), query) == {
        "msgtype": "stream",
        "stream": {"id": stream, "finish": False, "content": "<think></think>", "feedback": {"id": stream}},
    }


def test_the_platforms_retry_gets_the_same_stream():
    replies = []
    for _time in range(2):
        query, body = callback(fixture("text__group"))
        replies.append(opened(bot().acknowledge(query, bot().parse(query, body)), query))
    assert replies[0] == replies[1]


@pytest.mark.parametrize("name", ["event__enter_chat", "event__template_card_vote", "event__feedback_inaccurate"])
def test_other_callbacks_get_an_empty_answer(name: str):
    query, body = callback(fixture(name))
    reception = bot().parse(query, body)
    assert bot().acknowledge(query, reception).body == b""
    assert not bot().opens_stream(reception.inbound[0].kind)


def test_who_opens_the_chat_is_welcomed():
    query, body = callback(fixture("event__enter_chat"))
    channel = bot(sentences={"welcome": "你好，我是机器人"})
    reception = channel.parse(query, body)
    assert opened(channel.acknowledge(query, reception), query) == {
        "msgtype": "text",
        "text": {"content": "你好，我是机器人"},
    }
    assert channel.passive_text(reception.inbound[0]) == "你好，我是机器人"


@pytest.mark.parametrize("name", ["text__single", "event__unknown", "event__feedback_accurate"])
def test_nobody_else_is_welcomed(name: str):
    assert bot(sentences={"welcome": "你好"}).passive_text(heard(name)) == ""


# --- the account


def form(**changed: Any) -> Any:
    data = {"bot_id": "AIBOTID", "bot_name": "RobotA", "token": "QDG6eK", "encoding_aes_key": KEY, **changed}
    return WeComAIBot.Credentials(data)


def test_the_form_takes_what_the_console_shows():
    filled = form()
    assert filled.is_valid()
    assert WeComAIBot.external_id(filled.cleaned_data) == "AIBOTID"
    assert filled.secrets == {"token", "encoding_aes_key", "secret"}
    assert filled.secrets <= set(filled.fields)
    assert filled.sent == {"secret"}  # by callback URL it calls only addresses that the platform names


@pytest.mark.parametrize("corp_id", ["", "wx5823bf96d3bd56c7", "ww" + "Aa0_-" * 12])
def test_the_form_takes_every_shape_of_a_corp_id(corp_id: str):
    assert form(corp_id=corp_id).is_valid()


@pytest.mark.parametrize(
    ("field", "value"),
    [("bot_id", ""), ("bot_name", ""), ("token", "with space"), ("token", "a" * 33), ("encoding_aes_key", KEY[:-1])],
)
def test_the_form_says_what_is_wrong(field: str, value: str):
    assert list(form(**{field: value}).errors) == [field]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"encoding_aes_key": ""}, ["encoding_aes_key"]),
        ({"mode": "callback", "token": ""}, ["token"]),
        ({"mode": "connection"}, ["secret"]),
        ({"mode": "connection", "secret": "s" * 43, "token": "", "encoding_aes_key": ""}, []),
        ({"mode": "connection", "secret": "", "token": "", "encoding_aes_key": ""}, ["secret"]),
        ({"mode": "both", "secret": "s"}, ["mode"]),
    ],
)
def test_each_mode_needs_what_is_its_own(given: dict[str, str], wrong: list[str]):
    filled = form(**given)
    assert list(filled.errors) == wrong
    assert all(
        "long connection" in str(error).lower() for name in wrong if name != "mode" for error in filled.errors[name]
    )


@pytest.mark.parametrize(
    ("stored", "expected"),
    [({}, Streaming), ({"mode": "callback"}, Streaming), ({"mode": "connection", "secret": "s"}, Connection)],
)
def test_the_mode_decides_which_class_an_account_has(stored: dict[str, str], expected: type):
    chosen = WeComAIBot.mode_class(stored)
    assert issubclass(chosen, expected)
    assert [issubclass(chosen, base) for base in (Streaming, Connection)].count(True) == 1


def test_it_says_what_it_can_and_cannot_do():
    channel = bot()
    assert channel.receives_from == {"direct", "group"}
    assert channel.limits == ()
    assert any(not ability.able for ability in channel.abilities)
    assert "group chat" in channel.surface(Peer("group", "CHATID"))
    assert "one-to-one" in channel.surface(Peer("direct", "zhangsan"))
    assert len(channel.test()) == 1
    assert (channel.stream_seconds, channel.reply_seconds) == (340, 3600)
    assert str(channel.cannot_push(Peer("group", "CHATID")))
    assert channel.cannot_push(Peer("group", "CHATID", "https://qyapi.weixin.qq.com/")) == ""
