"""What people write to a bot: each fixture is a message as getupdates brings it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from channels_wechat.contract.messages import Inbound, Window
from channels_wechat.ilink.parsing import read_messages
from tests.channels.harness import fixture, fixtures
from tests.support.fake_ilink import ANN

KEY = "00112233445566778899aabbccddeeff"
USUAL = "https://novac2c.cdn.weixin.qq.com/c2c/download?encrypted_query_param=CANARY%2Bparam%2F1%3D%3D"
FULL = "https://novac2c.cdn.weixin.qq.com/c2c/full?x=CANARY"


def node(name: str, **fields: Any) -> dict[str, Any]:
    return {**json.loads(fixture("ilink", name)), **fields}


def read(name: str, **fields: Any) -> Inbound:
    (message,) = read_messages({"msgs": [node(name, **fields)]})
    return message


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("text__plain", "text", "  你好，明天几点开会？\n谢谢 "),
        ("text__two_items", "mixed", "看这个"),
        ("text__quote_whole", "text", "> 会议改到三点\n> 地点不变\n\n是这个吗？"),
        ("text__quote_image", "text", "> [image]\n\n这是什么？"),
        ("text__quote_partial", "text", "> 会议改到三点\n\n哪一天？"),
        ("voice__transcript", "voice", "今天下午三点开会"),
        ("voice__silk", "voice", ""),
        ("image__hex_key", "image", ""),
        ("file__pdf", "file", ""),
        ("video__mp4", "video", ""),
        ("group__text", "event", "群里好"),
        ("tool__unknown", "unsupported", "[a message of the type 11, of which only this can be read]\nname: search"),
        ("nothing__inside", "unsupported", "[a message, which cannot be read here]"),
        ("image__no_source", "image", "[a message of the type image, which cannot be read here]"),
    ],
)
def test_kind_and_text(name: str, kind: str, text: str) -> None:
    message = read(name)
    assert (message.kind, message.text) == (kind, text)
    assert message.is_unread is (name in ("tool__unknown", "nothing__inside", "image__no_source"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("image__hex_key", ("image", FULL, USUAL, "", "")),
        ("file__pdf", ("file", USUAL, "", "报价单.pdf", "")),
        ("video__mp4", ("video", USUAL, "", "", "")),
        ("voice__silk", ("voice", USUAL, "", "", "audio/silk")),
        ("text__two_items", ("image", USUAL, "", "", "")),
        ("text__quote_image", ("image", USUAL, "", "", "")),
    ],
)
def test_a_file_is_named_by_its_addresses_and_its_key_in_any_form(name: str, expected: tuple[str, ...]) -> None:
    (item,) = read(name).media
    assert (item.kind, item.handle, item.fallback, item.name, item.mime) == expected
    assert item.key == KEY


@pytest.mark.parametrize("key", ["", "%%%", "YWJj", "eA" * 16])
def test_a_key_that_cannot_be_read_is_none(key: str) -> None:
    message = node("video__mp4")
    message["item_list"][0]["video_item"]["media"]["aes_key"] = key
    (inbound,) = read_messages({"msgs": [message]})
    assert inbound.media[0].key == ""


def test_who_writes_and_by_what_they_are_answered() -> None:
    message = read("text__plain")
    assert (message.peer.kind, message.peer.id, message.sender) == ("direct", ANN, ANN)
    assert (message.peer.reply, message.reply_seconds) == ("CANARY-context-1", 24 * 3600 - 60)
    assert (message.window, message.occurred_at) == (Window(10, 24 * 3600), 1795833600)


def test_a_quote_is_told_by_its_id_alone_or_not_at_all() -> None:
    message = read("text__quote_by_id")
    assert (message.text, message.quotes, message.is_unread) == ("再说一遍", "9223372036854775800", False)
    whole = node("text__quote_by_id")
    whole["item_list"][0]["ref_msg"] = {"title": ""}
    (message,) = read_messages({"msgs": [whole]})
    assert (message.text, message.quotes, message.is_unread) == ("> [quoted message]\n\n再说一遍", "", True)
    assert read("text__quote_partial").quotes == ""


def test_an_id_keeps_all_its_digits() -> None:
    assert read("text__plain").key == "9223372036854775901"
    message = read("text__id_as_text")
    assert (message.key, message.occurred_at) == ("18446744073709551615", 1795833600)
    assert len(read("text__plain", message_id=0).key) == 64


def test_a_group_is_kept_apart_and_never_answered() -> None:
    message = read("group__text")
    assert (message.peer.kind, message.peer.id, message.peer.reply) == ("group", "3481@chatroom", "")
    assert (message.window, message.reply_seconds) == (None, 0)


def test_what_the_bot_said_is_left_out() -> None:
    assert read_messages({"msgs": [node("bot__own"), node("text__plain")]})[0].text.startswith("  你好")
    assert read_messages({"msgs": [node("bot__own")]}) == ()


@pytest.mark.parametrize("name", fixtures("ilink"))
def test_no_secret_is_kept_with_the_message(name: str) -> None:
    for message in read_messages({"msgs": [node(name)]}):
        assert "CANARY" not in json.dumps(message.raw)
        assert KEY not in json.dumps(message.raw).lower()
        assert "CANARY" not in message.text


@pytest.mark.parametrize("name", fixtures("ilink"))
@pytest.mark.parametrize("wrong", [None, 7, "x", [], {}, [None], [[]], {"a": None}])
def test_whatever_a_field_holds_the_message_is_kept(name: str, wrong: Any) -> None:
    whole = node(name, message_type=1)
    broken = [{**whole, field: wrong} for field in whole]
    broken += [{**whole, "item_list": [{**item, field: wrong}]} for item in whole["item_list"] for field in item]
    assert len(read_messages({"msgs": broken})) == len(broken)


@pytest.mark.parametrize("answer", [{}, {"msgs": None}, {"msgs": []}])
def test_an_answer_without_messages(answer: dict[str, Any]) -> None:
    assert read_messages(answer) == ()


@pytest.mark.parametrize("broken", [7, "x", None, []])
def test_what_is_no_message_is_kept_as_it_is(broken: Any) -> None:
    (message,) = read_messages({"msgs": [broken]})
    assert (message.kind, message.sender) == ("unsupported", "")
