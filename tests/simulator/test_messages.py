"""message/send with its limits, recall, card updates (facts: wecom.md 1.1, 3)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.platform import AMR, PNG

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform

CHAT = "app:1:zhangsan"
BUTTONS: dict[str, Any] = {
    "card_type": "button_interaction",
    "task_id": "task-1@x",
    "main_title": {"title": "转人工?"},
    "button_list": [{"text": "接入", "style": 1, "key": "accept"}],
}
NOTICE: dict[str, Any] = {
    "card_type": "text_notice",
    "main_title": {"title": "通知"},
    "card_action": {"type": 1, "url": "https://example.com"},
}


def test_a_text_reaches_its_member(client: SimulatorClient, platform: Platform) -> None:
    answer = platform.send(content={"content": "你的快递已到"}, touser="ZhangSan|nobody", toparty="2|9", totag="7")
    assert answer["errcode"] == 0
    assert (answer["invaliduser"], answer["invalidparty"], answer["invalidtag"]) == ("nobody", "9", "7")
    (entry,) = client.transcript(CHAT)
    assert (entry["text"], entry["who"], entry["msgid"]) == ("你的快递已到", "app:1", answer["msgid"])
    assert len(client.transcript("app:1:lisi")) == 1
    assert client.transcript("app:1:wangwu") == []


def test_everyone(client: SimulatorClient, platform: Platform) -> None:
    assert platform.send(touser="@all")["invaliduser"] == ""
    assert len(client.chats()) == 3


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"touser": ""}, 82001),
        ({"touser": "|".join(f"u{n}" for n in range(1001))}, 81017),
        ({"touser": "nobody|Nemo"}, 81013),
        ({"agentid": None}, 40063),
        ({"agentid": 77}, 40056),
        ({"msgtype": "markdown_v2"}, 40008),
        ({"duplicate_check_interval": 14401}, 40058),
    ],
)
def test_a_wrong_envelope(client: SimulatorClient, platform: Platform, change: dict[str, Any], errcode: int) -> None:
    assert platform.send(**change)["errcode"] == errcode
    assert client.chats() == []
    assert client.record()["errors"] == {f"message/send {errcode}": 1}


def test_anothers_agentid(client: SimulatorClient, platform: Platform) -> None:
    client.app(2, secret="other")
    assert platform.send(agentid=2)["errcode"] == 301002


LONG = "好" * 682 + "xx"  # 2048 bytes
LIMITS: list[tuple[str, dict[str, Any], int]] = [
    ("text", {"content": LONG}, 0),
    ("text", {"content": LONG + "x"}, 45002),
    ("text", {"content": ""}, 44004),
    ("markdown", {"content": LONG}, 0),
    ("markdown", {"content": LONG + "x"}, 45002),
    ("image", {}, 41006),
    ("image", {"media_id": "gone"}, 40007),
    ("textcard", {"title": "t", "description": "d", "url": "https://a.b", "btntxt": "查看更多"}, 0),
    ("textcard", {"title": "t", "description": "d", "url": "https://a.b", "btntxt": "查看更多吧"}, 40058),
    ("textcard", {"title": "题" * 43, "description": "d", "url": "https://a.b"}, 45003),
    ("textcard", {"title": "t", "description": "述" * 171, "url": "https://a.b"}, 45004),
    ("textcard", {"title": "t", "description": "d", "url": "a.b"}, 45034),
    ("textcard", {"title": "t", "description": "d"}, 40063),
    ("news", {"articles": [{"title": "t", "url": "https://a.b"}] * 8}, 0),
    ("news", {"articles": [{"title": "t", "url": "https://a.b"}] * 9}, 45008),
    ("news", {"articles": [{"title": "t", "appid": "wx1", "pagepath": "p"}]}, 0),
    ("news", {"articles": []}, 40063),
    ("mpnews", {"articles": [{"title": "t", "content": "c", "thumb_media_id": "gone"}]}, 40007),
    ("miniprogram_notice", {"appid": "wx1", "title": "会议室预订"}, 0),
    ("miniprogram_notice", {"appid": "wx1", "title": "三个字"}, 40058),
    ("miniprogram_notice", {"appid": "wx1", "title": "会议室预订", "content_item": [{"key": "k", "value": ""}]}, 40058),
    ("template_card", NOTICE, 0),
    ("template_card", NOTICE | {"card_action": None}, 40058),
    ("template_card", NOTICE | {"main_title": {"title": "题" * 27}}, 40058),
    ("template_card", NOTICE | {"horizontal_content_list": [{"keyname": "k", "value": "v"}] * 7}, 40058),
    ("template_card", BUTTONS | {"task_id": "no spaces"}, 40058),
    ("template_card", BUTTONS | {"button_list": [{"text": "x", "key": "k" * 1025}]}, 40058),
    ("template_card", {"card_type": "unknown"}, 40058),
]


@pytest.mark.parametrize(("msgtype", "content", "errcode"), LIMITS)
def test_limits_by_type(platform: Platform, msgtype: str, content: dict[str, Any], errcode: int) -> None:
    body = {"touser": "zhangsan", "msgtype": msgtype, "agentid": 1, msgtype: content}
    assert platform.call("message/send", body)["errcode"] == errcode


@pytest.mark.parametrize(
    ("kind", "data", "more"),
    [("image", PNG, {}), ("voice", AMR, {}), ("file", b"hello", {}), ("video", b"\0\0\0\x18ftypmp42", {"title": "片"})],
)
def test_media_by_type(
    client: SimulatorClient, platform: Platform, kind: str, data: bytes, more: dict[str, str]
) -> None:
    media_id = platform.upload(kind, "名字.bin", data)["media_id"]
    assert platform.send(kind, {"media_id": media_id} | more)["errcode"] == 0
    (entry,) = client.transcript(CHAT)
    assert (entry["kind"], entry["data"]["name"], entry["data"]["size"]) == (kind, "名字.bin", len(data))
    wrong = "file" if kind != "file" else "image"
    assert platform.send(wrong, {"media_id": media_id})["errcode"] == 40007


@pytest.mark.parametrize(
    ("raw", "errcode"),
    [
        (rb'{"touser":"zhangsan","msgtype":"text","agentid":1,"text":{"content":"\u4f60"}}', 40033),
        (rb'{"touser":"zhangsan","msgtype":"text","agentid":1,"text":{"content":"\ud83d\ude00"}}', 40033),
        (rb'{"touser":"zhangsan","msgtype":"text","agentid":1,"text":{"content":"\u0041 \\u4f60"}}', 0),
        (b'{"touser"', 40035),
        (b"[]", 40035),
        (b'{"a":"\xff"}', 40035),
    ],
)
def test_raw_bodies(platform: Platform, raw: bytes, errcode: int) -> None:
    assert platform.raw("message/send", raw)["errcode"] == errcode


def test_a_duplicate_is_answered_but_not_shown(client: SimulatorClient, platform: Platform) -> None:
    check = {"enable_duplicate_check": 1, "duplicate_check_interval": 100}
    first = platform.send(**check)
    assert platform.send(**check) == first
    assert platform.send(touser="lisi", **check)["msgid"] != first["msgid"]
    assert platform.send(content={"content": "别的"}, **check)["msgid"] != first["msgid"]
    assert platform.send()["msgid"] != first["msgid"]  # without the check it is said again
    assert [e["text"] for e in client.transcript(CHAT)] == ["你好", "别的", "你好"]
    assert client.record()["counters"]["duplicates"] == 1
    client.advance(101)
    assert platform.send(**check)["msgid"] != first["msgid"]


def test_what_is_too_much_for_a_member_vanishes(client: SimulatorClient, platform: Platform) -> None:
    client.settings(member_per_minute=2, member_per_hour=3)
    for number in range(3):
        assert platform.send(content={"content": str(number)})["errcode"] == 0
    assert len(client.transcript(CHAT)) == 2
    client.advance(61)
    platform.send(content={"content": "3"})
    platform.send(content={"content": "4"})
    assert [e["text"] for e in client.transcript(CHAT)] == ["0", "1", "3"]
    assert client.record()["counters"]["dropped"] == 2


def test_recall(client: SimulatorClient, platform: Platform) -> None:
    msgid = platform.send()["msgid"]
    assert platform.call("message/recall", {"msgid": msgid})["errcode"] == 0
    assert client.transcript(CHAT)[0]["recalled"] is True
    assert platform.call("message/recall", {"msgid": "unknown"})["errcode"] == 40058
    late = platform.send()["msgid"]
    client.advance(24 * 3600 + 1)
    assert platform.call("message/recall", {"msgid": late})["errcode"] == 40058


def test_a_card_is_updated_once(client: SimulatorClient, platform: Platform) -> None:
    code = platform.send("template_card", BUTTONS)["response_code"]
    body = {
        "userids": ["zhangsan", "nobody"],
        "agentid": 1,
        "response_code": code,
        "button": {"replace_name": "已接入"},
    }
    answer = platform.call("message/update_template_card", body)
    assert (answer["errcode"], answer["invaliduser"]) == (0, ["nobody"])
    assert client.transcript(CHAT)[0]["data"]["replaced"] == "已接入"
    assert platform.call("message/update_template_card", body)["errcode"] == 60140


def test_a_card_code_dies_after_72_hours(client: SimulatorClient, platform: Platform) -> None:
    code = platform.send("template_card", BUTTONS)["response_code"]
    client.advance(72 * 3600 + 1)
    body = {"atall": 1, "agentid": 1, "response_code": code, "template_card": NOTICE}
    assert platform.call("message/update_template_card", body)["errcode"] == 60140


def test_a_whole_card_replaces_the_first(client: SimulatorClient, platform: Platform) -> None:
    code = platform.send("template_card", BUTTONS)["response_code"]
    wrong = {"atall": 1, "agentid": 1, "response_code": code}
    assert platform.call("message/update_template_card", wrong)["errcode"] == 40063
    card = NOTICE | {"replace_text": "已提交"}
    assert platform.call("message/update_template_card", wrong | {"template_card": card})["errcode"] == 0
    (entry,) = client.transcript(CHAT)
    assert (entry["text"], entry["data"]["replaced"]) == ("通知", "已提交")


def test_bodies_are_recorded_as_they_came(client: SimulatorClient, platform: Platform) -> None:
    platform.send()
    (call,) = client.calls("message/send")
    assert json.loads(call["body"])["text"] == {"content": "你好"}
    assert (call["account"], call["errcode"]) == ("app:1", 0)
