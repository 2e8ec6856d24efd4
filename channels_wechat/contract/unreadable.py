"""Marks messages that a platform does not pass on, or in an unknown form, so that the agent knows of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.inbound_fields import inbound_key
from channels_wechat.contract.messages import Inbound, Peer
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)
# The sender of messages that come from the platform itself, or that name nobody.
SYSTEM = "sys"
# The texts that platforms send instead of a message that they do not pass on. Only a whole text counts.
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
# So many characters are stored of a verified body that is neither XML nor JSON.
BODY_CHARACTERS = 16 * 1024
# How many values of an unknown object are shown, and how many characters of each.
VALUES, VALUE_CHARACTERS = 20, 500


def is_placeholder(text: str) -> bool:
    """Whether the text is a platform's placeholder for a message, in brackets of any kind."""
    bare = text.strip()
    if len(bare) < 3 or (bare[0], bare[-1]) not in (("[", "]"), ("【", "】")):
        return False
    return bare[1:-1].strip().rstrip("。.").casefold() in PLACEHOLDERS


def mark(kind: str, found: str = "") -> str:
    """Return the text that the agent reads instead of an unreadable message or part. kind: its type; found: what could be read of it."""
    what = f"a message of the type {clean(kind)[:50]}" if kind else "a message"
    return f"[{what}, of which only this can be read]\n{found}" if found else f"[{what}, which cannot be read here]"


def mark_unknown(kind: str, value: Any, hidden: frozenset[str] = frozenset()) -> str:
    """Return the mark of a message of an unknown type, with the values that can be read of it; empty where it has neither."""
    found = readable_values(value, hidden)
    return mark(kind, found) if kind or found else ""


def readable_values(value: Any, hidden: frozenset[str] = frozenset()) -> str:
    """Return the texts and numbers of an object of unknown structure, one `name: value` a line. hidden: names that are left out."""
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
    """Parse a signed body by `read`; where that fails for any reason, return the body itself, so that it is never lost."""
    try:
        return read()
    except Exception as error:  # the error's text is not logged, because it may contain a message
        log.warning("a signed callback is kept as unsupported: it cannot be read (%s)", type(error).__name__)
        return unreadable_body(plain)


def unreadable_body(plain: bytes) -> Inbound:
    """Return a message for a signed body that cannot be parsed: it is stored, so that staff can see it, and makes no turn."""
    body = clean(plain.decode(errors="replace"))[:BODY_CHARACTERS]
    return Inbound(inbound_key(plain), "unsupported", Peer("direct", SYSTEM), "", raw={"unreadable": body})
