"""What an AI bot says over its long connection: content in, wire messages out, and another way for what was refused."""

from __future__ import annotations

from typing import Any

import pytest

from channels_wechat.contract.errors import ChannelError, ContentRefused
from channels_wechat.contract.messages import HANDLE, Content, File, Payload, Peer
from channels_wechat.contract.sentences import ENGLISH, Sentences
from channels_wechat.wecom.aibot import connection_rendering, protocol
from channels_wechat.wecom.aibot.connection_rendering import PUSH, REPLY, STREAM
from channels_wechat.wecom.files import MB
from tests.channels.wecom.aibot_answers import CARD

PNG = File("image", "a.png", "image/png", 1000, "1")
FENCE = '```template_card\n{"card_type": "text_notice", "main_title": {"title": "Hi"}, "card_action": {"type": 1, "url": "https://a.cn"}}\n```'


def render(text: str = "", *files: File, **content: Any) -> list[Payload]:
    return connection_rendering.render(Content(text=text, files=files, **content), Sentences(ENGLISH, {}))


def kinds(payloads: list[Payload]) -> list[tuple[str, str]]:
    return [(payload.body["msgtype"], payload.body.get("via", "")) for payload in payloads]


def media(kind: str, ref: str, **more: Any) -> Payload:
    return Payload({"msgtype": kind, kind: {"media_id": HANDLE, **more}}, file=ref)


def test_the_first_text_ends_the_stream_and_the_rest_follows() -> None:
    payloads = render("一" * 7000 + f"\n\n{FENCE}", PNG)
    assert kinds(payloads) == [("markdown", STREAM), ("markdown", ""), ("template_card", ""), ("image", "")]
    assert all(len(each.body["markdown"]["content"].encode()) <= 20_480 for each in payloads[:2])
    assert payloads[3] == media("image", "1")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (File("voice", "a.amr", "audio/amr", 2 * MB, "2"), "voice"),
        (File("voice", "a.amr", "audio/amr", 2 * MB + 1, "2"), "file"),
        (File("voice", "a.mp3", "audio/mpeg", 1000, "2"), "file"),
        (File("video", "a.mp4", "video/mp4", 10 * MB, "2"), "video"),
        (File("video", "a.mp4", "video/mp4", 10 * MB + 1, "2"), "file"),
        (File("image", "a.gif", "image/gif", 1000, "2"), "file"),
        (File("file", "a.pdf", "application/pdf", 20 * MB, "2"), "file"),
    ],
)
def test_a_file_goes_as_what_wecom_takes_it_for(file: File, kind: str) -> None:
    assert render("", file) == [media(kind, "2")]


def test_what_wecom_does_not_take_is_named_in_the_text() -> None:
    (payload,) = render("See:", File("file", "big.zip", "application/zip", 20 * MB + 1, "2"))
    assert payload.body["markdown"]["content"].startswith("See:\n\n[big.zip, 21 MB: too large")
    with pytest.raises(ContentRefused) as refused:
        render("", File("file", "none.txt", "text/plain", 0, "2"))
    assert (refused.value.field, refused.value.cause.code) == ("files", "file_empty")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"kind": "template_card", "data": CARD}, [("template_card", "")]),
        ({"kind": "template_card", "data": CARD, "text": "Look"}, [("markdown", STREAM), ("template_card", "")]),
        ({"kind": "file", "data": {"media_id": "M"}}, [("file", "")]),
    ],
)
def test_messages_of_their_own_type(content: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert kinds(render(**content)) == expected


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"kind": "news", "data": {}}, "kind"),
        ({"text": "  "}, "text"),
        ({"kind": "voice", "data": {}}, "files"),
        ({"kind": "video", "data": {"title": "t" * 129, "media_id": "M"}}, "title"),
        ({"kind": "template_card", "data": {"card_type": "poster"}}, "card_type"),
    ],
)
def test_what_can_never_be_sent_is_refused(content: dict[str, Any], field: str) -> None:
    with pytest.raises(ContentRefused) as refused:
        render(**content)
    assert refused.value.field == field


# --- another way


def refused(errcode: int, way: protocol.Way, kind: str = "group") -> Any:
    with pytest.raises(ChannelError) as caught:
        protocol.check({"errcode": errcode, "errmsg": "no"}, way=way, peer=Peer(kind, "c"))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("via", "errcode", "way", "after"),
    [
        (STREAM, 600039, "stream", ""),
        (STREAM, 846608, "stream", PUSH),
        (STREAM, 846605, "stream", PUSH),
        ("", 846605, "reply", PUSH),
        ("", 600039, "push", REPLY),
        (PUSH, 93006, "push", REPLY),
        (REPLY, 846605, "reply", None),
        (PUSH, 846605, "reply", None),
        ("", 45002, "reply", None),
        (REPLY, 600039, "push", None),
    ],
)
def test_each_way_is_tried_once(via: str, errcode: int, way: protocol.Way, after: str | None) -> None:
    body = {"msgtype": "markdown", "markdown": {"content": "hi"}}
    other = connection_rendering.instead(Payload({**body, "via": via} if via else body), refused(errcode, way))
    assert (other.body.get("via", "") if other else None) == after
    assert other is None or other.body["markdown"] == body["markdown"]


@pytest.mark.parametrize(
    ("errcode", "way", "kind", "learned"),
    [
        (600039, "stream", "direct", "stream"),
        (600039, "push", "group", "push"),
        (93006, "push", "group", "push"),
        (93006, "push", "direct", ""),
        (600039, "reply", "group", ""),
        (846608, "stream", "group", ""),
    ],
)
def test_only_what_a_chat_refuses_for_good_is_learned(errcode: int, way: protocol.Way, kind: str, learned: str) -> None:
    error = refused(errcode, way, kind)
    assert (error.capability, error.of_peer) == (learned, bool(learned))


@pytest.mark.parametrize("reply", ["", "https://qyapi.weixin.qq.com/x", "0" * 31 + " REQ", "0" * 32, "0" * 32 + " "])
def test_what_is_no_handle_of_ours_is_not_answered_by(reply: str) -> None:
    assert protocol.read_handle(reply) is None


def test_a_handle_names_the_stream_and_the_request() -> None:
    reply = protocol.handle_maker("7d3e2f10-5a4b-4c3d-8e9f-0123456789ab", "REQ 1")("MSGID")
    question = protocol.read_handle(reply)
    assert question is not None
    assert (len(question.stream), question.req_id) == (32, "REQ 1")
