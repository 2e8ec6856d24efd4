"""What people write to a bot, from the JSON of getupdates to `Inbound` (facts 8). Pure.

A message has items: texts, files, and types that are not known. Keys and addresses of files, and the token by which a message is
answered, stand in their own fields and never in `raw`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from channels_wechat.contract.inbound_fields import as_list, at, inbound_key, word
from channels_wechat.contract.messages import Inbound, MediaItem, Peer, Window
from channels_wechat.contract.text import as_quote
from channels_wechat.contract.unreadable import SYSTEM, mark, mark_unknown, read_or_kept
from channels_wechat.ilink.files import download_address, key_text
from channels_wechat.wire.api_answers import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from channels_wechat.contract.messages import MediaKind

Node = dict[str, Any]
# After each message of a person; the number is what people have seen, and the platform says -2 where it is less.
DAY = 24 * 3600
WINDOW = Window(10, DAY)
# A minute less than a day, because the platform's clock counts.
REPLY_SECONDS = DAY - 60
BOT = 2
TEXT, IMAGE, VOICE, FILE, VIDEO = range(1, 6)
NAMES = {IMAGE: "image", VOICE: "voice", FILE: "file", VIDEO: "video"}
SECRETS = frozenset({"context_token", "aes_key", "aeskey", "encrypt_query_param", "full_url"})
# What says nothing to a reader of an item of unknown type.
HIDDEN = SECRETS | {"type", "encrypt_type", "ref_msg", "create_time_ms", "update_time_ms", "is_completed", "msg_id"}
QUOTED = "[quoted message]"


class Said(NamedTuple):
    """Kind, text and files of an item, or of a whole message. is_unread: some of it cannot be read, and is marked in the text.

    quotes: as in `Inbound`.
    """

    kind: str = "text"
    text: str = ""
    media: tuple[MediaItem, ...] = ()
    is_unread: bool = False
    quotes: str = ""


def read_messages(answer: Node) -> tuple[Inbound, ...]:
    """Return what people wrote, in its order. What the bot itself said is left out; what cannot be read is kept as it is."""
    found = []
    for node in as_list(answer.get("msgs")):
        if whole(at(node, "message_type")) == BOT:
            continue
        plain = json.dumps(node, ensure_ascii=False, sort_keys=True).encode(errors="replace")
        found.append(read_or_kept(lambda node=node, plain=plain: _read(node, plain), plain))  # type: ignore[misc]
    return tuple(found)


def _read(node: Node, plain: bytes) -> Inbound:
    """A message of a group is stored and no turn: this channel is one to one, whatever comes."""
    sender, group, token = word(node, "from_user_id"), word(node, "group_id"), word(node, "context_token")
    said = _together([_read_item(item) for item in as_list(node.get("item_list"))])
    is_answered = bool(sender) and not group
    return Inbound(
        key=inbound_key(plain, word(node, "message_id")),
        kind="event" if group else said.kind,
        peer=Peer("group", group) if group else Peer("direct", sender or SYSTEM, token),
        sender=sender,
        text=said.text,
        media=said.media,
        raw=_without_secrets(node),
        reply_seconds=REPLY_SECONDS if is_answered and token else 0,
        occurred_at=whole(node.get("create_time_ms")) // 1000,
        window=WINDOW if is_answered else None,
        is_unread=said.is_unread,
        quotes=said.quotes,
    )


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items() if key not in SECRETS}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


def _together(parts: Sequence[Said]) -> Said:
    """One message of all its items; without any it cannot be read."""
    if not parts:
        return Said("unsupported", mark(""), is_unread=True)
    kinds = list(dict.fromkeys(part.kind for part in parts))
    text = "\n".join(part.text for part in parts if part.text)
    media = tuple(item for part in parts for item in part.media)
    quotes = next((part.quotes for part in parts if part.quotes), "")
    is_unread = any(part.is_unread for part in parts)
    return Said(kinds[0] if len(kinds) == 1 else "mixed", text, media, is_unread, quotes)


# --- items


def _read_item(item: Any) -> Said:
    said, quoted = _read_content(item), _quote(at(item, "ref_msg"))
    if quoted is None:
        return said
    text = "\n\n".join(filter(None, (quoted.text, said.text)))
    media = (*said.media, *quoted.media)
    return Said(said.kind, text, media, said.is_unread or quoted.is_unread, quoted.quotes)


def _read_content(item: Any) -> Said:
    kind = whole(at(item, "type"))
    if kind == TEXT:
        typed = at(item, "text_item", "text")
        return Said(text=typed if isinstance(typed, str) else "")
    if kind in NAMES and isinstance(content := at(item, f"{NAMES[kind]}_item"), dict):
        return READERS[kind](content)
    name = NAMES.get(kind, str(kind))
    return Said("unsupported", mark_unknown(name, item, HIDDEN) or mark(name), is_unread=True)


def _file(kind: MediaKind, content: Node, mime: str = "") -> Said:
    """Of a file that has two addresses the second is tried where the first fails. An image may bear its key beside them."""
    media = content.get("media")
    full, other = word(media, "full_url"), download_address(word(media, "encrypt_query_param"))
    handle, fallback = (full, other) if full else (other, "")
    if not handle:
        return Said(kind, mark(kind), is_unread=True)
    key = key_text(word(content, "aeskey"), word(media, "aes_key"))
    return Said(kind, "", (MediaItem(kind, handle, word(content, "file_name"), mime, fallback, key),))


def _voice(content: Node) -> Said:
    """A transcript is read in the place of the sound, which few programs can play."""
    transcript = word(content, "text")
    return Said("voice", transcript) if transcript else _file("voice", content, "audio/silk")


READERS: dict[int, Callable[[Node], Said]] = {
    IMAGE: lambda content: _file("image", content),
    VOICE: _voice,
    FILE: lambda content: _file("file", content),
    VIDEO: lambda content: _file("video", content),
}


# --- quotes


def _quote(ref: Any) -> Said | None:
    """The quoted message as a Markdown quote, with its files; None where there is none.

    The platform tells it whole, in part, by its title, or by its id alone.
    """
    if not isinstance(ref, dict) or not ref:
        return None
    inner = ref.get("message_item")
    said = _read_content(inner) if isinstance(inner, dict) and inner else Said()
    text = said.text or word(ref, "partial_text") or word(ref, "title")
    lines = [*text.splitlines(), *(f"[{item.kind}]" for item in said.media)]
    if not lines and (known := word(ref, "svr_id")):
        return Said(quotes=known)
    return Said("text", as_quote("\n".join(lines or [QUOTED])), said.media, said.is_unread or not lines)
