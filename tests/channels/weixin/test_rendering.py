"""What Official Accounts and Mini Programs say: text made plain and split, files that fit and that do not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from django.utils.translation import override
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import explain
from channels_wechat.contract.messages import HANDLE, Content, File, Payload
from channels_wechat.contract.sentences import ENGLISH, Sentences
from channels_wechat.weixin.rendering import MB, TEXT_BYTES, merged, suffix_of, with_handle
from tests.channels.weixin.accounts import official_account
from tests.channels.weixin.contents import CARD, MINI_PROGRAM, OFFICIAL_ACCOUNT, PNG, refusal, without

if TYPE_CHECKING:
    from channels_wechat.contract.channel import Channel

LINK = '<a href="https://example.com/a?b=_c_&d=1">看<b>这里</b></a>'
PLAIN_LINK = '<a href="https://example.com/_a_">这里</a>'
PROGRAM = '<a data-miniprogram-appid="wx1" data-miniprogram-path="pages/_x_/y">商城</a>'
GIF = File("image", "a.gif", "image/gif", 100, "8")
AMR = File("voice", "a.amr", "audio/amr", 100, "9")


MP4 = File("video", "a.mp4", "video/mp4", 100, "10")


PDF = File("file", "合同.pdf", "application/pdf", 100, "11")


def texts(content: Content, kind: Channel = OFFICIAL_ACCOUNT) -> list[str]:
    return [payload.body["text"]["content"] for payload in kind.render(content) if payload.body["msgtype"] == "text"]


# -- text


@pytest.mark.parametrize("kind", [OFFICIAL_ACCOUNT, MINI_PROGRAM])
def test_markdown_is_made_plain(kind):
    (payload,) = kind.render(Content("# 标题\n**重要** [官网](https://example.com)\n- `x`"))
    assert payload.as_json() == {
        "body": {"msgtype": "text", "text": {"content": "标题\n重要 官网 (https://example.com)\n- x"}},
        "file": "",
        "images": [],
    }


@pytest.mark.parametrize("kind", [OFFICIAL_ACCOUNT, MINI_PROGRAM])
def test_an_ais_words_are_labelled_in_every_part(kind):
    payloads = kind.render(Content("字" * 1500, files=(PNG,), ai=True))
    assert [payload.body.get("aimsgcontext") for payload in payloads] == [{"is_ai_msg": 1}] * 3 + [None]
    assert not any("aimsgcontext" in payload.body for payload in kind.render(Content("字" * 1500)))


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="字👨‍👩‍👧é a.。\n<", min_size=1, max_size=3000).filter(str.strip), ai=st.booleans())
def test_no_part_is_longer_than_2000_bytes_and_no_word_is_lost(text, ai):
    parts = texts(Content(text, ai=ai))
    assert all(0 < len(part.encode()) <= 2000 for part in parts)
    assert "".join("".join(parts).replace("\u200b", "").split()) == "".join(text.split())


def test_a_blank_text_says_nothing():
    assert refusal(OFFICIAL_ACCOUNT, Content(" \n"))[0] == "text"


@pytest.mark.parametrize("link", [PLAIN_LINK, PROGRAM])
def test_links_of_staff_are_kept_whole(link):
    assert texts(Content(f"**看** {link} *了*\n{link}")) == [f"看 {link} 了\n{link}"]


def test_links_in_a_long_text_become_words():
    parts = texts(Content(f"{PLAIN_LINK}{PROGRAM}" + "字" * 700))
    assert parts[0].startswith("这里 (https://example.com/_a_)商城字")
    assert len(parts) == 2
    assert "<a" not in "".join(parts)


@pytest.mark.parametrize("text", [PLAIN_LINK, PROGRAM, "<A HREF='x'>y</A>", "<a>", "<a\nhref='x'", "</a>"])
def test_an_ai_makes_no_links(text):
    (part,) = texts(Content(text, ai=True))
    assert "<a" not in part.lower()
    assert "</a" not in part.lower()
    assert part.replace("\u200b", "") == text.replace("_x_", "x")


@pytest.mark.parametrize("text", ["<a href='x' and no end", LINK])
def test_what_is_no_whole_link_is_disarmed_for_staff_too(text):
    assert "<a" not in texts(Content(text))[0]


@pytest.mark.parametrize("text", ["<article>", "a<b", "<abbr>", "1 <a"])
def test_other_words_stay(text):
    assert texts(Content(text, ai=True)) == [text]


# -- files


def test_files_follow_the_text():
    payloads = OFFICIAL_ACCOUNT.render(Content("看", files=(PNG, AMR, MP4)))
    assert [(payload.body["msgtype"], payload.file) for payload in payloads] == [
        ("text", ""), ("image", "7"), ("voice", "9"), ("video", "10"),
    ]  # fmt: skip
    assert payloads[1].body == {"msgtype": "image", "image": {"media_id": HANDLE}}


def test_files_that_cannot_go_are_lines_of_the_text():
    """They cost no message of their own: the user's window allows five."""
    payloads = OFFICIAL_ACCOUNT.render(
        Content("看", files=(PDF, PNG, File("image", "big.png", "image/png", 11 * MB, "1")))
    )
    assert [payload.body["msgtype"] for payload in payloads] == ["text", "image"]
    (text,) = texts(Content("看", files=(PDF, PNG, File("image", "big.png", "image/png", 11 * MB, "1"))))
    assert text == ("看\n\n[合同.pdf：此会话无法发送这类文件]\n\n[big.png，11 MB：文件过大，无法发送，最大 10 MB]")


