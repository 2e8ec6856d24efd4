"""What people say to an AI bot, from the decrypted JSON to `Inbound` (pages 100719 and 101027). Pure.

Groups pass on only what mentions the bot, as text or mixed. A type that is not known is kept in `raw`, never an error.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from channels_wechat.contract.inbound_fields import (
    as_list,
    at,
    describe_card,
    describe_place,
    files,
    inbound_key,
    whole_number,
    word,
)
from channels_wechat.contract.messages import Inbound, Peer
from channels_wechat.contract.unreadable import NOT_PASSED_ON, SYSTEM, is_placeholder, mark, mark_unknown
from channels_wechat.wecom.person_ids import person_id
from channels_wechat.wire.api_answers import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from channels_wechat.contract.messages import MediaItem, MediaKind

Node = dict[str, Any]
STREAM_ID = re.compile(r"[0-9a-f]{32}")
# What is as good as a password for as long as it lives: the one-use reply address, and the addresses and keys of files.
SECRETS = frozenset({"response_url", "url", "aeskey"})
# "location" and "link" are not on the platform's pages; what they bring is read as far as it can be.
KINDS = frozenset({"text", "mixed", "image", "voice", "file", "video", "location", "link"})
FILES: dict[str, MediaKind] = {"image": "image", "file": "file", "video": "video"}
VERDICTS = {1: "accurate", 2: "inaccurate", 3: "withdrawn"}
FAULTS = {1: "irrelevant", 2: "incomplete", 3: "wrong", 4: "wrong data analysis"}


class Said(NamedTuple):
    """Text and files of a message, or of a part of one. is_unread: some of it cannot be read, and is marked in the text."""

    text: str = ""
    media: tuple[MediaItem, ...] = ()
    is_unread: bool = False


def read(
    node: Node,
    plain: bytes,
    *,
    bot_name: str,
    corp_id: str,
    reply_seconds: int,
    handle: Callable[[str], str] | None = None,
) -> Inbound:
    """plain: the decrypted body, whose SHA-256 is the key of whatever has no id of its own, and of an event.

    corp_id: the bot's own corporation, if known. Who or which group is not named is `SYSTEM`, which nobody can answer.
    handle: makes of the message's key what it is answered by over a connection; an event has no such answer. Else it is an address
    within the message.
    """
    is_event = word(node, "msgtype").lower() == "event"
    sender, in_group = _sender(node, corp_id), _is_group(node)
    key = inbound_key(plain, "" if is_event else word(node, "msgid"))
    reply = word(node, "response_url") if handle is None else "" if is_event else handle(key)
    kind, said = _event(node) if is_event else _message(node, bot_name if in_group else "")
    return Inbound(
        key=key,
        kind=kind,
        peer=_peer(node, sender, in_group, reply),
        sender=sender,
        text=said.text,
        media=said.media,
        raw=_without_secrets(node),
        reply_seconds=reply_seconds if reply else 0,
        occurred_at=whole_number(word(node, "create_time")),
        refers_to=_judged(node),
        is_unread=said.is_unread,
    )


def _listed(node: Any, *path: str) -> list[Any]:
    return as_list(at(node, *path))


def _sender(node: Node, corp_id: str) -> str:
    """User ids are unique only within a corporation: a guest's gets its own, so that nobody passes for a colleague."""
    user, guest_of = person_id(word(node, "from", "userid")), word(node, "from", "corpid")
    return f"{user}@{guest_of}" if user and guest_of not in ("", corp_id) else user


def _is_group(node: Node) -> bool:
    """Only groups have a chat id, so one without a type is a group: what is said there is not for a private session."""
    told = word(node, "chattype").lower()
    return told == "group" or (told != "single" and bool(word(node, "chatid")))


def _peer(node: Node, sender: str, in_group: bool, reply: str) -> Peer:
    if in_group:
        return Peer("group", word(node, "chatid") or SYSTEM, reply)
    return Peer("direct", sender or SYSTEM, reply)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items() if key not in SECRETS}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


# --- messages


def _message(node: Node, bot_name: str) -> tuple[str, Said]:
    kind = word(node, "msgtype").lower()
    said, quoted = _parse_parts(node, bot_name), _quote(node, bot_name)
    if said.text and is_placeholder(said.text):
        kind, said = "unsupported", Said(NOT_PASSED_ON, said.media, is_unread=True)
    text = "\n\n".join(part.text for part in (quoted, said) if part.text)
    both = Said(text, (*said.media, *quoted.media), said.is_unread or quoted.is_unread)
    return kind if kind in KINDS else "unsupported", both


def _parse_parts(node: Any, bot_name: str) -> Said:
    """Text and files of a message or a quote."""
    if word(node, "msgtype").lower() != "mixed":
        return _parse_part(node, bot_name)
    parts = [_parse_part(item, bot_name) for item in _listed(node, "mixed", "msg_item")]
    text = "\n".join(part.text for part in parts if part.text)
    return Said(text, tuple(item for part in parts for item in part.media), any(part.is_unread for part in parts))


