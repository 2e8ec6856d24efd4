"""What a gateway posts, from its JSON to `Inbound`, as docs/connect/webhook_account.openapi.yaml describes it. Pure.

A field of the wrong type refuses the whole body, so that the gateway's author sees it at once. A type of event that is not known is stored
as unsupported, and fields that are not known are left in `raw`: a gateway may be newer than we are.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.filetypes import recognise
from channels_wechat.contract.messages import FailedMessage, Inbound, MediaItem, Peer
from channels_wechat.contract.text import clean_json
from channels_wechat.contract.unreadable import SYSTEM
from channels_wechat.webhook_account.fields import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import MediaKind

PEER_KINDS = ("direct", "group")
FILE_KINDS: tuple[MediaKind, ...] = ("image", "voice", "video", "file")
# Nobody sends more at once; WeChat's clients take nine.
MOST_FILES, MOST_PEOPLE = 20, 500
# A file that came within the message has this before its bytes in base64, in the place of an address (RFC 2397).
INLINE = "data:;base64,"
# What is not kept in `raw`: the bytes of a file, and an address by which anybody may fetch it.
NOT_KEPT = frozenset({"content", "url"})


def read(body: bytes, webhook_id: str, own_id: str = "") -> Inbound:
    """Read a verified body. webhook_id: names a message that has no id of its own. Raises CallbackRefused (400)."""
    event = Node(_object(body))
    kind = event.id("type")
    if kind == "message":
        return _message(event, webhook_id, own_id)
    if kind not in READERS:
        return _unsupported(event, kind, webhook_id)
    peer = _peer(event.required_child("conversation"))
    return READERS[kind](event, _key(event, kind, webhook_id), peer)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = clean_json(json.loads(body))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CallbackRefused(400, "json", _("The body is not a JSON object."))
    return value


def _peer(conversation: Node) -> Peer:
    kind = conversation.choice("kind", PEER_KINDS)
    return Peer("group" if kind == "group" else "direct", conversation.id("id"))


def _key(event: Node, kind: str, webhook_id: str) -> str:
    """The id of a message, or of another event, whose type keeps it from being a message's."""
    own = event.id("id", required=False) or webhook_id
    return own if kind == "message" else f"{kind}:{own}"


def _common(event: Node) -> dict[str, Any]:
    """What every event may have."""
    conversation = event.required_child("conversation")
    return {
        "title": conversation.text("title") if conversation.text("kind") == "group" else "",
        "occurred_at": _seconds(event, "sent_at"),
        "raw": {name: _without_contents(value) for name, value in event.values.items()},
    }


def _without_contents(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_contents(item) for name, item in value.items() if name not in NOT_KEPT}
    return [_without_contents(item) for item in value] if isinstance(value, list) else value


def _seconds(event: Node, name: str) -> int:
    """Unix seconds of a time as RFC 3339 writes it, or of a number; 0 where it is not there."""
    value = event.values.get(name)
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo and isinstance(value, str):
            return int(moment.timestamp())
    except (ValueError, OverflowError):
        pass
    raise event.refusal(name, _("This must be a time with its zone, like 2026-01-31T08:00:00+08:00, or Unix seconds."))


def _person(node: Node) -> tuple[str, str]:
    return node.id("id"), node.text("name").strip()


# --- messages


def _message(event: Node, webhook_id: str, own_id: str) -> Inbound:
    peer = _peer(event.required_child("conversation"))
    sender, name = _sender(event, peer)
    is_own = bool(event.is_set("own")) or sender == own_id != ""
    mentioned = dict(map(_person, event.children("mentions", MOST_PEOPLE)))
    text, media = event.text("text"), tuple(map(_file, event.children("files", MOST_FILES)))
    if not text.strip() and not media:
        raise event.refusal("text", _("A message has a text or files."))
    quoted = _quoted(event)
    return Inbound(
        _key(event, "message", webhook_id),
        _kind(text, media),
        peer,
        sender,
        "\n\n".join(filter(None, (quoted, text))),
        addressed=_is_addressed(event, peer, own_id, mentioned),
        media=media,
        contacts={person: known for person, known in {**mentioned, sender: name}.items() if person and known},
        own=is_own,
        **_common(event),
    )


