"""What an AI bot says, as wire messages (pages 101031 and 101138). Pure. Sizes in bytes of UTF-8.

A payload's body is what goes to the reply address, {"msgtype": "markdown" or "template_card", ...}. A body with both carries
the card beside the text; only a stream can do that, and only a stream carries pictures.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause, all_of
from channels_wechat.contract.messages import Payload
from channels_wechat.contract.text import clean, clean_json, sendable, sendable_json
from channels_wechat.text.split import head, split_tables
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.cards import check_card

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import Content, File, Upload
    from channels_wechat.contract.sentences import Sentences

TEXT_BYTES = 20_480
IMAGES = 10
IMAGE_BYTES = 10 * 1024 * 1024
IMAGE_MIMES = ("image/jpeg", "image/png")
# What the client shows as its thinking animation; Tencent's own plugin opens its streams with it. An empty text shows nothing.
THINKING = "<think></think>"
CARD = re.compile(r"^(`{3,}|~{3,})[ \t]*template_card[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
# The same, perhaps not written to its end yet.
CARD_SO_FAR = re.compile(r"^(`{3,}|~{3,})[ \t]*template_card[ \t]*$.*?(?:^\1[ \t]*$\n?|\Z)", re.MULTILINE | re.DOTALL)


def render(content: Content, sentences: Sentences) -> list[Payload]:
    """Return the payloads of the requests, one for each message, when a message is queued. The first has the pictures and the card.

    sentences: how files that are left out are named. Raises ContentRefused.
    """
    if content.kind == "text":
        text, card = take_card(clean(content.text))
    elif content.kind == "template_card":
        text, card = clean(content.text), dict(content.data)
        check_card(card)
    else:
        raise ContentRefused("kind", _("An AI bot cannot send messages of type “%s”.") % content.kind)
    images, words = _files(content.files, sentences)
    text = "\n\n".join(part for part in (text, words) if part.strip())
    parts = [part for part in split_tables(text, TEXT_BYTES) if part.strip()]
    if not parts and not images and not card:
        raise WECOM_AIBOT.refused("text", Cause("message_empty"))
    first = Payload(_body(parts[0] if parts else "", card), images=images)
    return [first, *(Payload(_body(part, None)) for part in parts[1:])]


def _body(text: str, card: Mapping[str, Any] | None) -> dict[str, Any]:
    if card and not text:
        return {"msgtype": "template_card", "template_card": card}
    body: dict[str, Any] = {"msgtype": "markdown", "markdown": {"content": text}}
    return {**body, "template_card": card} if card else body


def take_card(text: str) -> tuple[str, dict[str, Any] | None]:
    """The first block ```template_card that holds a card WeCom would take; any other stays in the text, to be seen."""
    for match in CARD.finditer(text):
        try:
            found = clean_json(sendable_json(json.loads(match[2])))
            card = found if isinstance(found, dict) else {}
            check_card(card)
        except (ValueError, RecursionError):  # ContentRefused is a ValueError
            continue
        return text[: match.start()] + text[match.end() :], card
    return text, None


def _files(files: tuple[File, ...], sentences: Sentences) -> tuple[tuple[str, ...], str]:
    """Refs of the pictures that a stream carries, and a line for each of the rest."""
    shown = [file for file in files if file.mime in IMAGE_MIMES and file.size <= IMAGE_BYTES][:IMAGES]
    lines = [_left_out(file, sentences) for file in files if file not in shown]
    return tuple(file.ref for file in shown), "\n".join(lines)


def _left_out(file: File, sentences: Sentences) -> str:
    name = "no_more_pictures" if file.mime.startswith("image/") else "no_files"
    return sentences.get(name, name=clean(file.name), size=sentences.size(file.size))


def stream(
    stream_id: str, payload: Payload | None, text: str, images: tuple[Upload, ...], finish: bool
) -> dict[str, Any]:
    """A frame of the stream: the payload, or else the text; pictures and card only with `finish`, as the platform wants."""
    words = _text_of(payload) if payload else text if finish else CARD_SO_FAR.sub("", text)
    content = head(sendable(words), TEXT_BYTES)
    shown: dict[str, Any] = {"id": stream_id, "finish": finish, "content": content if content or finish else THINKING}
    if finish and images:
        shown["msg_item"] = [_image(image) for image in images[:IMAGES]]
    card = payload.body.get("template_card") if payload and finish else None
    if card:
        return {"msgtype": "stream_with_template_card", "stream": shown, "template_card": card}
    return {"msgtype": "stream", "stream": shown}


def first_frame(stream_id: str) -> dict[str, Any]:
    """feedback: its id comes back with the person's verdict; the platform takes it in the first frame only."""
    opened = stream(stream_id, None, "", (), False)
    opened["stream"]["feedback"] = {"id": stream_id}
    return opened


def _text_of(payload: Payload) -> str:
    return str(payload.body.get("markdown", {}).get("content", ""))


def _image(image: Upload) -> dict[str, Any]:
    """md5: of the raw bytes; the protocol prescribes it."""
    digest = hashlib.md5(image.content, usedforsecurity=False).hexdigest()
    return {"msgtype": "image", "image": {"base64": base64.b64encode(image.content).decode(), "md5": digest}}


def reply(payload: Payload) -> tuple[dict[str, Any], Cause]:
    """What goes to the reply address, which takes one message without pictures, and what that leaves out."""
    kind = payload.body["msgtype"]
    if kind == "markdown" and not _text_of(payload):
        raise WECOM_AIBOT.error("pictures_only")
    notes = []
    if payload.images:
        notes.append(Cause("pictures_left_out", {"count": len(payload.images)}))
    if kind == "markdown" and "template_card" in payload.body:
        notes.append(Cause("card_left_out"))
    return {"msgtype": kind, kind: payload.body[kind]}, all_of("left_out", notes)