def _parse_part(node: Any, bot_name: str) -> Said:
    """Voice comes as its transcript, without the sound. What is of no known type is marked, with what can be read of it."""
    kind = word(node, "msgtype").lower()
    if kind in FILES:
        return Said(media=_file(node, kind))
    if kind in ("text", "voice"):
        return Said(strip_mention(word(node, kind, "content"), bot_name))
    found = UNDOCUMENTED[kind](node) if kind in UNDOCUMENTED else ""
    return Said(found) if found else _unknown(node)


def _file(node: Any, kind: str) -> tuple[MediaItem, ...]:
    """Over a connection each file has a key of its own, in base64 that may lack its padding."""
    key = word(node, kind, "aeskey")
    padded = key + "=" * (-len(key) % 4)
    return tuple(replace(item, key=padded) for item in files(FILES[kind], word(node, kind, "url")))


def _unknown(node: Any) -> Said:
    """Of a type that the platform's pages do not name: a mark, and the values of the object that has the type's name."""
    kind = word(node, "msgtype")
    text = mark_unknown(kind, at(node, kind), SECRETS)
    return Said(text, is_unread=bool(text))


def _location(node: Any) -> str:
    """Its structure is stated nowhere, so names are tried; empty where none fits, and then it is marked as any unknown type."""
    name = " ".join(
        dict.fromkeys(filter(None, (word(node, "location", each) for each in ("name", "title", "label", "address"))))
    )
    return describe_place(name, word(node, "location", "latitude"), word(node, "location", "longitude"))


def _link(node: Any) -> str:
    """As `_location`. The address is what the person wants to show, so it is no secret here."""
    names = ("title", "description", "desc", "content", "url", "link_url")
    return "\n".join(dict.fromkeys(filter(None, (word(node, "link", name) for name in names))))


UNDOCUMENTED = {"location": _location, "link": _link}


def _quote(node: Node, bot_name: str) -> Said:
    """The quoted message as a Markdown quote; a quoted file as its kind, so that the reader knows where it belongs.

    A quote of which nothing can be read is marked: the person believes that it was passed on.
    """
    quote = node.get("quote")
    if not isinstance(quote, dict) or not quote:
        return Said()
    said = _parse_parts(quote, bot_name)
    if not said.text.strip() and not said.media:
        said = Said(mark(word(quote, "msgtype")), is_unread=True)
    lines = [*said.text.splitlines(), *(f"[{item.kind}]" for item in said.media)]
    return said._replace(text="\n".join(f"> {line}".rstrip() for line in lines))


def strip_mention(text: str, bot_name: str) -> str:
    """The text without "@name" where it mentions this bot: the whole name, followed by white space, punctuation or the end.

    The client puts U+2005 or a blank after the name, and any white space within it. A mail address is no mention.
    """
    if not bot_name.strip():
        return text
    name = r"\s+".join(map(re.escape, bot_name.split()))
    mention = rf"(?<![A-Za-z0-9._%+-])@{name}(?=[\s\u200b，。：！？、；,:!?;)）]|\Z)"
    stripped, count = re.subn(rf"[^\S\n]*{mention}[^\S\n]*\u200b?", _gap, text)
    return stripped.strip() if count else text


def _gap(match: re.Match[str]) -> str:
    """What a mention leaves behind: a blank between two words, nothing at the border of a line or before punctuation."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    between = before not in ("", "\n") and re.match(r"[^\n，。：！？、；,:!?;)）]", after)
    return " " if between else ""


# --- events


def _event(node: Node) -> tuple[str, Said]:
    """A card's answer is a turn for the agent; everything else just happened."""
    name = word(node, "event", "eventtype")
    content = at(node, "event", name)
    if name == "template_card_event":
        return "action", Said(_card(content))
    return "event", Said(_feedback(content) if name == "feedback_event" else name)


def _card(content: Any) -> str:
    items = _listed(content, "selected_items", "selected_item")
    answers = ((word(item, "question_key"), _chosen(item)) for item in items)
    return describe_card(word(content, "task_id"), word(content, "event_key"), answers)


def _chosen(item: Any) -> list[Any]:
    """Ids of the options; the platform's own samples spell their element in two ways."""
    for outer, inner in (("option_ids", "option_id"), ("opiton_ids", "opiton_id"), ("opiton_ids", "option_id")):
        if found := _listed(item, outer, inner):
            return found
    return []


def _feedback(content: Any) -> str:
    """`feedback: inaccurate (incomplete, wrong): what the person wrote`."""
    reasons = [FAULTS.get(whole(reason), str(reason)) for reason in _listed(content, "inaccurate_reason_list")]
    told = at(content, "type")
    verdict = VERDICTS.get(whole(told), str(told))
    detail, words = f" ({', '.join(reasons)})" if reasons else "", word(content, "content")
    return f"feedback: {verdict}{detail}" + (f": {words}" if words else "")


def _judged(node: Node) -> str:
    """The message whose answer was judged: our streams carry its uuid as their feedback id."""
    judged = word(node, "event", "feedback_event", "id")
    return judged if STREAM_ID.fullmatch(judged) else ""
