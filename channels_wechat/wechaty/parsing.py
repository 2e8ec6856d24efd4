"""A message of the puppet service as the bridge stores it. Pure: what else had to be asked comes as `Facts`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.inbound_fields import describe_place, lines, word
from channels_wechat.contract.messages import Inbound, MediaItem, Peer
from channels_wechat.contract.text import clean_json
from channels_wechat.contract.unreadable import SYSTEM, mark, mark_unknown
from channels_wechat.wechaty.mentions import mentions_one_of, strip_mentions
from channels_wechat.wechaty.protocol import Type, unix_seconds
from channels_wechat.wire import xml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from channels_wechat.contract.messages import MediaKind
    from channels_wechat.wechaty import puppet_pb2 as pb

FILES: dict[int, MediaKind] = {
    Type.ATTACHMENT: "file",
    Type.AUDIO: "voice",
    Type.EMOTICON: "image",
    Type.IMAGE: "image",
    Type.VIDEO: "video",
}
TEXTS = (Type.TEXT, Type.MARKDOWN)
LINKS = (Type.URL, Type.MINI_PROGRAM, Type.POST, Type.CHANNEL, Type.CHANNEL_CARD)
# What a person must do on the phone.
ON_PHONE = {
    Type.TRANSFER: "[a transfer of money, which can be accepted on the phone only]",
    Type.RED_ENVELOPE: "[a red envelope, which can be opened on the phone only]",
}
NAMES = {
    Type.CHAT_HISTORY: "chat history",
    Type.GROUP_NOTE: "group note",
    Type.POST: "post",
    Type.CHANNEL: "channel",
    Type.CHANNEL_CARD: "channel card",
    Type.CALL_RECORD: "call",
    Type.MINI_PROGRAM: "mini program",
    Type.URL: "link",
    Type.LOCATION: "location",
    Type.CONTACT: "contact card",
}
# A client writes a quote into the text: whom and what, a rule, and below it what the person says.
QUOTE = re.compile(r"「(?P<who>[^：:」\n]{0,100})[：:](?P<said>.*?)」\n(?:- ?){5,}-?\n(?P<reply>.*)", re.DOTALL)
LONGEST_XML = 256 * 1024
XML_TEXTS = ("title", "des", "url")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the message itself does not say.

    me: our own id; own_names: what we are called in this chat; names: id → name; title: of the group; detail: of a place, a link, a
    card, as the service tells it.
    """

    me: str
    own_names: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """kind and text as `Inbound` has them."""

    kind: str
    text: str = ""
    media: tuple[MediaItem, ...] = ()
    is_unread: bool = False
    recalls: str = ""


def read(message: pb.MessageData, facts: Facts) -> Inbound:
    """Return the message. Of a direct chat the peer is whoever is not us."""
    own = message.talker_id == facts.me
    said = _read_content(message, facts)
    addressed, text = _find_addressed(message, facts, said.text)
    return Inbound(
        key=message.id,
        kind=said.kind,
        peer=peer_of(message, facts.me),
        sender=message.talker_id,
        text=text,
        addressed=addressed,
        media=said.media,
        raw={**as_json(message), **({"detail": dict(facts.detail)} if facts.detail else {})},
        occurred_at=unix_seconds(message.timestamp),
        contacts={each: name for each, name in facts.names.items() if name},
        is_unread=said.is_unread,
        title=facts.title,
        own=own,
        recalls=said.recalls,
    )


def peer_of(message: pb.MessageData, me: str) -> Peer:
    if message.room_id:
        return Peer("group", message.room_id)
    other = message.listener_id if message.talker_id == me else message.talker_id
    return Peer("direct", other or SYSTEM)


def as_json(message: Message) -> dict[str, Any]:
    """What is stored of an answer of the service: under the names of `puppet.proto`, without empty values."""
    found: dict[str, Any] = clean_json(MessageToDict(message, preserving_proto_field_name=True))
    return found


# --- what it says


def _read_content(message: pb.MessageData, facts: Facts) -> Said:
    kind = message.type
    if kind in FILES:
        return Said(FILES[kind], "", (MediaItem(FILES[kind], message.id, message.filename),))
    if kind in TEXTS:
        return Said("text", _with_quote(message.text))
    if kind == Type.RECALLED:
        return Said("event", "A message was taken back.", recalls=message.text.strip())
    if kind == Type.SYSTEM:
        return Said("event", message.text)
    if kind in ON_PHONE:
        return Said("text", ON_PHONE[Type(kind)], is_unread=True)
    return _read_detail(message, facts)


def _read_detail(message: pb.MessageData, facts: Facts) -> Said:
    """Places, cards and links: as the service describes them, else by the XML that some puppets give as their text, else marked."""
    kind, detail = message.type, facts.detail
    if kind == Type.LOCATION and (place := _describe_place(detail)):
        return Said("location", place)
    if kind == Type.CONTACT and (card := word(detail, "id")):
        name = facts.names.get(card, "")
        return Said("text", f"Contact card: {name} ({card})" if name else f"Contact card: {card}")
    if kind in LINKS and (text := lines(detail, "title", "description", "url")):
        program = "Mini program: " if kind == Type.MINI_PROGRAM else ""
        return Said("link", program + text)
    named = NAMES.get(Type(kind), "") if kind in list(Type) else str(kind)
    found = read_xml(message.text)
    if kind in LINKS and found:
        return Said("link", found)
    text = mark(named, found) if named else mark_unknown("", {"text": found}) or found
    return Said("unsupported" if kind not in NAMES else "text", text or mark(""), is_unread=True)


def _describe_place(detail: Mapping[str, Any]) -> str:
    name = " ".join(dict.fromkeys(filter(None, (word(detail, "name"), word(detail, "address")))))
    return describe_place(name, word(detail, "latitude"), word(detail, "longitude"))


def read_xml(text: str) -> str:
    """Return title, description and address of the XML that WeChat's own protocol has for cards; another text unchanged."""
    bare = text.strip()
    if not bare.startswith("<") or len(bare) > LONGEST_XML:
        return bare
    try:
        node = xml.parse(bare.encode())
    except CallbackRefused:
        return ""
    return lines(node.get("appmsg", node) if isinstance(node, dict) else {}, *XML_TEXTS)


def read_link_json(text: str) -> dict[str, Any]:
    """Return a link or Mini Program as older services give it: JSON in the names of wechaty-puppet; empty for anything else."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return clean_json(found) if isinstance(found, dict) else {}


# --- quotes and mentions


def _with_quote(text: str) -> str:
    """A quote that the client wrote into the text as a Markdown quote, which agents read."""
    found = QUOTE.fullmatch(text.strip())
    if not found:
        return text
    quoted = [f"{found['who']}:", *found["said"].strip().splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in quoted) + f"\n\n{found['reply'].strip()}"


def _find_addressed(message: pb.MessageData, facts: Facts, text: str) -> tuple[bool, str]:
    """Whether the message speaks to us, and the text without our mention. In a group that means a mention; ids count before names."""
    if not message.room_id:
        return True, text
    quote, rule, reply = text.rpartition("\n\n") if text.startswith("> ") else ("", "", text)
    by_id = facts.me in message.mention_ids
    by_name = not message.mention_ids and mentions_one_of(reply, facts.own_names)
    if not (by_id or by_name):
        return False, text
    return True, quote + rule + strip_mentions(reply, facts.own_names)
