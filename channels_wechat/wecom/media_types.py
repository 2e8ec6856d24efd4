"""Which files WeCom takes, and as what: the same for an app's messages and for an AI bot's connection (pages 90253 and 101463)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from channels_wechat.contract.explanations import Cause

if TYPE_CHECKING:
    from channels_wechat.contract.messages import File, MediaKind

MB = 1024 * 1024
# Page 90253. Every file must also have at least 5 bytes.
MOST = {"image": 10 * MB, "voice": 2 * MB, "video": 10 * MB, "file": 20 * MB}
LEAST = 5
SUFFIXES = {"image": (".jpg", ".jpeg", ".png"), "voice": (".amr",), "video": (".mp4",)}
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
