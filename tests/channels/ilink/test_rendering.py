"""What a bot says: content in, items out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import HANDLE, Content, File, Payload
from channels_wechat.ilink.rendering import MB, build_item
from tests.channels.ilink.account import channel

PNG = File("image", "a.png", "image/png", 1000, "1")


def render(text: str = "", *files: File, **content: Any) -> list[Payload]:
    return channel().render(Content(text=text, files=files, **content))


def text(payload: Payload) -> str:
    assert payload.body["type"] == 1
    return str(payload.body["text_item"]["text"])


def test_markdown_becomes_readable_text_and_files_follow() -> None:
    first, second = render("**Hello**", PNG)
    assert text(first) == "Hello"
    assert second == Payload({"type": 2, "image_item": {"media": HANDLE}}, file="1")


@pytest.mark.parametrize(("letter", "parts"), [("a", 1), ("一", 1), ("😀", 2)])
def test_a_text_of_4000_characters_is_one_message(letter: str, parts: int) -> None:
    """An emoji is two, as the platform's own program counts."""
    found = [text(payload) for payload in render(letter * 4000)]
    assert ([len(part.encode("utf-16-le")) // 2 for part in found], "".join(found)) == (
        [4000] * parts,
        letter * 4000,
    )
    assert len(render(letter * 4001)) == parts + 1


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (File("image", "a.jpg", "image/jpeg", 10, "2"), "image"),
        (File("image", "a.heic", "image/heic", 10, "2"), "file"),
        (File("video", "a.mp4", "video/mp4", 10, "2"), "video"),
        (File("video", "a.avi", "video/x-msvideo", 10, "2"), "file"),
        (File("voice", "a.amr", "audio/amr", 10, "2"), "file"),
        (File("file", "a.pdf", "application/pdf", 100 * MB, "2"), "file"),
    ],
)
def test_a_file_goes_as_what_wechat_shows(file: File, kind: str) -> None:
    (payload,) = render("", file)
    number = {"image": 2, "file": 4, "video": 5}[kind]
    named = {"file_name": file.name} if kind == "file" else {}
    assert payload == Payload({"type": number, f"{kind}_item": {"media": HANDLE, **named}}, file="2")


def test_what_cannot_go_is_named_in_the_text() -> None:
    (payload,) = render("See:", File("file", "big.zip", "application/zip", 100 * MB + 1, "2"))
    assert text(payload).startswith("See:\n\n[big.zip, 101 MB: too large")


@pytest.mark.parametrize(
    ("content", "field", "code"),
    [
        ({"text": "  "}, "text", "message_empty"),
        ({"files": (File("file", "none.txt", "text/plain", 0, "2"),)}, "files", "file_empty"),
        ({"kind": "file", "files": (File("file", "n", "text/plain", 0, "2"),)}, "files", "file_empty"),
        ({"kind": "news", "data": {}}, "kind", ""),
        ({"kind": "image"}, "files", ""),
        ({"kind": "image", "files": (File("file", "a.pdf", "application/pdf", 9, "2"),)}, "files", ""),
    ],
)
def test_what_can_never_be_sent_is_refused(content: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(ContentRefused) as refused:
        render(**{"text": "", **content}) if "files" not in content else channel().render(Content(**content))
    assert (refused.value.field, refused.value.cause.code) == (field, code)


@pytest.mark.parametrize(
    ("kind", "sizes"), [("image", {"mid_size": 48}), ("video", {"video_size": 48}), ("file", {"len": "33"})]
)
def test_an_uploaded_file_is_named_by_its_key_and_sizes(kind: str, sizes: dict[str, Any]) -> None:
    number = {"image": 2, "file": 4, "video": 5}[kind]
    payload = Payload({"type": number, f"{kind}_item": {"media": HANDLE}}, file="1")
    handle = json.dumps({"param": "P", "key": "00" * 16, "size": 48, "length": 33})
    media = {"encrypt_query_param": "P", "aes_key": "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=", "encrypt_type": 1}
    assert build_item(payload, handle) == {"type": number, f"{kind}_item": {"media": media, **sizes}}


def test_texts_are_merged_while_they_fit() -> None:
    (one,), (two,), (image,) = render("one"), render("two"), render("", PNG)
    both = channel().merge(one, two, apart=True)
    assert both is not None
    assert text(both) == "one\n\ntwo"
    assert channel().merge(*render("一" * 3990 + " 二" * 10), apart=False) is None
    assert channel().merge(one, image, apart=False) is None
    (long,) = render("一" * 3996)
    assert channel().merge(long, one, apart=False) is not None
    assert channel().merge(long, one, apart=True) is None
