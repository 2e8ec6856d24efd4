"""What a bot says, as items of a message, one for each request (facts 8). Pure. Lengths of texts in characters, as the platform counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import HANDLE, Payload
from channels_wechat.contract.text import clean, sendable_name
from channels_wechat.ilink.errors import ILINK
from channels_wechat.ilink.files import media_of, media_type
from channels_wechat.ilink.parsing import FILE, IMAGE, NAMES, TEXT, VIDEO
from channels_wechat.text.plain import plain
from channels_wechat.text.split import CHARACTERS, split

if TYPE_CHECKING:
    from channels_wechat.contract.messages import Content, File
    from channels_wechat.contract.sentences import Sentences

TEXT_CHARACTERS = 4000
MB = 1024 * 1024
MOST_BYTES = 100 * MB
FILE_KINDS = ("image", "video", "file")
NUMBERS = {"image": IMAGE, "video": VIDEO, "file": FILE}


def render(content: Content, sentences: Sentences) -> list[Payload]:
    """Return an item for each request: the text in parts, then the files. Raises ContentRefused.

    A file that cannot go becomes a line of the text, because a message of its own would use up one of the ten that a person's allows.
    """
    if content.kind in FILE_KINDS:
        return [_only_file(content)]
    if content.kind != "text":
        raise ContentRefused("kind", _("This account cannot send messages of type “%s”.") % content.kind)
    refusals = [_refusal(file) for file in content.files]
    if refusals and (first := refusals[0]) and all(refusals) and not content.text.strip():
        raise ILINK.refused("files", first)
    named = list(zip(content.files, refusals, strict=True))
    left_out = [sentences.get(why.code, name=file.name, **why.params) for file, why in named if why]
    text = "\n\n".join(filter(str.strip, (plain(clean(content.text)), *left_out)))
    payloads = [_text(part) for part in split(text, TEXT_CHARACTERS, CHARACTERS) if part.strip()]
    payloads += [_file(file) for file, why in named if not why]
    if not payloads:
        raise ILINK.refused("text", Cause("message_empty"))
    return payloads


def merge(first: Payload, second: Payload, between: str) -> Payload | None:
    """Return two texts as one; None where one is no text, or they are too long together."""
    if {first.body["type"], second.body["type"]} != {TEXT}:
        return None
    text = f"{first.body['text_item']['text']}{between}{second.body['text_item']['text']}"
    return _text(text) if CHARACTERS.count(text) <= TEXT_CHARACTERS else None


def build_item(payload: Payload, handle: str) -> dict[str, Any]:
    """Return the item as it is sent, with what names its uploaded file."""
    item = dict(payload.body)
    if not payload.file:
        return item
    name = f"{NAMES[item['type']]}_item"
    media, size, length = media_of(handle)
    sizes: dict[int, dict[str, Any]] = {
        IMAGE: {"mid_size": size},
        VIDEO: {"video_size": size},
        FILE: {"len": str(length)},
    }
    return {**item, name: {**item[name], "media": media, **sizes[item["type"]]}}


def _text(text: str) -> Payload:
    return Payload({"type": TEXT, "text_item": {"text": text}})


def _file(file: File) -> Payload:
    kind = media_type(file.kind, file.mime)
    named = {"file_name": sendable_name(file.name) or "file"} if kind == "file" else {}
    return Payload({"type": NUMBERS[kind], f"{kind}_item": {"media": HANDLE, **named}}, file=file.ref)


def _only_file(content: Content) -> Payload:
    if len(content.files) != 1:
        raise ContentRefused("files", _("A message of this type holds exactly one file."))
    file = content.files[0]
    if refusal := _refusal(file):
        raise ILINK.refused("files", refusal)
    if content.kind not in ("file", media_type(file.kind, file.mime)):
        raise ContentRefused("files", _("The file is not of this type."))
    return _file(file)


def _refusal(file: File) -> Cause | None:
    """Why this file cannot be sent: the code of a row, and of the sentence that people read; None when it can."""
    if not file.size:
        return Cause("file_empty")
    if file.size > MOST_BYTES:
        return Cause("file_over_limit", {"size": f"{-(-file.size // MB)} MB", "most": f"{MOST_BYTES // MB} MB"})
    return None
