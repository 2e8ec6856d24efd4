"""What goes to the receiver, without conversation and handle. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import HANDLE, Payload
from channels_wechat.contract.text import clean
from channels_wechat.text.plain import plain
from channels_wechat.text.split import split
from channels_wechat.webhook_account.errors import WEBHOOK_ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import Content, File
    from channels_wechat.contract.sentences import Sentences

MB = 1024 * 1024
# A file travels in base64 within JSON, so that a third more than this stands in one request.
MOST_FILE = 20 * MB
MENTIONS = "mentions"


def render(content: Content, style: str, text_bytes: int, sentences: Sentences) -> list[Payload]:
    """Text in parts, then each file. A file that cannot go leaves a line in the text. Raises ContentRefused.

    style: "text" or "markdown"; text_bytes: of the longest part.
    """
    if content.kind != "text":
        raise ContentRefused("kind", _("A connection of one's own takes text and files only."))
    refusals = [_refusal(file) for file in content.files]
    if refusals and (first := refusals[0]) and all(refusals) and not content.text.strip():
        raise WEBHOOK_ACCOUNT.refused("files", first)
    named = list(zip(content.files, refusals, strict=True))
    left_out = [sentences.get(refusal.code, name=file.name, **refusal.params) for file, refusal in named if refusal]
    said = plain(content.text) if style == "text" else clean(content.text)
    text = "\n\n".join(filter(str.strip, (said, *left_out)))
    parts = [part for part in split(text, text_bytes) if part.strip()]
    bodies: list[tuple[dict[str, Any], str]] = [({"text": part, "format": style}, "") for part in parts]
    bodies += [(_file(file), file.ref) for file, refusal in named if not refusal]
    if not bodies:
        raise WEBHOOK_ACCOUNT.refused("text", Cause("message_empty"))
    marks = {"ai": True} if content.ai else {}
    bodies[0][0].update(_mentions(content.data))
    return [Payload({"type": "message", **body, **marks}, file=ref) for body, ref in bodies]


def complete(payload: Payload, handle: str, peer_kind: str, peer_id: str) -> dict[str, Any]:
    """Return the whole body: with the conversation, and the id that the receiver gave the file."""
    files = [{**file, "id": handle} for file in payload.body.get("files", ())]
    named = {"files": files} if files else {}
    return {**payload.body, **named, "conversation": {"kind": peer_kind, "id": peer_id}}


def _file(file: File) -> dict[str, Any]:
    return {"files": [{"id": HANDLE, "kind": file.kind, "name": file.name, "mime": file.mime, "size": file.size}]}


def _refusal(file: File) -> Cause | None:
    if file.size < 1:
        return Cause("file_empty")
    if file.size > MOST_FILE:
        return Cause("file_over_limit", {"size": f"{-(-file.size // MB)} MB", "most": f"{MOST_FILE // MB} MB"})
    return None


def _mentions(data: Mapping[str, Any]) -> dict[str, Any]:
    ids = data.get(MENTIONS) or []
    if not isinstance(ids, list) or not all(isinstance(each, str) and each for each in ids):
        raise ContentRefused(MENTIONS, _("This must be a list of texts."))
    return {MENTIONS: [{"id": each} for each in ids]} if ids else {}
