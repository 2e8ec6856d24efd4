"""Helpers to parse the platforms' inbound messages: values by their path, ids, files, and descriptions of what people did."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.messages import MediaItem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from channels_wechat.contract.messages import MediaKind

# Kind (see `Inbound`), text and files of a message.
ReadMessage = tuple[str, str, tuple[MediaItem, ...]]
# Texts that people typed, whose blanks and line breaks at both ends are kept; of other values they are removed.
TYPED = frozenset({"Content", "content"})
# No time and no label of any platform has more digits.
MOST_DIGITS = 11


def at(node: Any, *path: str) -> Any:
    """Return the value at the path; None where a step is absent or not an object."""
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def word(node: Any, *path: str) -> str:
    """Return the text at the path, or a number as text, without blanks at both ends unless people typed it; else empty."""
    for name in path:  # without calling `at`, because each callback needs a dozen of these calls
        node = node.get(name) if isinstance(node, dict) else None
    if isinstance(node, str):
        return node if path[-1] in TYPED else node.strip()
    return str(node) if isinstance(node, int | float) and not isinstance(node, bool) else ""


def whole_number(text: str) -> int:
    """Return digits as a number, for times in Unix seconds and labels; 0 for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else 0


def inbound_key(plain: bytes, message_id: str = "") -> str:
    """Return the idempotency key of an inbound message: the platform's id of it, else the SHA-256 of its decrypted body.

    A blank id and 0 name no message.
    """
    return message_id if message_id.strip("0 ") else hashlib.sha256(plain).hexdigest()


def as_list(value: Any) -> list[Any]:
    """Return an array unchanged, and another value but None as an array of one, because platforms send a single member without an array."""
    return value if isinstance(value, list) else [] if value is None else [value]


def files(kind: MediaKind, source: str, other: str = "", mime: str = "") -> tuple[MediaItem, ...]:
    """Return the file of a message; none where the platform names none. other: another source of the same file."""
    sources = [each for each in (source, other) if each]
    return (MediaItem(kind, sources[0], mime=mime, fallback="".join(sources[1:])),) if sources else ()


def lines(node: Any, *names: str) -> str:
    """Return the values of these names, each on a line of its own."""
    return "\n".join(filter(None, (word(node, name) for name in names)))


def labelled(label: str, value: str) -> str:
    """Return `label: value`, the text of a message without words of its own (a place, a menu entry, a scan); empty without a value."""
    return f"{label}: {value}" if value else ""


def describe_card(task: str, key: str, answers: Iterable[tuple[str, Iterable[Any]]]) -> str:
    """Describe the button of a card and the answers to its questions, by the ids and keys of the card; empty ones are left out."""
    head = [f"Card {task}: {key}"] if task or key else []
    return "\n".join([*head, *filter(None, (_describe_answer(*each) for each in answers))])


def _describe_answer(question: str, chosen: Iterable[Any]) -> str:
    text = ", ".join(map(str, chosen))
    return f"{question}: {text}" if question or text else ""


def describe_place(name: str, latitude: str, longitude: str) -> str:
    """Describe a place; empty without a name and without both numbers."""
    numbers = f"{latitude}, {longitude}" if latitude and longitude else ""
    return labelled("Location", f"{name} ({numbers})" if name and numbers else name or numbers)


# --- parts of the XML that WeCom and WeChat have in common


def message_type(node: Any) -> str:
    return word(node, "MsgType").lower()


def voice_mime(node: Any) -> str:
    return f"audio/{word(node, 'Format') or 'amr'}".lower()


def location_text(node: Any) -> str:
    name = word(node, "Label") or word(node, "Poiname")
    return describe_place(name, word(node, "Location_X"), word(node, "Location_Y"))


def link_text(node: Any) -> str:
    return lines(node, "Title", "Description", "Url")


def menu_entry(node: Any) -> str:
    return labelled("Menu entry", word(node, "EventKey"))


def scanned_code(node: Any) -> str:
    return labelled("Scanned", word(node, "ScanCodeInfo", "ScanResult"))
