"""A file's kind and type: by its first bytes, then by its name, then by what was declared; in both directions."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile

from accounts.models import Restriction
from bridge.media import storage
from bridge.pipeline.agent import turn
from channels_wechat.contract.filetypes import SUFFIXES, kind_of, recognise, with_suffix
from channels_wechat.contract.messages import Content, MediaItem
from channels_wechat.wecom.files import media_type
from channels_wechat.weixin.rendering import suffix_of
from openclaw.stub.answers import make_picture as png
from tests.channels.harness import Reply, recorder, says
from tests.support.factories import app, hear, official, send

if TYPE_CHECKING:
    from bridge.models import Attachment


def archive(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in names:
            file.writestr(name, "<x/>")
    return made.getvalue()


def office(folder: str, main: str) -> bytes:
    return archive("[Content_Types].xml", "_rels/.rels", f"{folder}/{main}.xml")


OFFICE = "application/vnd.openxmlformats-officedocument."
BYTES: dict[str, tuple[bytes, str, str]] = {
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\0" * 40, "image", "image/jpeg"),
    "png": (png(1), "image", "image/png"),
    "gif": (b"GIF89a" + b"\0" * 40, "image", "image/gif"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 " + b"\0" * 40, "image", "image/webp"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 20, "image", "image/heic"),
    "mp4": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 20, "video", "video/mp4"),
    "mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video", "video/quicktime"),
    "amr": (b"#!AMR\n" + b"\x3c" * 40, "voice", "audio/amr"),
    "amr-wb": (b"#!AMR-WB\n" + b"\x3c" * 40, "voice", "audio/amr-wb"),
    "silk": (b"\x02#!SILK_V3" + b"\0" * 40, "voice", "audio/silk"),
    "silk of others": (b"#!SILK_V3" + b"\0" * 40, "voice", "audio/silk"),
    "mp3": (b"ID3\x03\0\0\0\0\0\x21" + b"\0" * 40, "voice", "audio/mpeg"),
    "mp3 without tags": (b"\xff\xfb\x90\x64" + b"\0" * 40, "voice", "audio/mpeg"),
    "avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "image", "image/avif"),
    "webm": (
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm",
        "video",
        "video/webm",
    ),
    "avi": (b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 40, "video", "video/x-msvideo"),
    "m4a": (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom", "voice", "audio/mp4"),
    "ogg": (b"OggS\0\2" + b"\0" * 20 + b"OpusHead", "voice", "audio/ogg"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 40, "voice", "audio/x-wav"),
    "aac": (b"\xff\xf1\x50\x80" + b"\0" * 40, "voice", "audio/aac"),
    "flac": (b"fLaC\0\0\0\x22" + b"\0" * 40, "voice", "audio/x-flac"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "file", "application/pdf"),
    "docx": (office("word", "document"), "file", OFFICE + "wordprocessingml.document"),
    "xlsx": (office("xl", "workbook"), "file", OFFICE + "spreadsheetml.sheet"),
    "pptx": (office("ppt", "presentation"), "file", OFFICE + "presentationml.presentation"),
    "zip": (archive("a.txt"), "file", "application/zip"),
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize(("called", "declared"), [("", ""), ("x.txt", "text/plain"), ("x", "application/octet-stream")])
def test_the_first_bytes_decide(name: str, called: str, declared: str) -> None:
    content, kind, mime = BYTES[name]
    assert recognise(content, called, declared) == (kind, mime)


@pytest.mark.parametrize(
    ("content", "name", "declared", "found"),
    [
        (b"hello", "a.amr", "application/octet-stream", ("voice", "audio/amr")),
        (b"hello", "A.PNG", "", ("image", "image/png")),
        (b"hello", "a.txt", "image/png", ("file", "text/plain")),
        (b"hello", "a.nosuch", "IMAGE/PNG; a=b", ("image", "image/png")),
        (b"hello", "", "audio/amr", ("voice", "audio/amr")),
        (b"hello", "", "", ("file", "application/octet-stream")),
        (b"", "", "application/octet-stream", ("file", "application/octet-stream")),
        (b"BM is how this text begins", "note.txt", "", ("file", "text/plain")),
        (b"ID3, a column\n1, 2", "a.csv", "", ("file", "text/csv")),
        (b"MZ", "a.txt", "text/plain", ("file", "text/plain")),
        (archive("x"), "a.apk", "", ("file", "application/vnd.android.package-archive")),
        (archive("x"), "a.png", "image/png", ("file", "application/zip")),
        (BYTES["ogg"][0], "a.flac", "", ("voice", "audio/x-flac")),
        (BYTES["ogg"][0], "a.ogg", "", ("voice", "audio/ogg")),
        (BYTES["mp4"][0], "a.3gp", "", ("video", "video/3gpp")),
        (BYTES["ogg"][0], "a.mp4", "", ("voice", "audio/ogg")),
        (BYTES["mp4"][0], "a.m4a", "", ("voice", "audio/mp4")),
        (BYTES["mp4"][0], "a.m4v", "", ("video", "video/x-m4v")),
        (BYTES["mp4"][0], "a.mp3", "", ("video", "video/mp4")),
        (BYTES["mp3"][0], "a.txt", "", ("voice", "audio/mpeg")),
        (b"ID3" + b"x" * 40 + b"\0", "a.csv", "", ("file", "text/csv")),
        (b"hello", "a.jpeg", "", ("image", "image/jpeg")),
        *((b"hello", f"a{suffix}", "", (kind_of(mime), mime)) for mime, suffix in SUFFIXES.items()),
    ],
)
def test_then_the_name_then_what_was_declared(content: bytes, name: str, declared: str, found: tuple[str, str]) -> None:
    assert recognise(content, name, declared) == found


def test_a_name_gets_the_suffix_that_it_lacks() -> None:
    names = [with_suffix(name, "audio/amr") for name in ("voice", "a.wav", "", "令.牌")]
    assert names == ["voice.amr", "a.wav", "", "令.牌"]
    assert with_suffix("x", "application/octet-stream") == "x"


@pytest.mark.parametrize(
    ("name", "wecom", "weixin"),
    [("jpeg", "image", "jpg"), ("gif", "file", "gif"), ("heic", "file", ""), ("webp", "file", ""), ("amr", "voice", "amr"),
     ("silk", "file", ""), ("mp3", "file", "mp3"), ("mp4", "video", "mp4"), ("mov", "file", "")],
)  # fmt: skip
def test_what_a_platform_takes_follows_from_the_type(name: str, wecom: str, weixin: str) -> None:
    """Silk under the name of AMR goes as a plain file: as a voice it would be refused with 40005."""
    kind, mime = recognise(BYTES[name][0], "sound.amr", "application/octet-stream")
    assert (media_type(kind, "sound.amr", mime, 100), suffix_of(kind, "sound.amr", mime)) == (wecom, weixin)


def declared(content: bytes, name: str, mime: str) -> ContentFile[bytes]:
    file = ContentFile(content, name=name)
    file.content_type = mime  # type: ignore[attr-defined]
    return file


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
@pytest.mark.parametrize(
    ("name", "msgtype"), [("png", "image"), ("amr", "voice"), ("mp4", "video"), ("silk", "file"), ("pdf", "file")]
)
@pytest.mark.parametrize("mime", ["", "application/octet-stream", "text/plain"])
def test_a_file_of_staff_goes_as_what_it_is(name: str, msgtype: str, mime: str) -> None:
    message = send(app(), content=Content(text=""), files=[declared(BYTES[name][0], "upload", mime)])
    assert [row.payload["body"]["msgtype"] for row in message.deliveries.all()] == [msgtype]
    assert message.attachments.get().mime == BYTES[name][2]


@pytest.mark.parametrize("mime", ["", "application/octet-stream"])
def test_a_file_of_an_agent_is_named_by_its_bytes(mime: str) -> None:
    found: Any = turn.name_file(png(1), "", mime)
    assert (found.name, found.content_type) == ("file.png", "image/png")


# --- files that lie in two places


def fetch(account: Any, item: MediaItem) -> Attachment:
    row = hear(account, media=(item,)).attachments.get()
    for claimed in storage.claim_files(10):
        storage.fetch_file(claimed)
    row.refresh_from_db()
    return row


FAN_PICTURE = MediaItem("image", "MEDIA")


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_a_picture_that_the_platform_does_not_grant_is_fetched_by_its_address() -> None:
    from dataclasses import replace

    with recorder() as platform:
        account = official(platform.url)
        item = replace(FAN_PICTURE, fallback=f"{platform.url}/pic/1")
        platform.will(says(access_token="t", expires_in=7200), says(48001, "api unauthorized"))
        platform.will(Reply(png(1), headers=(("Content-Type", "application/octet-stream"),)))
        row = fetch(account, item)
        assert (row.state, row.mime, row.name, row.fallback) == ("ready", "image/png", "image.png", "")
        assert Restriction.objects.get().capability == "media"
        from accounts import capabilities

        capabilities._known.clear()
        platform.will(Reply(png(1)))
        assert fetch(account, item).state == "ready"
        asked = [request.path for request in platform.requests]
        assert asked == ["/cgi-bin/stable_token", "/cgi-bin/media/get", "/pic/1", "/pic/1"]
        capabilities._known.clear()


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_the_address_is_fetched_by_the_guarded_client_only() -> None:
    """And where both fail, the first failure is told: it is what staff can mend."""
    with recorder() as platform:
        account = official(platform.url)
        platform.will(
            says(access_token="t", expires_in=7200), says(40007, "invalid media_id"), says(40007, "invalid media_id")
        )
        row = fetch(account, MediaItem("image", "MEDIA", fallback="http://169.254.169.254/latest"))
        assert (row.state, "169.254" in row.error) == ("pending", False)
        assert {request.path for request in platform.requests} <= {"/cgi-bin/stable_token", "/cgi-bin/media/get"}


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_the_page_that_says_that_a_picture_is_gone_is_no_picture() -> None:
    with recorder() as platform:
        platform.will(Reply(b"<html>Gone</html>", status=404, headers=(("Content-Type", "text/html"),)))
        row = fetch(app(platform.url), MediaItem("image", f"{platform.url}/p"))
        assert (row.state, bool(row.file), "404" in row.error) == ("pending", False, True)


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey")
def test_a_voice_may_have_two_ids_and_a_picture_an_address_alone() -> None:
    with recorder() as platform:
        account = app(platform.url)
        platform.will(says(access_token="t", expires_in=7200), says(40007, "invalid media_id"))
        platform.will(Reply(BYTES["amr"][0], headers=(("Content-Type", "application/octet-stream"),)))
        row = fetch(account, MediaItem("voice", "A", fallback="B"))
        assert (row.state, row.mime) == ("ready", "audio/amr")
        platform.will(Reply(png(1)))
        assert fetch(account, MediaItem("image", f"{platform.url}/p")).name == "image.png"
