"""What an AI bot says: rendering, and the frames of a stream."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import Content, File, Payload, Upload
from channels_wechat.contract.text import utf8_len
from tests.channels.wecom.aibot import bot, opened, query_for
from tests.channels.wecom.aibot_answers import CARD, PNG, markdown
from tests.fuzz.strangers import storable

STREAM = "0123456789abcdef0123456789abcdef"


def picture(ref: str = "1", size: int = 100, mime: str = "image/png", name: str = "a.png") -> File:
    return File("image", name, mime, size, ref)


def fenced(card: Any, info: str = "template_card") -> str:
    return f"```{info}\n{card if isinstance(card, str) else json.dumps(card, ensure_ascii=False)}\n```"


# --- rendering


def test_a_text_is_one_payload():
    assert bot().render(Content("**好**")) == [Payload(markdown("**好**"))]


@pytest.mark.parametrize(("length", "sizes"), [(20_480, [20_480]), (20_481, [20_480, 1]), (61_440, [20_480] * 3)])
def test_a_long_text_is_split_at_the_byte(length: int, sizes: list[int]):
    payloads = bot().render(Content("a" * length))
    assert [utf8_len(payload.body["markdown"]["content"]) for payload in payloads] == sizes


def test_every_part_of_a_long_table_has_its_head():
    rows = "".join(f"| {number} | {'字' * 40} |\n" for number in range(450))
    contents = [
        part.body["markdown"]["content"] for part in bot().render(Content(f"前\n\n| n | 值 |\n|---|---|\n{rows}"))
    ]
    assert len(contents) > 2
    assert all(part.startswith("| n | 值 |\n|---|---|\n| ") for part in contents[1:])
    assert all(utf8_len(part) <= 20_480 for part in contents)
    assert sum(part.count("字" * 40) for part in contents) == 450


def test_a_long_chinese_text_loses_nothing():
    text = "好" * 10_000
    contents = [payload.body["markdown"]["content"] for payload in bot().render(Content(text))]
    assert "".join(contents) == text
    assert [utf8_len(content) for content in contents] == [20_478, 9_522]


@pytest.mark.parametrize("content", [Content(""), Content(" \n\n "), Content(" \n" * 30_000)])
def test_an_empty_message_is_refused(content: Content):
    with pytest.raises(ContentRefused) as caught:
        bot().render(content)
    assert (caught.value.field, caught.value.cause.code) == ("text", "message_empty")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ContentRefused) as caught:
        bot().render(Content(kind="mpnews"))
    assert caught.value.field == "kind"


def test_pictures_go_with_the_first_part():
    payloads = bot().render(Content("a" * 20_481, (picture("7"), picture("8", mime="image/jpeg"))))
    assert [payload.images for payload in payloads] == [("7", "8"), ()]


def test_pictures_need_no_text():
    assert bot().render(Content(files=(picture(),))) == [Payload(markdown(""), images=("1",))]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            File("file", "报告.pdf", "application/pdf", 2_000_000, "1"),
            "[报告.pdf, 1.9\xa0MB: this chat cannot carry files]",
        ),
        (File("voice", "a.amr", "audio/amr", 10, "1"), "[a.amr, 10\xa0bytes: this chat cannot carry files]"),
        (File("file", "a.svg", "image/svg+xml", 10, "1"), "[a.svg, 10\xa0bytes: this chat shows at most ten pictures"),
        (File("image", "a", "", 10, "1"), "[a, 10\xa0bytes: this chat cannot carry files]"),
        (
            picture(mime="image/gif", name="a.gif"),
            "[a.gif, 100\xa0bytes: this chat shows at most ten pictures, JPG or PNG, ",
        ),
        (picture(size=10 * 1024 * 1024 + 1), "[a.png, 10.0\xa0MB: this chat shows at most ten pictures, JPG or PNG, "),
    ],
)
def test_what_cannot_be_sent_is_named(file: File, words: str):
    (payload,) = bot().render(Content("看附件", (file,)))
    assert payload.body["markdown"]["content"].startswith(f"看附件\n\n{words}")
    assert payload.images == ()


def test_ten_megabytes_and_ten_pictures_are_shown():
    files = tuple(picture(str(number), size=10 * 1024 * 1024) for number in range(11))
    (payload,) = bot().render(Content(files=files))
    assert payload.images == tuple(map(str, range(10)))
    assert payload.body["markdown"]["content"].startswith("[a.png, 10.0\xa0MB: ")


def test_a_card_in_the_agents_markdown_becomes_one():
    (payload,) = bot().render(Content(f"请选\n{fenced(CARD)}\n谢谢"))
    assert payload.body == {**markdown("请选\n谢谢"), "template_card": CARD}


def test_a_card_alone_is_a_card():
    assert bot().render(Content(fenced(CARD)))[0].body == {"msgtype": "template_card", "template_card": CARD}


@pytest.mark.parametrize("fence", ["~~~", "````", "~~~~~"])
def test_a_card_may_stand_in_any_fence(fence: str):
    block = f"{fence} template_card\n{json.dumps(CARD)}\n{fence}"
    (payload,) = bot().render(Content(f"请选\n{block}\n谢谢"))
    assert payload.body == {**markdown("请选\n谢谢"), "template_card": CARD}
    assert frame(text=f"看\n{block}")["stream"]["content"] == "看\n"


@pytest.mark.parametrize(
    "block",
    [
        fenced("{not json"),
        fenced("[1]"),
        fenced("[" * 5000),
        fenced({"card_type": "none"}),
        fenced({**CARD, "main_title": {"title": "长" * 27}}),
        fenced(CARD, "json"),
        fenced(CARD).removesuffix("```"),
    ],
)
def test_what_is_no_card_stays_to_be_seen(block: str):
    (payload,) = bot().render(Content(block))
    assert payload.body == markdown(block)


def test_only_the_first_card_is_taken():
    (payload,) = bot().render(Content(fenced("{broken") + "\n" + fenced(CARD) + "\n" + fenced(CARD)))
    assert payload.body == {**markdown(fenced("{broken") + "\n" + fenced(CARD)), "template_card": CARD}


def test_a_card_holds_only_what_can_be_stored_and_sent():
    odd = fenced(CARD).replace("{", '{"a\\u0000": "x\\u001b\\u202e\\ud800\\u0000", "n": NaN, "m": 1e999, ', 1)
    card = bot().render(Content(odd))[0].body["template_card"]
    assert storable(card)
    assert json.dumps(card, allow_nan=False)
    assert "\u202e" not in json.dumps(card, ensure_ascii=False)
    assert {name: card[name] for name in CARD} == CARD


def test_a_template_card_is_checked():
    assert bot().render(Content(kind="template_card", data=CARD))[0].body["template_card"] == CARD
    assert bot().render(Content("看", kind="template_card", data=CARD))[0].body == {
        **markdown("看"),
        "template_card": CARD,
    }
    with pytest.raises(ContentRefused):
        bot().render(Content(kind="template_card", data={"card_type": "none"}))


def test_what_is_no_utf_8_is_replaced():
    assert bot().render(Content("a\0\ud800"))[0].body == markdown("a\ufffd\ufffd")


# --- frames


def frame(payload: Payload | None = None, **more: Any) -> dict[str, Any]:
    query = query_for("x")
    return opened(bot().frame(query, STREAM, payload, **more), query)


def test_a_frame_without_text_shows_thinking():
    assert frame() == {"msgtype": "stream", "stream": {"id": STREAM, "finish": False, "content": "<think></think>"}}


def test_a_frame_shows_the_text_so_far():
    assert frame(text="你好")["stream"] == {"id": STREAM, "finish": False, "content": "你好"}


@pytest.mark.parametrize(
    ("text", "length"), [("a" * 20_481, 20_480), ("好" * 7000, 20_478), ("a" * 20_470 + "👨‍👩‍👧‍👦", 20_470)]
)
def test_the_text_so_far_is_cut_between_characters(text: str, length: int):
    content = frame(text=text)["stream"]["content"]
    assert text.startswith(content)
    assert utf8_len(content) == length


@pytest.mark.parametrize("text", ['看\n```template_card\n{"card', "看\n" + fenced(CARD), "看\n```template_card"])
def test_a_card_being_written_is_not_shown(text: str):
    assert frame(text=text)["stream"]["content"] == "看\n"


def test_the_last_frame_is_the_payload():
    assert frame(Payload(markdown("完")), text="ignored", finish=True) == {
        "msgtype": "stream",
        "stream": {"id": STREAM, "finish": True, "content": "完"},
    }


def test_a_frame_can_end_with_words_of_ours_or_none():
    assert frame(text="稍后", finish=True)["stream"] == {"id": STREAM, "finish": True, "content": "稍后"}
    assert frame(finish=True)["stream"] == {"id": STREAM, "finish": True, "content": ""}


def test_pictures_come_with_the_end_only():
    images = tuple(Upload("image", "a.png", "image/png", PNG) for _number in range(11))
    item = {
        "msgtype": "image",
        "image": {"base64": base64.b64encode(PNG).decode(), "md5": hashlib.md5(PNG).hexdigest()},
    }
    assert frame(Payload(markdown("图")), images=images, finish=True)["stream"]["msg_item"] == [item] * 10
    assert "msg_item" not in frame(Payload(markdown("图")), images=images)["stream"]


def test_a_card_comes_with_the_end_only():
    payload = Payload({**markdown("请选"), "template_card": CARD})
    assert frame(payload, finish=True) == {
        "msgtype": "stream_with_template_card",
        "stream": {"id": STREAM, "finish": True, "content": "请选"},
        "template_card": CARD,
    }
    assert frame(payload)["msgtype"] == "stream"
    alone = frame(Payload({"msgtype": "template_card", "template_card": CARD}), finish=True)
    assert alone["stream"]["content"] == ""
    assert alone["template_card"] == CARD


def test_text_that_is_no_utf_8_still_makes_a_frame():
    assert frame(text="a\ud800\0")["stream"]["content"] == "a"


@pytest.mark.parametrize("reason", ["skipped", "failed", "later", "silent", "stopped"])
def test_how_a_stream_ends_without_an_answer(reason: str):
    assert bot().closing_text(reason)
    name = {"skipped": "unmapped"}.get(reason, reason)
    assert bot(sentences={name: "自己的话"}).closing_text(reason) == "自己的话"