def _sender(event: Node, peer: Peer) -> tuple[str, str]:
    """Id and name. One to one, the conversation is the person; of the account's own words nobody needs to be named."""
    node, is_own = event.child("sender"), event.is_set("own")
    if peer.kind == "direct" and node is None and not is_own:
        return peer.id, event.required_child("conversation").text("title").strip()
    if node is None:
        if is_own:
            return "", ""
        raise event.refusal("sender", _("A message in a group says who sent it."))
    return _person(node)


def _is_addressed(event: Node, peer: Peer, own_id: str, mentioned: Mapping[str, str]) -> bool:
    said = event.is_set("addressed")
    return (peer.kind == "direct" or own_id in mentioned) if said is None else said


def _kind(text: str, media: tuple[MediaItem, ...]) -> str:
    if not media:
        return "text"
    return "mixed" if text.strip() or len(media) > 1 else media[0].kind


def _quoted(event: Node) -> str:
    """The text of the message that this one answers, as a Markdown quote."""
    quote = event.child("reply_to")
    if quote is None:
        return ""
    quote.id("id", required=False)
    if sender := quote.child("sender"):
        _person(sender)
    return "\n".join(f"> {line}".rstrip() for line in quote.text("text").splitlines())


def _file(node: Node) -> MediaItem:
    name, mime, url, content = (node.text(each) for each in ("name", "mime", "url", "content"))
    if bool(url) == bool(content):
        raise node.refusal("url", _("A file has either a url or its content."))
    if url and not url.startswith(("https://", "http://")):
        raise node.refusal("url", _("This must be an address that begins with https:// or http://."))
    head = _checked_content(node, content) if content else b""
    given = "" if node.values.get("kind") is None else node.choice("kind", FILE_KINDS)
    kind = next(
        (each for each in FILE_KINDS if each == given), recognise(head, name or url.partition("?")[0], mime).kind
    )
    return MediaItem(kind, url or INLINE + content, name, mime)


def _checked_content(node: Node, content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise node.refusal("content", _("This must be base64 in one line.")) from None


# --- what happened


def _joined(event: Node, key: str, peer: Peer) -> Inbound:
    return _people_event(event, key, peer, "joined", True)


def _left(event: Node, key: str, peer: Peer) -> Inbound:
    return _people_event(event, key, peer, "left", False)


def _people_event(event: Node, key: str, peer: Peer, deed: str, came: bool) -> Inbound:
    """People who came into a group or left it; one to one, the person who added the account or removed it."""
    people = dict(map(_person, event.children("people", MOST_PEOPLE)))
    if peer.kind == "direct":
        people = people or {peer.id: event.required_child("conversation").text("title").strip()}
    if not people:
        raise event.refusal("people", _("This names at least one person."))
    names = ", ".join(name or person for person, name in people.items())
    return Inbound(
        key,
        "event",
        peer,
        next(iter(people)),
        f"{deed}: {names}",
        contacts={person: name for person, name in people.items() if name},
        follows=came if peer.kind == "direct" else None,
        greets=came and peer.kind == "direct",
        **_common(event),
    )


def _renamed(event: Node, key: str, peer: Peer) -> Inbound:
    conversation = event.required_child("conversation")
    title = conversation.text("title").strip()
    if not title:
        raise conversation.refusal("title", _("This is missing."))
    return Inbound(key, "event", peer, "", f"renamed: {title}", **_common(event))


def _recalled(event: Node, key: str, peer: Peer) -> Inbound:
    return Inbound(key, "event", peer, "", "recalled", recalls=event.id("message_id"), **_common(event))


def _failed(event: Node, key: str, peer: Peer) -> Inbound:
    """A message of ours that was taken, and did not arrive after all."""
    cause = Cause("not_delivered", {"detail": event.text("reason")[:500]})
    failed = FailedMessage(event.id("message_id"), cause)
    return Inbound(key, "event", peer, "", "failed", failed=failed, **_common(event))


def _unsupported(event: Node, kind: str, webhook_id: str) -> Inbound:
    """In its conversation, where it names one in our way, and else in that of the platform itself."""
    try:
        peer = _peer(event.required_child("conversation"))
    except CallbackRefused:
        peer = Peer("direct", SYSTEM)
    raw = {name: _without_contents(value) for name, value in event.values.items()}
    return Inbound(f"{kind}:{webhook_id}", "unsupported", peer, "", raw=raw)


READERS = {
    "joined": _joined,
    "left": _left,
    "renamed": _renamed,
    "recalled": _recalled,
    "failed": _failed,
}
