"""Shapes that the platforms' inbound messages share: ids, lists, labelled values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def message_id(text: str) -> str:
    """The platform's id of a message; empty for a blank one and for 0, which name no message."""
    return text if text.strip("0 ") else ""


def as_list(value: Any) -> list[Any]:
    """An array as it is, anything else but None as its only member: platforms send one member without its array."""
    return value if isinstance(value, list) else [] if value is None else [value]


def labelled(label: str, value: str) -> str:
    """`label: value`; empty without a value, so that a turn without words is recognised as one."""
    return f"{label}: {value}" if value else ""


def answered(question: str, chosen: Iterable[Any]) -> str:
    """One question of a card with what was chosen; empty where neither is told."""
    text = ", ".join(map(str, chosen))
    return f"{question}: {text}" if question or text else ""


def describe_place(name: str, latitude: str, longitude: str) -> str:
    """A place in words; empty without a name and without both numbers."""
    numbers = f"{latitude}, {longitude}" if latitude and longitude else ""
    return labelled("Location", f"{name} ({numbers})" if name and numbers else name or numbers)
