"""What a platform does not pass on, or passes on in a form that is not known: marked for the agent, never dropped without a sign."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.inbound_fields import inbound_key
from channels_wechat.contract.messages import Inbound, Peer
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)
# Who speaks where the platform itself does, or nobody is named.
SYSTEM = "sys"
# What the platforms write in the place of a message that they do not pass on. Only the whole of a text counts.
PLACEHOLDERS = frozenset(
    {
        "收到不支持的消息类型，暂无法显示",
        "收到不支持的消息类型,暂无法显示",
        "不支持的消息类型",
        "不支持的消息",
        "unsupported message",
        "unsupported message type",
    }
)
NOT_PASSED_ON = "[a sticker or similar that the platform does not pass on]"
# Of a verified body that is neither XML nor JSON so much is kept, in characters.
BODY_CHARACTERS = 16 * 1024
# How many values of an unknown object are shown, and how much of each, in characters.
VALUES, VALUE_CHARACTERS = 20, 500


def is_placeholder(text: str) -> bool:
    """Whether the text is what a platform writes in the place of a message, in brackets of any kind."""
    bare = text.strip()
    if len(bare) < 3 or (bare[0], bare[-1]) not in (("[", "]"), ("【", "】")):
        return False
    return bare[1:-1].strip().rstrip("。.").casefold() in PLACEHOLDERS


def mark(kind: str, found: str = "") -> str:
    """What the agent reads of a message or a part of one. kind: the platform's name of its type; found: what could be read of it."""
    what = f"a message of the type {clean(kind)[:50]}" if kind else "a message"
    return f"[{what}, of which only this can be read]\n{found}" if found else f"[{what}, which cannot be read here]"


def mark_unknown(kind: str, value: Any, hidden: frozenset[str] = frozenset()) -> str:
    """The mark of a message of a type that is not known, with the values that can be read of it; empty where it has neither."""
    found = readable_values(value, hidden)
    return mark(kind, found) if kind or found else ""


def readable_values(value: Any, hidden: frozenset[str] = frozenset()) -> str:
    """The text and numbers of an object of unknown structure, `name: value` a line. hidden: names whose values are not shown."""
    lines = [f"{name}: {text[:VALUE_CHARACTERS]}" for name, text in _leaves("", value, hidden)]
    return "\n".join(lines[:VALUES])


def _leaves(name: str, value: Any, hidden: frozenset[str]) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() if key not in hidden for leaf in _leaves(key, item, hidden)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(name, item, hidden)]
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        return []
    return [(name, str(value).strip())]


def read_or_kept(read: Callable[[], Inbound], plain: bytes) -> Inbound:
    """What `read` makes of a body that the platform signed; where it fails, whatever the reason, the body as it is: never lost."""
    try:
        return read()
    except Exception as error:  # its text may hold what somebody wrote
        log.warning("a signed callback is kept as unsupported: it cannot be read (%s)", type(error).__name__)
        return unreadable_body(plain)


def unreadable_body(plain: bytes) -> Inbound:
    """What the platform signed and nobody can parse: stored, so that it is not lost without a sign; no turn."""
    body = clean(plain.decode(errors="replace"))[:BODY_CHARACTERS]
    return Inbound(inbound_key(plain), "unsupported", Peer("direct", SYSTEM), "", raw={"unreadable": body})