def test_a_file_that_cannot_go_makes_no_link_of_its_name():
    named = File("file", "<a href='https://evil.example'>报价.pdf</a>", "application/pdf", 9, "1")
    assert texts(Content("看", files=(named,))) == [
        "看\n\n[<\u200ba href='https://evil.example'>报价.pdf<\u200b/a>：此会话无法发送这类文件]"
    ]


@pytest.mark.parametrize(
    ("kind", "file", "code", "words", "line"),
    [
        (OFFICIAL_ACCOUNT, PDF, "file_kind", "no files of this kind", "[合同.pdf：此会话无法发送这类文件]"),
        (MINI_PROGRAM, MP4, "file_kind", "no files of this kind", "[a.mp4：此会话无法发送这类文件]"),
        (MINI_PROGRAM, AMR, "file_kind", "no files of this kind", "[a.amr：此会话无法发送这类文件]"),
        (
            OFFICIAL_ACCOUNT,
            File("image", "a.webp", "image/webp", 9, "1"),
            "file_format",
            ": JPG, JPEG, PNG, GIF.",
            "[a.webp：无法发送，仅支持 JPG, JPEG, PNG, GIF 格式]",
        ),
        (OFFICIAL_ACCOUNT, File("voice", "a.wav", "audio/wav", 9, "1"), "file_format", ": AMR, MP3.", " AMR, MP3 "),
        (OFFICIAL_ACCOUNT, File("video", "a.mov", "", 9, "1"), "file_format", ": MP4.", " MP4 "),
        (
            OFFICIAL_ACCOUNT,
            File("voice", "a.mp3", "audio/mpeg", 2 * MB + 1, "1"),
            "file_over_limit",
            "3 MB, WeChat takes 2 MB",
            "[a.mp3，3 MB：文件过大，无法发送，最大 2 MB]",
        ),
        (
            OFFICIAL_ACCOUNT,
            File("image", "a.png", "image/png", 0, "1"),
            "file_empty",
            "The file is empty.",
            "[a.png：文件为空或过小，无法发送]",
        ),
    ],
)
def test_a_file_alone_that_cannot_go_is_refused(kind, file, code, words, line):
    """Staff read why from a table; people read a line of the text, in the account's language."""
    with pytest.raises(ContentRefused) as caught:
        kind.render(Content(files=(file,)))
    refused = caught.value
    assert (refused.field, refused.cause.code, words in str(refused)) == ("files", code, True)
    assert explain(kind.explanations, *refused.cause) == str(refused)
    with override("en"):
        assert line in texts(Content("看", files=(file,)), kind)[0]


