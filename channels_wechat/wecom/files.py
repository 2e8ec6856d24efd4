"""Files in messages: which WeCom takes, as what, and how a message names one. The same for an app, customer service and an AI bot's
connection (pages 90253, 94677 and 101463). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.field_limits import Part, check
from channels_wechat.contract.messages import HANDLE, Payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.errors import Explanations
    from channels_wechat.contract.messages import Content, File, MediaKind

MB = 1024 * 1024
# Page 90253. Every file must also have at least 5 bytes.
MOST = {"image": 10 * MB, "voice": 2 * MB, "video": 10 * MB, "file": 20 * MB}
LEAST = 5
SUFFIXES = {"image": (".jpg", ".jpeg", ".png"), "voice": (".amr",), "video": (".mp4",)}
FORMATS = {"image": "JPG/PNG, 10 MB", "voice": "AMR, 2 MB, 60 s", "video": "MP4, 10 MB"}
VIDEO = (Part("title", 128), Part("description", 512))
MIMES = {"image": ("image/jpeg", "image/png"), "voice": ("audio/amr",), "video": ("video/mp4",)}


def media_type(kind: MediaKind, name: str, mime: str, size: int) -> MediaKind:
    """The type that WeCom takes this file as: its own kind when format and size are right, else a plain file.

    Used by `render` for the message and by `upload` for the file, so that the two agree.
    """
    if kind == "file" or size > MOST[kind]:
        return "file"
    fits = name.lower().endswith(SUFFIXES[kind]) if mime in ("", "application/octet-stream") else mime in MIMES[kind]
    return kind if fits else "file"


def refusal_of(file: File) -> Cause | None:
    """Why this file cannot be sent at all: the code of a row, and of the sentence that people read; None when it can."""
    if file.size < LEAST:
        return Cause("file_empty")
    if file.size > MOST["file"]:
        return Cause("file_over_limit", {"size": f"{-(-file.size // MB)} MB", "most": f"{MOST['file'] // MB} MB"})
    return None


def build_file(file: File, words: Mapping[str, Any] | None = None) -> Payload:
    """Return the message that names this file. words: what stands beside a video."""
    kind = media_type(file.kind, file.name, file.mime, file.size)
    return Payload({"msgtype": kind, kind: {"media_id": HANDLE, **(words or {})}}, file=file.ref)


def build_single_file(content: Content, explanations: Explanations, *, takes_words: bool) -> Payload:
    """Return an image, voice, video or file by itself: one file, or the media id of an earlier upload in `data`. Raises ContentRefused.

    takes_words: whether a video may have a title and a description.
    """
    kind, data = content.kind, content.data
    names = [part.name for part in VIDEO] if takes_words and kind == "video" else []
    words = {name: data[name] for name in names if data.get(name)}
    check(words, VIDEO)
    if data.get("media_id"):
        return Payload({"msgtype": kind, kind: {"media_id": str(data["media_id"]), **words}})
    file = take_only_file(content)
    if refusal := refusal_of(file):
        raise explanations.refused("files", refusal)
    if kind != "file" and media_type(file.kind, file.name, file.mime, file.size) != kind:
        text = _("WeCom does not take this file as this type (%s). Send it as a plain file.")
        raise ContentRefused("files", text % FORMATS[kind])
    return build_file(file, words)


def take_only_file(content: Content) -> File:
    """Raises ContentRefused where there is not exactly one."""
    if len(content.files) != 1:
        raise ContentRefused("files", _("A message of this type holds exactly one file."))
    return content.files[0]
