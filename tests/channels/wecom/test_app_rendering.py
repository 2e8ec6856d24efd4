"""What a self-built app says: content in, wire messages out, and a sentence for what can never be sent."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import HANDLE, Content, File, Payload
from channels_wechat.contract.sentences import CHINESE, ENGLISH, Sentences
from channels_wechat.wecom.app import rendering
from channels_wechat.wecom.errors import WECOM_APP
from channels_wechat.wecom.files import MB, media_type


def render(content: Content, markdown: bool, language: str = CHINESE) -> list[Payload]:
    return rendering.render(content, markdown, Sentences(language))


def text(*parts: str) -> list[Payload]:
    return [Payload({"msgtype": "text", "text": {"content": part}}) for part in parts]


def file(kind: str = "file", name: str = "a.zip", mime: str = "application/zip", size: int = 100) -> File:
    return File(kind, name, mime, size, ref="7")


def media(kind: str, **more: str) -> Payload:
    return Payload({"msgtype": kind, kind: {"media_id": HANDLE, **more}}, file="7")


def refusal(content: Content) -> tuple[str, str]:
    with pytest.raises(ContentRefused) as caught:
        render(content, False)
    return caught.value.field, str(caught.value)


IMAGE = file("image", "a.png", "image/png")
ARTICLE = {"title": "中秋节", "url": "https://example.com/a"}
MPARTICLE = {"title": "t", "thumb_media_id": "m", "content": "<p>x</p>"}
TEXTCARD = {"title": "t", "description": "d", "url": "https://a.cn"}
CARD = {
    "card_type": "text_notice",
    "main_title": {"title": "t"},
    "card_action": {"type": 1, "url": "https://example.com"},
}
NOTICE = {"appid": "wx1", "title": "会议室预订", "content_item": [{"key": "会议室", "value": "402"}]}


def test_an_answer_is_plain_text_by_default():
    assert render(Content("# 标题\n**你好** [a](https://b.c)"), False) == text("标题\n你好 a (https://b.c)")


def test_markdown_goes_out_as_it_is_where_it_is_chosen():
    assert render(Content("**你好**"), True) == [Payload({"msgtype": "markdown", "markdown": {"content": "**你好**"}})]


def test_markdown_goes_without_what_the_app_does_not_show():
    said = "# 题\n| a | b |\n|---|---|\n| 1 | **2** |\n\n```py\nx = |1|\n```\n> 引"
    shown = "# 题\na | b\n1 | 2\n\nx = |1|\n> 引"
    assert render(Content(said), True) == [Payload({"msgtype": "markdown", "markdown": {"content": shown}})]


def test_an_answer_without_marks_is_text_also_where_markdown_is_chosen():
    assert render(Content("你好"), True) == text("你好")


@pytest.mark.parametrize("markdown", [False, True])
def test_a_long_answer_is_cut_by_bytes(markdown):
    said = "**一**二三四五六七八九十。" * 300
    parts = [payload.body[payload.body["msgtype"]]["content"] for payload in render(Content(said), markdown)]
    assert len(parts) > 1
    assert all(0 < len(part.encode()) <= 2048 for part in parts)
    assert "".join(parts) == (said if markdown else said.replace("*", ""))


def test_exactly_2048_bytes_are_one_message():
    assert len(render(Content("a" * 2048), False)) == 1
    assert len(render(Content("a" * 2049), False)) == 2


def test_text_comes_before_its_files():
    assert render(Content("hi", (IMAGE, file())), False) == [*text("hi"), media("image"), media("file")]


@pytest.mark.parametrize(
    ("kind", "name", "mime", "size", "sent_as"),
    [
        ("image", "a.png", "image/png", 10 * MB, "image"),
        ("image", "a.jpg", "image/jpeg", 5, "image"),
        ("image", "a.JPG", "", 5, "image"),
        ("image", "a.png", "application/octet-stream", 5, "image"),
        ("image", "a.png", "image/webp", 5, "file"),
        ("image", "a.gif", "image/gif", 5, "file"),
        ("image", "a", "", 5, "file"),
        ("image", "a.png", "image/png", 10 * MB + 1, "file"),
        ("voice", "a.amr", "audio/amr", 2 * MB, "voice"),
        ("voice", "a.amr", "audio/amr", 2 * MB + 1, "file"),
        ("voice", "a.mp3", "audio/mpeg", 100, "file"),
        ("video", "a.mp4", "video/mp4", 10 * MB, "video"),
        ("video", "a.mp4", "video/mp4", 10 * MB + 1, "file"),
        ("video", "a.mov", "video/quicktime", 100, "file"),
        ("image", "a.JPEG", "", 5, "image"),
        ("image", "a", "image/png", 5, "image"),
        ("voice", "a.amr", "", 5, "voice"),
        ("voice", "a.mp3", "application/octet-stream", 5, "file"),
        ("video", "a.mp4", "", 5, "video"),
        ("video", "a.mov", "", 5, "file"),
        ("file", "a.png", "image/png", 20 * MB, "file"),
    ],
)
def test_a_file_goes_out_as_what_wecom_shows_or_as_a_file(kind, name, mime, size, sent_as):
    assert media_type(kind, name, mime, size) == sent_as
    assert render(Content(files=(file(kind, name, mime, size),)), False) == [media(sent_as)]


@pytest.mark.parametrize(
    ("language", "line"),
    [
        (CHINESE, "[film.mov，21 MB：文件过大，无法发送，最大 20 MB]"),
        (ENGLISH, "[film.mov, 21 MB: too large to be sent, at most 20 MB]"),
    ],
)
@pytest.mark.parametrize("workers", ["en", "zh-hans"])
def test_a_file_too_large_leaves_a_line_in_the_accounts_language(language, line, workers):
    big = file(name="film.mov", size=20 * MB + 1)
    with override(workers):
        assert render(Content("hi", (big, IMAGE)), False, language) == [*text("hi", line), media("image")]


def test_an_empty_file_beside_text_leaves_a_line_in_words():
    assert render(Content("hi", (file(size=4),)), True)[1:] == text("[a.zip：文件为空或过小，无法发送]")


@pytest.mark.parametrize(
    ("content", "code", "params"),
    [
        (Content(), "message_empty", {}),
        (Content(files=(file(size=4),)), "file_empty", {}),
        (Content(files=(file(size=20 * MB + 1),)), "file_over_limit", {"size": "21 MB", "most": "20 MB"}),
    ],
)
def test_what_an_agent_may_say_is_refused_with_a_code_of_the_table(content, code, params):
    with pytest.raises(ContentRefused) as caught:
        render(content, False)
    assert caught.value.cause == (code, params)
    assert str(caught.value) == WECOM_APP[code].text(params)


def test_one_file_too_large_does_not_hide_another():
    assert render(Content(files=(file(size=0), IMAGE)), False)[1] == media("image")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Content(), "text"),
        (Content(" \n"), "text"),
        (Content(files=(file(size=0),)), "files"),
        (Content(files=(file(size=4),)), "files"),
        (Content(files=(file(size=21 * MB),)), "files"),
        (Content(kind="image", files=(file(),)), "files"),
        (Content(kind="image", files=(IMAGE, IMAGE)), "files"),
        (Content(kind="image"), "files"),
        (Content(kind="voice", files=(file("voice", "a.mp3", "audio/mpeg"),)), "files"),
        (Content(kind="video", files=(file("video", "a.mp4", "video/mp4", 11 * MB),)), "files"),
        (Content(kind="file", files=(file(size=4),)), "files"),
        (Content(kind="video", data={"media_id": "m", "title": "一" * 43}), "title"),
        (Content(kind="video", data={"media_id": "m", "description": "a" * 513}), "description"),
        (Content(kind="markdown", data={"content": "一" * 683}), "content"),
        (Content(kind="markdown", data={}), "content"),
        (Content(kind="markdown", data={"content": 7}), "content"),
        (Content(kind="markdown_v2", data={"content": "x"}), "kind"),
        (Content(kind="textcard", data={}), "title"),
        (Content(kind="textcard", data={"title": "a" * 129, "description": "d", "url": "https://a"}), "title"),
        (Content(kind="textcard", data={"title": "t", "description": "a" * 513, "url": "https://a"}), "description"),
        (Content(kind="textcard", data={"title": "t", "description": "d", "url": "a.com"}), "url"),
        (Content(kind="textcard", data={"title": "t", "description": "d"}), "url"),
        (
            Content(
                kind="textcard", data={"title": "t", "description": "d", "url": "https://a", "btntxt": "一二三四五"}
            ),
            "btntxt",
        ),
        (Content(kind="news", data={}), "articles"),
        (Content(kind="news", data={"articles": []}), "articles"),
        (Content(kind="news", data={"articles": ["x"]}), "articles"),
        (Content(kind="news", data={"articles": [ARTICLE] * 9}), "articles"),
        (Content(kind="news", data={"articles": [ARTICLE, {"title": "t"}]}), "articles[2].url"),
        (Content(kind="news", data={"articles": [{"title": "t", "appid": "a"}]}), "articles[1].url"),
        (Content(kind="news", data={"articles": [{**ARTICLE, "picurl": "a.png"}]}), "articles[1].picurl"),
        (Content(kind="news", data={"articles": [{**ARTICLE, "title": "一" * 43}]}), "articles[1].title"),
        (
            Content(kind="mpnews", data={"articles": [{**MPARTICLE, "thumb_media_id": ""}]}),
            "articles[1].thumb_media_id",
        ),
        (Content(kind="mpnews", data={"articles": [{**MPARTICLE, "author": "a" * 65}]}), "articles[1].author"),
        (
            Content(kind="mpnews", data={"articles": [{**MPARTICLE, "content": "a" * (666 * 1024 + 1)}]}),
            "articles[1].content",
        ),
        (Content(kind="mpnews", data={"articles": [{**MPARTICLE, "digest": "a" * 513}]}), "articles[1].digest"),
        (Content(kind="miniprogram_notice", data={**NOTICE, "appid": ""}), "appid"),
        (Content(kind="miniprogram_notice", data={**NOTICE, "title": "会议室"}), "title"),
        (Content(kind="miniprogram_notice", data={**NOTICE, "title": "一" * 13}), "title"),
        (Content(kind="miniprogram_notice", data={**NOTICE, "description": "短"}), "description"),
        (
            Content(kind="miniprogram_notice", data={**NOTICE, "content_item": [{"key": "a" * 11, "value": "v"}]}),
            "content_item[1].key",
        ),
        (
            Content(kind="miniprogram_notice", data={**NOTICE, "content_item": [{"key": "k", "value": "v" * 31}]}),
            "content_item[1].value",
        ),
        (
            Content(kind="miniprogram_notice", data={**NOTICE, "content_item": [{"key": "k", "value": "v"}] * 11}),
            "content_item",
        ),
        (Content(kind="textcard", data={**TEXTCARD, "btntxt": 0}), "btntxt"),
        (Content(kind="news", data={"articles": [{**ARTICLE, "description": False}]}), "articles[1].description"),
        (Content(kind="news", data={"articles": [{"title": "t", "pagepath": "p"}]}), "articles[1].url"),
        (Content("x", data={"safe": 2}), "safe"),
        (Content("x", data={"safe": "1"}), "safe"),
        (Content("x", data={"safe": True}), "safe"),  # JSON's true is no 1 to WeCom
        (Content(kind="news", data={"articles": [ARTICLE], "safe": 1}), "safe"),
    ],
)
def test_what_can_never_be_sent_says_why(content, field):
    where, sentence = refusal(content)
    assert where == field
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("markdown", {"content": "一" * 682}),
        (
            "textcard",
            {"title": "a" * 128, "description": "a" * 512, "url": "https://example.com", "btntxt": "更多信息"},
        ),
        ("news", {"articles": [ARTICLE] * 8}),
        ("news", {"articles": [{"title": "t", "appid": "wx1", "pagepath": "p"}]}),
        ("mpnews", {"articles": [{**MPARTICLE, "author": "a" * 64, "digest": "a" * 512}]}),
        ("mpnews", {"articles": [{**MPARTICLE, "content": "a" * 666 * 1024}]}),
        ("miniprogram_notice", NOTICE),
        ("miniprogram_notice", {"appid": "wx1", "title": "一" * 4, "description": "一" * 4}),
        ("miniprogram_notice", {"appid": "wx1", "title": "一" * 12, "description": "一" * 12}),
        ("miniprogram_notice", {**NOTICE, "content_item": [{"key": "k", "value": "v"}] * 10}),
        ("news", {"articles": [{"title": "t", "appid": "wx1", "pagepath": "p", "url": ""}]}),
        ("template_card", CARD),
    ],
)
def test_a_message_of_its_own_type_goes_out_as_it_is(kind, data):
    assert render(Content(kind=kind, data=data), False) == [Payload({"msgtype": kind, kind: data})]


def of_bytes(count: int, begin: str = "") -> str:
    """So many bytes of UTF-8, in about half as many characters."""
    left = count - len(begin)
    return begin + "é" * (left // 2) + "a" * (left % 2)


def letters(count: int) -> str:
    return "一" * count


def link(count: int) -> str:
    return of_bytes(count, "https://a.cn/")


NOTICE_ITEM = {"key": "k", "value": "v"}
BORDERS = [
    ("video", lambda text: {"media_id": "m", "title": text}, of_bytes, 128, "title"),
    ("video", lambda text: {"media_id": "m", "description": text}, of_bytes, 512, "description"),
    ("markdown", lambda text: {"content": text}, of_bytes, 2048, "content"),
    ("textcard", lambda text: {**TEXTCARD, "title": text}, of_bytes, 128, "title"),
    ("textcard", lambda text: {**TEXTCARD, "description": text}, of_bytes, 512, "description"),
    ("textcard", lambda text: {**TEXTCARD, "url": text}, link, 2048, "url"),
    ("textcard", lambda text: {**TEXTCARD, "btntxt": text}, letters, 4, "btntxt"),
    ("news", lambda text: {"articles": [{**ARTICLE, "title": text}]}, of_bytes, 128, "articles[1].title"),
    ("news", lambda text: {"articles": [{**ARTICLE, "description": text}]}, of_bytes, 512, "articles[1].description"),
    ("news", lambda text: {"articles": [{**ARTICLE, "url": text}]}, link, 2048, "articles[1].url"),
    ("mpnews", lambda text: {"articles": [{**MPARTICLE, "title": text}]}, of_bytes, 128, "articles[1].title"),
    ("mpnews", lambda text: {"articles": [{**MPARTICLE, "author": text}]}, of_bytes, 64, "articles[1].author"),
    (
        "mpnews",
        lambda text: {"articles": [{**MPARTICLE, "content": text}]},
        of_bytes,
        666 * 1024,
        "articles[1].content",
    ),
    ("mpnews", lambda text: {"articles": [{**MPARTICLE, "digest": text}]}, of_bytes, 512, "articles[1].digest"),
    ("miniprogram_notice", lambda text: {**NOTICE, "title": text}, letters, 12, "title"),
    ("miniprogram_notice", lambda text: {**NOTICE, "description": text}, letters, 12, "description"),
    (
        "miniprogram_notice",
        lambda text: {**NOTICE, "content_item": [{**NOTICE_ITEM, "key": text}]},
        letters,
        10,
        "content_item[1].key",
    ),
    (
        "miniprogram_notice",
        lambda text: {**NOTICE, "content_item": [{**NOTICE_ITEM, "value": text}]},
        letters,
        30,
        "content_item[1].value",
    ),
]


@pytest.mark.parametrize(("kind", "make", "of", "most", "place"), BORDERS)
def test_a_limit_holds_at_its_border(kind, make, of, most, place):
    assert render(Content(kind=kind, data=make(of(most))), False)[0].body[kind] == make(of(most))
    assert refusal(Content(kind=kind, data=make(of(most + 1))))[0] == place


@pytest.mark.parametrize(
    ("kind", "make", "place"),
    [
        ("textcard", lambda url: {**TEXTCARD, "url": url}, "url"),
        ("news", lambda url: {"articles": [{**ARTICLE, "url": url}]}, "articles[1].url"),
        ("news", lambda url: {"articles": [{**ARTICLE, "picurl": url}]}, "articles[1].picurl"),
        (
            "mpnews",
            lambda url: {"articles": [{**MPARTICLE, "content_source_url": url}]},
            "articles[1].content_source_url",
        ),
    ],
)
def test_an_address_has_its_scheme(kind, make, place):
    for url in ("http://a.cn", "https://a.cn"):
        assert render(Content(kind=kind, data=make(url)), False)
    for url in ("a.cn", "ftp://a.cn", "javascript:1"):
        assert refusal(Content(kind=kind, data=make(url)))[0] == place


@pytest.mark.parametrize(
    ("kind", "data", "most"),
    [
        ("text", {}, 1),
        ("image", {"media_id": "m"}, 1),
        ("video", {"media_id": "m"}, 1),
        ("file", {"media_id": "m"}, 1),
        ("mpnews", {"articles": [MPARTICLE]}, 2),
        ("voice", {"media_id": "m"}, 0),
        ("markdown", {"content": "x"}, 0),
        ("textcard", TEXTCARD, 0),
        ("news", {"articles": [ARTICLE]}, 0),
        ("miniprogram_notice", NOTICE, 0),
        ("template_card", CARD, 0),
    ],
)
def test_how_confidential_a_message_can_be_depends_on_its_type(kind, data, most):
    for safe in range(1, most + 1):
        (payload,) = render(Content("x", kind=kind, data={**data, "safe": safe}), False)
        assert payload.body == {"msgtype": kind, kind: data or {"content": "x"}, "safe": safe}
    for safe in (most + 1, -1):
        assert refusal(Content("x", kind=kind, data={**data, "safe": safe}))[0] == "safe"


@pytest.mark.parametrize("kind", ["image", "voice", "video", "file"])
def test_an_earlier_upload_can_be_named(kind):
    for files in ((), (IMAGE,)):
        assert render(Content(kind=kind, data={"media_id": "m"}, files=files), False) == [
            Payload({"msgtype": kind, kind: {"media_id": "m"}})
        ]


def test_a_video_has_words():
    video = file("video", "a.mp4", "video/mp4")
    content = Content(kind="video", files=(video,), data={"title": "t", "description": "d"})
    assert render(content, False) == [media("video", title="t", description="d")]


def test_a_message_can_be_confidential():
    assert render(Content("x", data={"safe": 1}), False)[0].body == {
        "msgtype": "text",
        "text": {"content": "x"},
        "safe": 1,
    }
    assert render(Content(kind="mpnews", data={"articles": [MPARTICLE], "safe": 2}), False)[0].body["safe"] == 2
    assert "safe" not in render(Content("x", data={"safe": 0}), False)[0].body


def test_what_text_cannot_hold_is_replaced():
    assert render(Content("a\0b\ud83d"), False) == text("a\ufffdb\ufffd")