def test_an_english_account_names_a_file_that_cannot_go_in_english():
    english = official_account(sentences=Sentences(ENGLISH, {"file_empty": "{name}?"}))
    files = (PDF, File("image", "big.png", "image/png", 11 * MB, "1"), File("image", "a.png", "image/png", 0, "1"))
    assert texts(Content("see", files=files), english)[0].split("\n\n")[1:] == [
        "[合同.pdf: files of this kind cannot be sent in this chat]",
        "[big.png, 11 MB: too large to be sent, at most 10 MB]",
        "a.png?",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "mime", "suffix"),
    [
        ("image", "图.JPG", "", "jpg"),
        ("image", "x.exe", "image/jpeg", "jpg"),
        ("image", "x.png", "application/octet-stream", "png"),
        ("image", "x.png", "text/html", ""),
        ("image", "x.mp4", "video/mp4", ""),
        ("image", "x.jpeg", "", "jpeg"),
        ("image", "x.gif", "", "gif"),
        ("image", "x.webp", "", ""),
        ("image", "x", "image/png", "png"),
        ("image", "x", "image/gif", "gif"),
        ("voice", "x.mp3", "", "mp3"),
        ("voice", "x.amr", "application/octet-stream", "amr"),
        ("voice", "x", "audio/amr", "amr"),
        ("voice", "x", "audio/mp3", "mp3"),
        ("video", "x", "video/mp4", "mp4"),
        ("video", "x.MP4", "", "mp4"),
        ("voice", "x", "audio/mpeg", "mp3"),
        ("voice", "x", "", ""),
        ("file", "x.pdf", "application/pdf", ""),
    ],
)
def test_the_format_goes_by_type_then_name(kind, name, mime, suffix):
    assert suffix_of(kind, name, mime) == suffix


@pytest.mark.parametrize(
    ("kind", "mime", "most"),
    [("image", "image/png", 10 * MB), ("voice", "audio/amr", 2 * MB), ("video", "video/mp4", 10 * MB)],
)
def test_a_file_may_be_as_large_as_wechat_takes(kind, mime, most):
    assert OFFICIAL_ACCOUNT.render(Content(files=(File(kind, "a", mime, most, "7"),)))[0].file == "7"
    assert "too large" in refusal(OFFICIAL_ACCOUNT, Content(files=(File(kind, "a", mime, most + 1, "7"),)))[1]


def test_a_line_about_a_file_stands_alone_where_nothing_else_is_said():
    payloads = OFFICIAL_ACCOUNT.render(Content(files=(PDF, PNG)))
    assert payloads[0].body["text"]["content"] == "[合同.pdf：此会话无法发送这类文件]"
    assert payloads[1].file == "7"


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ('<a href="https://a.cn/x">看</a>', "看 (https://a.cn/x)"),
        ("<A HREF='https://a.cn/x'>看</A>", "看 (https://a.cn/x)"),
        ("<a class=b href = http://a.cn/x>看</a>", "看 (http://a.cn/x)"),
        ('<a href="javascript:1">看</a>', "看"),
    ],
)
def test_a_link_in_words_tells_where_it_leads(link, words):
    assert texts(Content(link + "字" * 700))[0].startswith(words + "字")


@pytest.mark.parametrize(
    ("kind", "content", "body", "file"),
    [
        ("image", Content(kind="image", files=(GIF,)), {"media_id": HANDLE}, "8"),
        ("image", Content(kind="image", data={"media_id": "m1"}), {"media_id": "m1"}, ""),
        ("voice", Content(kind="voice", files=(AMR,)), {"media_id": HANDLE}, "9"),
        (
            "video",
            Content(
                kind="video",
                files=(MP4,),
                data={"title": "t", "description": "d", "thumb_media_id": "th", "x": "y"},
            ),
            {"media_id": HANDLE, "title": "t", "description": "d", "thumb_media_id": "th"},
            "10",
        ),
    ],
)
def test_a_file_by_itself(kind, content, body, file):
    (payload,) = OFFICIAL_ACCOUNT.render(content)
    assert (payload.body, payload.file) == ({"msgtype": kind, kind: body}, file)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Content(kind="image"), "files"),
        (Content(kind="image", files=(PNG, GIF)), "files"),
        (Content(kind="image", files=(MP4,)), "files"),
        (Content(kind="voice", files=(File("voice", "a.wav", "audio/wav", 9, "1"),)), "files"),
        (Content(kind="video", files=(MP4,), data={"title": 7}), "title"),
        (Content(kind="file", files=(PDF,)), "kind"),
        (Content(kind="template_card"), "kind"),
        (Content(kind="link", data={"title": "t", "url": "https://a.cn"}), "kind"),
        (Content(kind="subscribe"), "kind"),
    ],
)
def test_what_cannot_be_said_is_refused_at_its_part(content, field):
    assert refusal(OFFICIAL_ACCOUNT, content)[0] == field


