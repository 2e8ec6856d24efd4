"""Recognises the type of a file, for both directions: by the first bytes, else by the name, else by the declared type."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import filetype

if TYPE_CHECKING:
    from channels_wechat.contract.messages import MediaKind

UNKNOWN = "application/octet-stream"
# The number of first bytes that are checked; they contain the entries that distinguish the kinds of Office files.
HEAD_BYTES = 8192
# The formats in which WeChat's clients record voice; their file names are also used for other sound.
VOICES = ((b"#!SILK_V3", "audio/silk"), (b"\x02#!SILK_V3", "audio/silk"), (b"#!AMR-WB\n", "audio/amr-wb"))
# Of all that the library knows, what is told apart by more than two letters that a text may begin with.
RECOGNISED = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/heic": ".heic",
    "image/avif": ".avif",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/x-m4v": ".m4v",
    "video/3gpp": ".3gp",
    "video/webm": ".webm",
    "video/x-msvideo": ".avi",
    "audio/amr": ".amr",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "audio/x-wav": ".wav",
    "audio/aac": ".aac",
    "audio/x-flac": ".flac",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
}
SUFFIXES = {**RECOGNISED, "audio/silk": ".silk", "audio/amr-wb": ".awb"}
NAMED = {suffix: mime for mime, suffix in SUFFIXES.items()} | {".jpeg": "image/jpeg"}
# Both are containers for other formats, so the name is more exact where it names a type of the same family.
BOXES = {
    "application/zip": ("application/",),
    "video/mp4": ("video/", "audio/mp4"),
    "audio/ogg": ("audio/", "video/ogg"),
}


class FileType(NamedTuple):
    """kind: how a chat shows it; mime: without parameters, never empty."""

    kind: MediaKind
    mime: str


def recognise(content: bytes, name: str = "", declared: str = "") -> FileType:
    """Return the type. content: the file, or its first `HEAD_BYTES`; name: a file name; declared: a MIME type, perhaps with parameters."""
    found, named = _by_bytes(content[:HEAD_BYTES]), _by_name(name)
    if found in BOXES and named.startswith(BOXES[found]):
        found = named
    mime = found or named or declared.partition(";")[0].strip().lower() or UNKNOWN
    return FileType(kind_of(mime), mime)


def kind_of(mime: str) -> MediaKind:
    kinds: dict[str, MediaKind] = {"image": "image", "video": "video", "audio": "voice"}
    return kinds.get(mime.partition("/")[0], "file")


def with_suffix(name: str, mime: str) -> str:
    """Return the name, with the suffix of the type where it has none, because platforms and readers depend on it."""
    if not name or PurePosixPath(name).suffix:
        return name
    return name + (SUFFIXES.get(mime) or (mimetypes.guess_extension(mime) if mime != UNKNOWN else "") or "")


def _by_bytes(head: bytes) -> str:
    for magic, mime in VOICES:
        if head.startswith(magic):
            return mime
    found = filetype.guess(head) if head else None
    mime = str(found.mime) if found else ""
    if mime not in RECOGNISED or (head.startswith(b"ID3") and b"\0" not in head[:32]):
        return ""
    return mime


def _by_name(name: str) -> str:
    return NAMED.get(PurePosixPath(name.lower()).suffix) or mimetypes.guess_type(name)[0] or ""
