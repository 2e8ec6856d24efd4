"""Callbacks of an AI bot: what is read and what is refused. The platform's side is not our own cipher."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_wechat import channel_class
from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import MediaItem
from channels_wechat.simulator.core import crypto as platform
from channels_wechat.wecom.aibot.channel import WeComAIBot
from channels_wechat.wecom.aibot.parsing import strip_mention
from tests.channels.wecom.aibot import KEY, bot, callback, fixture, heard, parse, query_for

MEDIA = "https://ww-aibot-img-1258476243.cos.ap-guangzhou.myqcloud.com/%s?sign=q-sign-algorithm%%3Dsha1"


GROUP, SINGLE = ("group", "CHATID"), ("direct", "zhangsan")
STREAM = "0123456789abcdef0123456789abcdef"


def refusal(query: dict[str, str], body: bytes) -> tuple[int, str]:
    with pytest.raises(CallbackRefused) as caught:
        bot().parse(query, body)
    assert str(caught.value)
    return caught.value.status, caught.value.code


def test_the_registry_knows_it():
    assert channel_class("wecom_aibot") is WeComAIBot


@pytest.mark.parametrize(
    ("name", "kind", "peer", "text", "media"),
    [
        ("text__group", "text", GROUP, "hello robot", []),
        ("text__single", "text", SINGLE, "你好 😀", []),
        ("text__quote_text", "text", GROUP, "> 这是今日的测试情况\n> 两条失败\n\n这个怎么看?", []),
        ("text__quote_image", "text", SINGLE, "> [image]\n\n图里是什么", [("image", "quoted.png")]),
        ("text__quote_mixed", "text", GROUP, "> 看这张\n> [image]\n\n总结", [("image", "quoted.png")]),
        ("text__quote_file", "text", SINGLE, "> [file]\n\n读一下", [("file", "quoted.pdf")]),
        ("text__quote_voice", "text", SINGLE, "> 早上好\n\n翻译", []),
        ("mixed__group", "mixed", GROUP, "这是什么\n还有这个", [("image", "a.png"), ("image", "b.png")]),
        ("image__single", "image", SINGLE, "", [("image", "a.png")]),
        ("voice__single", "voice", SINGLE, "这是语音转成文本的内容", []),
        ("file__single", "file", SINGLE, "", [("file", "report.pdf")]),
        ("video__single", "video", SINGLE, "", [("video", "film.mp4")]),
        ("location__unknown", "location", SINGLE, "Location: 23.1, 113.3", []),
    ],
)
def test_messages(name: str, kind: str, peer: tuple[str, str], text: str, media: list[tuple[Any, str]]):
    inbound = heard(name)
    assert (inbound.kind, inbound.text) == (kind, text)
    assert (inbound.peer.kind, inbound.peer.id, inbound.sender) == (*peer, "zhangsan")
    assert inbound.media == tuple(MediaItem(item, MEDIA % file) for item, file in media)
    assert inbound.key == fixture(name)["msgid"]
    assert inbound.peer.reply.endswith("response_code=RESPONSECODE")
    assert inbound.reply_seconds == 3600
    assert inbound.addressed


@pytest.mark.parametrize(
    ("name", "kind", "peer", "text", "refers_to"),
    [
        ("event__enter_chat", "event", SINGLE, "enter_chat", ""),
        ("event__unknown", "event", SINGLE, "bot_renamed", ""),
        ("event__template_card_vote", "action", GROUP, "Card TASK: submit_key\nk1: one, two\nk2: three", ""),
        ("event__template_card_button", "action", SINGLE, "Card bridge-42@approve: accept:42", ""),
        ("event__feedback_accurate", "event", SINGLE, "feedback: accurate", STREAM),
        (
            "event__feedback_inaccurate",
            "event",
            GROUP,
            "feedback: inaccurate (incomplete, wrong data analysis): 不准确",
            STREAM,
        ),
        ("event__feedback_withdrawn_of_another", "event", SINGLE, "feedback: withdrawn", ""),
    ],
)
def test_events(name: str, kind: str, peer: tuple[str, str], text: str, refers_to: str):
    inbound = heard(name)
    assert (inbound.kind, inbound.text, inbound.refers_to) == (kind, text, refers_to)
    assert (inbound.peer.kind, inbound.peer.id, inbound.sender) == (*peer, "zhangsan")
    assert inbound.key == hashlib.sha256(json.dumps(fixture(name), ensure_ascii=False).encode()).hexdigest()
    assert inbound.occurred_at == 1_700_000_000
    assert bool(inbound.peer.reply) == bool(inbound.reply_seconds) == (kind == "action")


def test_a_poll_is_no_message():
    reception = parse(fixture("stream__poll"))
    assert (reception.inbound, reception.poll) == ((), STREAM)


@pytest.mark.parametrize("stream", [None, {}, {"id": ""}, {"id": 5}, {"id": STREAM[:-1]}, {"id": STREAM.upper()}])
def test_a_poll_for_no_stream_of_ours_is_refused(stream: Any):
    assert refusal(*callback({**fixture("stream__poll"), "stream": stream})) == (400, "stream")


@pytest.mark.parametrize("name", ["text__group", "mixed__group", "text__quote_file", "event__template_card_vote"])
def test_raw_keeps_everything_but_addresses(name: str):
    raw = json.dumps(heard(name).raw)
    assert "response_url" not in raw
    assert "http" not in raw
    assert heard(name).raw["msgid"] == fixture(name)["msgid"]


@pytest.mark.parametrize(
    ("corp_id", "sender"), [("", "zhangsan@wpxxxx"), ("wwothers", "zhangsan@wpxxxx"), ("wpxxxx", "zhangsan")]
)
def test_a_guest_does_not_pass_for_a_colleague(corp_id: str, sender: str):
    assert heard("text__guest", corp_id=corp_id).sender == sender
    assert heard("text__single", corp_id=corp_id).sender == "zhangsan"


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("@RobotA hello", "RobotA", "hello"),
        ("@RobotA\u2005你好", "RobotA", "你好"),
        ("@RobotA\u00a0你好", "RobotA", "你好"),
        ("@RobotA\u3000你好", "RobotA", "你好"),
        ("@RobotA\u200b你好", "RobotA", "你好"),
        ("@RobotA，你好", "RobotA", "，你好"),
        ("@RobotA", "RobotA", ""),
        ("你好 @RobotA", "RobotA", "你好"),
        ("你好@RobotA 在吗", "RobotA", "你好 在吗"),
        ("请 @RobotA 看看", "RobotA", "请 看看"),
        ("第一行\n@RobotA 第二行", "RobotA", "第一行\n第二行"),
        ("第一行 @RobotA\n第二行", "RobotA", "第一行\n第二行"),
        ("问一下 @RobotA，好吗", "RobotA", "问一下，好吗"),
        ("@RobotA @RobotA 两次", "RobotA", "两次"),
        ("@My Robot hello", "My Robot", "hello"),
        ("@My\u2005Robot hello", " My Robot ", "hello"),
        ("@机器人(测试) 好", "机器人(测试)", "好"),
        ("@RobotA\n/new", "RobotA", "/new"),
        ("@RobotAB hello", "RobotA", "@RobotAB hello"),
        ("@RobotA-2 hello", "RobotA", "@RobotA-2 hello"),
        ("@小助手二号 好", "小助手", "@小助手二号 好"),
        ("mail a@RobotA now", "RobotA", "mail a@RobotA now"),
        ("RobotA hello", "RobotA", "RobotA hello"),
        ("@robota hello", "RobotA", "@robota hello"),
        ("  @RobotB spaces stay ", "RobotA", "  @RobotB spaces stay "),
        *((f"@RobotA{mark}好", "RobotA", f"{mark}好") for mark in "，。：！？、；,:!?;)）"),
        *((f"问 @RobotA {mark}好", "RobotA", f"问{mark}好") for mark in "，。：！？、；,:!?;)）"),
        *((f"a{mark}@RobotA b", "RobotA", f"a{mark}@RobotA b") for mark in "._%+-9Z"),
        ("@RobotA（好）", "RobotA", "@RobotA（好）"),
        ("@ hello", "", "@ hello"),
        ("@. hello", ".", "hello"),
    ],
)
def test_the_mention_is_taken_out(text: str, name: str, expected: str):
    assert strip_mention(text, name) == expected


def said(**fields: Any) -> Any:
    """What is heard of the fixture of a single chat with these fields changed."""
    (inbound,) = parse({**fixture("text__single"), **fields}).inbound
    return inbound


@pytest.mark.parametrize(
    ("fields", "peer"),
    [
        ({"chattype": "single", "chatid": "CHATID"}, SINGLE),
        ({"chattype": "SINGLE", "chatid": "CHATID"}, SINGLE),
        ({"chattype": "single", "chatid": None}, SINGLE),
        ({"chattype": "group", "chatid": "CHATID"}, GROUP),
        ({"chattype": "GROUP", "chatid": "CHATID"}, GROUP),
        ({"chattype": None, "chatid": "CHATID"}, GROUP),
        ({"chattype": "other", "chatid": "CHATID"}, GROUP),
        ({"chattype": None, "chatid": None}, SINGLE),
    ],
)
def test_a_chat_with_an_id_is_a_group_unless_the_platform_says_otherwise(fields: Any, peer: tuple[str, str]):
    inbound = said(**fields)
    assert (inbound.peer.kind, inbound.peer.id) == peer


def test_a_guest_without_an_id_is_nobody():
    assert (said(**{"from": {"corpid": "wpxxxx"}}).peer.id, said(**{"from": {"corpid": "wpxxxx"}}).sender) == (
        "sys",
        "",
    )


@pytest.mark.parametrize("unread", [set(), {"said"}, {"quoted"}, {"said", "quoted"}])
def test_what_cannot_be_read_is_told_of_the_message_and_of_its_quote(unread: set[str]):
    odd, fine = {"msgtype": "emoji"}, {"msgtype": "text", "text": {"content": "a"}}
    inbound = said(**(odd if "said" in unread else fine), quote=odd if "quoted" in unread else fine)
    assert inbound.is_unread == bool(unread)


def test_blank_lines_of_a_quote_stay_in_it():
    quote = {"msgtype": "text", "text": {"content": "a\n\n b "}}
    assert said(quote=quote).text == "> a\n>\n>  b\n\n你好 😀"


def test_names_of_types_are_read_in_any_case():
    assert said(msgtype="TEXT").text == "你好 😀"
    image = {"msgtype": "IMAGE", "image": {"url": "https://a.cn/p"}}
    assert said(msgtype="Mixed", mixed={"msg_item": [image]}).media == (MediaItem("image", "https://a.cn/p"),)
    assert said(msgtype="EVENT", event={"eventtype": "enter_chat"}).kind == "event"


def test_a_callback_that_names_no_bot_is_taken():
    assert said(aibotid=None).text == said(aibotid="").text == "你好 😀"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(1_700_000_000, 1_700_000_000), ("1700000000", 1_700_000_000), (10**11 - 1, 10**11 - 1), ("9" * 11, 10**11 - 1),
     (10**11, 0), ("9" * 12, 0), (0, 0), (-5, 0), ("-5", 0), (True, 0), (1.5, 0), ("soon", 0), (None, 0)],
)  # fmt: skip
def test_a_time_is_a_number_of_seconds(told: Any, seconds: int):
    assert said(create_time=told).occurred_at == seconds


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({"name": "N", "latitude": 1.5, "longitude": "2"}, "Location: N (1.5, 2)"),
        ({"title": "T", "address": "A"}, "Location: T A"),
        ({"label": "L"}, "Location: L"),
        ({"address": "A", "name": "A"}, "Location: A"),
    ],
)
def test_a_place_is_read_by_every_name_that_it_may_have(place: Any, text: str):
    inbound = said(msgtype="location", location=place)
    assert (inbound.kind, inbound.text, inbound.is_unread) == ("location", text, False)


@pytest.mark.parametrize("name", ["title", "description", "desc", "content", "url", "link_url"])
def test_a_link_is_read_by_every_name_that_its_parts_may_have(name: str):
    inbound = said(msgtype="link", link={name: "https://a.cn"})
    assert (inbound.kind, inbound.text, inbound.is_unread) == ("link", "https://a.cn", False)


def test_a_quote_of_which_nothing_can_be_read_is_marked():
    inbound = said(quote={"msgtype": "text", "text": {"content": " "}})
    assert inbound.text == "> [a message of the type text, which cannot be read here]\n\n你好 😀"
    assert inbound.is_unread


def test_a_quoted_file_comes_after_those_of_the_message():
    files = [{"msgtype": "image", "image": {"url": f"https://a.cn/{name}"}} for name in "ab"]
    quote = {"msgtype": "file", "file": {"url": "https://a.cn/q"}}
    inbound = said(msgtype="mixed", mixed={"msg_item": files}, quote=quote)
    assert [item.handle for item in inbound.media] == ["https://a.cn/a", "https://a.cn/b", "https://a.cn/q"]


def test_a_file_beside_the_platforms_placeholder_is_kept():
    parts = [
        {"msgtype": "text", "text": {"content": "[不支持的消息类型]"}},
        {"msgtype": "image", "image": {"url": "https://a.cn/a"}},
    ]
    inbound = said(msgtype="mixed", mixed={"msg_item": parts})
    assert (inbound.kind, inbound.media) == ("unsupported", (MediaItem("image", "https://a.cn/a"),))


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("option_ids", "option_id"), ("opiton_ids", "opiton_id"), ("opiton_ids", "option_id")],
)
@pytest.mark.parametrize(("chosen", "text"), [(["a", "b"], "q: a, b"), ("a", "q: a")])
def test_what_was_chosen_on_a_card_is_read_in_every_spelling(outer: str, inner: str, chosen: Any, text: str):
    item = {"question_key": "q", outer: {inner: chosen}}
    event = {"eventtype": "template_card_event", "template_card_event": {"selected_items": {"selected_item": item}}}
    assert said(msgtype="event", event=event).text == text


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"type": 1}, "accurate"),
        ({"type": "2"}, "inaccurate"),
        ({"type": 3}, "withdrawn"),
        ({"type": 9}, "9"),
        ({"type": 2, "inaccurate_reason_list": [1, 2, 3, 4]}, "inaccurate (irrelevant, incomplete, wrong, wrong data analysis)"),
        ({"type": 2, "inaccurate_reason_list": ["1", 9]}, "inaccurate (irrelevant, 9)"),
        ({"type": 2, "inaccurate_reason_list": 3, "content": "W"}, "inaccurate (wrong): W"),
    ],
)  # fmt: skip
def test_a_verdict_on_an_answer_is_read_number_by_number(told: Any, text: str):
    event = {"eventtype": "feedback_event", "feedback_event": told}
    assert said(msgtype="event", event=event).text == f"feedback: {text}"


def test_in_a_single_chat_nothing_is_taken_out():
    assert parse({**fixture("text__single"), "text": {"content": "@RobotA 你好"}}).inbound[0].text == "@RobotA 你好"


def test_another_bots_callback_is_refused():
    assert refusal(*callback({**fixture("text__group"), "aibotid": "OTHER"})) == (403, "aibotid")


@pytest.mark.parametrize(
    ("name", "change", "peer"),
    [
        ("text__single", {"from": {}}, ("direct", "sys")),
        ("text__group", {"chatid": None}, ("group", "sys")),
    ],
)
def test_a_message_from_nobody_is_kept_and_opens_no_stream(name: str, change: dict[str, Any], peer: tuple[str, str]):
    query, body = callback({**fixture(name), **change})
    reception = bot().parse(query, body)
    assert (reception.inbound[0].peer.kind, reception.inbound[0].peer.id) == peer
    assert bot().acknowledge(query, reception).body == b""


@pytest.mark.parametrize("plain", [b"", b"nothing", b"[]", b"[" * 5000, b"\xff\xfe{", b'"text"'])
def test_a_message_that_is_no_object_is_kept(plain: bytes):
    (inbound,) = parse(plain).inbound
    assert (inbound.kind, inbound.peer.id, inbound.sender) == ("unsupported", "sys", "")
    assert inbound.raw == {"unreadable": plain.decode(errors="replace")}


@pytest.mark.parametrize("body", [b"", b"<xml/>", b"[1]", b"[" * 5000])
def test_a_body_that_is_no_object_is_refused(body: bytes):
    assert refusal(query_for(""), body) == (400, "json")


@pytest.mark.parametrize("encrypt", [None, 5, ["x"], {"a": "b"}])
def test_a_body_without_text_to_decrypt_is_refused(encrypt: Any):
    assert refusal(query_for(""), json.dumps({"encrypt": encrypt}).encode()) == (400, "padding")


def test_a_receiveid_is_refused():
    ciphertext = platform.encrypt(KEY, json.dumps(fixture("text__group")).encode(), "wwcorp")
    body = json.dumps({"encrypt": ciphertext}).encode()
    assert refusal(query_for(ciphertext), body) == (403, "receiveid")


def test_a_changed_body_is_refused():
    query, _body = callback(fixture("text__group"))
    _query, body = callback(fixture("text__single"))
    assert refusal(query, body) == (403, "signature")


def test_what_cannot_be_stored_is_replaced():
    text = r'{"msgid":"m","aibotid":"AIBOTID","chattype":"single","from":{"userid":"z\u0000"},"msgtype":"text",'
    text += r'"text":{"content":"a\u0000b\ud800c"},"x":[NaN,1e999]}'
    (inbound,) = parse(text.encode()).inbound
    assert (inbound.text, inbound.sender, inbound.raw["x"]) == ("a\ufffdb\ufffdc", "z\ufffd", ["nan", "inf"])


def test_bytes_that_are_no_utf_8_lose_no_message():
    plain = json.dumps(fixture("text__single"), ensure_ascii=False).encode().replace("你好".encode(), b"\xff\xfe")
    assert parse(plain).inbound[0].text == "\ufffd\ufffd 😀"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


NAMES = [
    "msgtype",
    "text",
    "mixed",
    "image",
    "quote",
    "event",
    "chatid",
    "chattype",
    "from",
    "response_url",
    "create_time",
]


TYPES = ["text", "mixed", "image", "voice", "event", "template_card_event", "feedback_event", "group"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.sampled_from(TYPES), max_size=8))
def test_any_object_is_heard_or_refused(node: dict[str, Any]):
    """Wrong types anywhere are never an error of ours."""
    try:
        reception = parse({"aibotid": "AIBOTID", "from": {"userid": "z"}, **node})
    except CallbackRefused as refused:
        reception = None
        status = refused.status
    assert reception.inbound[0].key if reception else status == 400


@pytest.mark.parametrize("name", ["mixed", "quote", "event"])
def test_odd_content_is_heard(name: str):
    odd = {"msg_item": [5, None, {"msgtype": "mixed"}, {"msgtype": "text", "text": "x"}], "msgtype": 7, "eventtype": []}
    node = {**fixture("text__single"), "msgtype": name if name != "quote" else "text", name: odd}
    marks = (
        "[a message of the type mixed, which cannot be read here]",
        "> [a message of the type 7, which cannot be read here]\n\n你好 😀",
    )
    assert parse(node).inbound[0].text in ("", *marks)


def test_the_address_is_verified_with_the_plaintext_only():
    ciphertext = platform.encrypt(KEY, b"1616140317555161061", "")
    answer = bot().challenge({**query_for(ciphertext), "echostr": ciphertext})
    assert (answer.body, answer.content_type) == (b"1616140317555161061", "text/plain; charset=utf-8")


def test_a_challenge_without_echostr_is_refused():
    with pytest.raises(CallbackRefused) as caught:
        bot().challenge(query_for("x"))
    assert (caught.value.status, caught.value.code) == (403, "signature")