def test_a_mini_program_has_its_own_types():
    for kind in ("voice", "video", "news", "music", "msgmenu", "mpnewsarticle", "wxcard"):
        assert refusal(MINI_PROGRAM, Content(kind=kind))[0] == "kind"


@pytest.mark.parametrize("kind", ["image", "voice", "video"])
def test_an_earlier_upload_goes_before_a_file(kind):
    (payload,) = OFFICIAL_ACCOUNT.render(Content(kind=kind, data={"media_id": "m"}, files=(PNG,)))
    assert payload == Payload({"msgtype": kind, kind: {"media_id": "m"}})


def test_a_card_takes_its_picture_as_a_file():
    (payload,) = MINI_PROGRAM.render(
        Content(kind="miniprogrampage", data=without(CARD, "thumb_media_id"), files=(PNG,))
    )
    assert payload == Payload(
        {"msgtype": "miniprogrampage", "miniprogrampage": {**CARD, "thumb_media_id": HANDLE}}, file="7"
    )
    assert with_handle(payload, "m1")["miniprogrampage"] == {**CARD, "thumb_media_id": "m1"}
    for files in ((PNG, GIF), (PDF,), (AMR,)):
        assert refusal(MINI_PROGRAM, Content(kind="miniprogrampage", data=CARD, files=files))[0] == "files"


def test_a_text_that_reads_like_the_placeholder_stays():
    (payload,) = OFFICIAL_ACCOUNT.render(Content(HANDLE))
    assert with_handle(payload, "m1") == {"msgtype": "text", "text": {"content": HANDLE}}


# -- texts that become one


def text(words: str, **more: Any) -> Payload:
    return Payload({"msgtype": "text", "text": {"content": words}, **more})


@pytest.mark.parametrize("labelled", [(True, False), (False, True), (True, True), (False, False)])
def test_two_texts_become_one_and_keep_the_label_of_either(labelled: tuple[bool, bool]) -> None:
    first, second = (
        OFFICIAL_ACCOUNT.render(Content(words, ai=ai))[0] for words, ai in zip("ab", labelled, strict=True)
    )
    label = {"aimsgcontext": {"is_ai_msg": 1}} if any(labelled) else {}
    assert merged(first, second, "\n\n") == text("a\n\nb", **label)
    assert (first.body["text"], second.body["text"]) == ({"content": "a"}, {"content": "b"})


def test_as_much_as_one_message_holds_in_bytes() -> None:
    first, second = text("字" * 333), text("字" * 333)
    assert merged(first, second, "\n\n") == text("字" * 333 + "\n\n" + "字" * 333)
    assert merged(first, text("字" * 333 + "ab"), "") == text("字" * 666 + "ab")
    assert TEXT_BYTES == 2000
    assert merged(first, text("字" * 333 + "ab"), "\n\n") is None


def test_only_texts_become_one() -> None:
    (file,) = OFFICIAL_ACCOUNT.render(Content(files=(PNG,)))
    assert (merged(text("a"), file, ""), merged(file, text("a"), ""), merged(file, file, "")) == (None, None, None)


@settings(deadline=None)
@given(st.text(alphabet="字a \n。b", max_size=4000))
def test_the_parts_of_a_text_join_to_what_they_were_cut_from(words: str) -> None:
    parts = OFFICIAL_ACCOUNT.render(Content(words + "."))
    for first, second in pairwise(parts):
        joined = merged(first, second, "")
        whole = first.body["text"]["content"] + second.body["text"]["content"]
        assert joined == (text(whole) if len(whole.encode()) <= TEXT_BYTES else None)
