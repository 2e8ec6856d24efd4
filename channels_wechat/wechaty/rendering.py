"""What an ordinary person's account can say, as wire messages: plain text in parts, then the files. Pure.

A payload's body is {"kind": "text", "text", "mentions"?} or {"kind": "file", "name"}. The bytes of a file go with its message
(`Payload.images`): the service keeps an upload only as long as it runs, so none is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import Payload
from channels_wechat.contract.text import clean, sendable_name
from channels_wechat.text.plain import plain
from channels_wechat.text.split import split
from channels_wechat.wechaty.errors import WECHATY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import Content, File
    from channels_wechat.contract.sentences import Sentences

MB = 1024 * 1024
# About 2000 Chinese characters: WeChat takes more, and nobody reads it in one bubble.
TEXT_BYTES = 6000
# What WeChat's clients send.
MOST_FILE = 100 * MB
MENTIONS = "mentions"
FILE_KINDS = ("image", "voice", "video", "file")


def render(content: Content, sentences: Sentences) -> list[Payload]:
    """Return the payloads in order. Raises ContentRefused."""
    if content.kind in FILE_KINDS:
        return [_single_file(content)]
    if content.kind != "text":
        raise ContentRefused("kind", _("An account of Wechaty cannot send messages of type “%s”.") % content.kind)
    mentions = read_mentions(content.data)
    refusals = [_refusal(file) for file in content.files]
    if refusals and (first := refusals[0]) and all(refusals) and not content.text.strip():
        raise WECHATY.refused("files", first)
    payloads = _texts(content.text, mentions)
    for file, refusal in zip(content.files, refusals, strict=True):
        payloads += _left_out(file, refusal, sentences) if refusal else [_file(file)]
    if not payloads or (mentions and payloads[0].body["kind"] != "text"):
        raise WECHATY.refused("text", Cause("message_empty"))
    return payloads


def read_mentions(data: Mapping[str, Any]) -> list[str]:
    """Return the ids of members that a text is to mention. Raises ContentRefused."""
    found = data.get(MENTIONS) or []
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise ContentRefused(MENTIONS, _("This must be a list of texts."))
    return found


def _texts(text: str, mentions: list[str]) -> list[Payload]:
    parts = [part.strip("\n") for part in split(plain(clean(text)), TEXT_BYTES) if part.strip()]
    bodies: list[dict[str, Any]] = [{"kind": "text", "text": part} for part in parts]
    if bodies and mentions:
        bodies[0][MENTIONS] = mentions
    return [Payload(body) for body in bodies]


def _left_out(file: File, refusal: Cause, sentences: Sentences) -> list[Payload]:
    return _texts(sentences.get(refusal.code, name=clean(file.name), **refusal.params), [])


def _refusal(file: File) -> Cause | None:
    """Why this file cannot be sent: the code of a row, and of the sentence that people read; None where it can."""
    if not file.size:
        return Cause("file_empty")
    if file.size > MOST_FILE:
        return Cause("file_over_limit", {"size": f"{-(-file.size // MB)} MB", "most": f"{MOST_FILE // MB} MB"})
    return None


def _single_file(content: Content) -> Payload:
    if len(content.files) != 1:
        raise ContentRefused("files", _("A message of this type holds exactly one file."))
    if refusal := _refusal(content.files[0]):
        raise WECHATY.refused("files", refusal)
    return _file(content.files[0])


def _file(file: File) -> Payload:
    return Payload({"kind": "file", "name": sendable_name(file.name)}, images=(file.ref,))
