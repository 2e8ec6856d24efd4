"""What an AI bot says over its long connection, as wire messages (page 101463). Pure. Sizes in bytes of UTF-8.

A payload's body is {"msgtype", <msgtype>: …} and, beside it, `via`: how it is to leave where that is not left to the chat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import Payload
from channels_wechat.contract.text import clean
from channels_wechat.text.split import split_tables
from channels_wechat.wecom.aibot import protocol
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.aibot.rendering import TEXT_BYTES, take_card
from channels_wechat.wecom.cards import check_card
from channels_wechat.wecom.files import MOST, build_file, build_single_file, refusal_of

if TYPE_CHECKING:
    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.messages import Content, File
    from channels_wechat.contract.sentences import Sentences

# As the end of the question's stream; as a message of its own; by the question's or the chat's last req_id, never as its own.
STREAM, PUSH, REPLY = "stream", "push", "reply"


def render(content: Content, sentences: Sentences) -> list[Payload]:
    """Return the payloads of the requests, one for each message. The first text ends the question's stream. Raises ContentRefused."""
    if content.kind in MOST:
        return [build_single_file(content, WECOM_AIBOT, takes_words=True)]
    if content.kind not in ("text", "template_card"):
        raise ContentRefused("kind", _("An AI bot cannot send messages of type “%s”.") % content.kind)
    text, card = take_card(clean(content.text)) if content.kind == "text" else (clean(content.text), dict(content.data))
    if content.kind == "template_card":
        check_card(card or {})
    text, files = _files(content.files, text, sentences)
    parts = [part for part in split_tables(text, TEXT_BYTES) if part.strip()]
    payloads = [Payload(_markdown(part, is_first=not number)) for number, part in enumerate(parts)]
    payloads += [Payload({"msgtype": "template_card", "template_card": card})] if card else []
    payloads += files
    if not payloads:
        raise WECOM_AIBOT.refused("text", Cause("message_empty"))
    return payloads


def _markdown(text: str, *, is_first: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"msgtype": "markdown", "markdown": {"content": text}}
    return {**body, "via": STREAM} if is_first else body


def _files(files: tuple[File, ...], text: str, sentences: Sentences) -> tuple[str, list[Payload]]:
    """The text with a line for each file that WeCom does not take, and the payloads of the others."""
    refusals = [refusal_of(file) for file in files]
    if refusals and (first := refusals[0]) and all(refusals) and not text.strip():
        raise WECOM_AIBOT.refused("files", first)
    named = zip(files, refusals, strict=True)
    lines = [sentences.get(why.code, name=clean(file.name), **why.params) for file, why in named if why]
    text = "\n\n".join(part for part in (text, "\n".join(lines)) if part.strip())
    return text, [build_file(file) for file, why in zip(files, refusals, strict=True) if not why]


def instead(payload: Payload, error: ChannelError) -> Payload | None:
    """Another way for what was refused: each way is tried once."""
    via = payload.body.get("via", "")
    if via == STREAM and error.capability == protocol.STREAMS:
        return _by(payload, "")
    if via in (STREAM, "") and error.code in (protocol.STREAM_OVER, protocol.REQUEST_UNKNOWN):
        return _by(payload, PUSH)
    return _by(payload, REPLY) if error.capability == protocol.PUSHES and via != REPLY else None


def _by(payload: Payload, via: str) -> Payload:
    body = {name: value for name, value in payload.body.items() if name != "via"}
    return Payload({**body, "via": via} if via else body, payload.file, payload.images)
