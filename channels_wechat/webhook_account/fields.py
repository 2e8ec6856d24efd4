"""Reads the fields of a message: each has one type, and what is wrong with one is told by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import CallbackRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# The length of the columns that hold ids and names, in characters.
MOST_ID = 200


@dataclass(frozen=True, slots=True)
class Node:
    """An object of the body. place: the names that lead to it, with a dot at the end. null is the same as a field that is not there."""

    values: Mapping[str, Any]
    place: str = ""

    def refusal(self, name: str, why: str) -> CallbackRefused:
        return CallbackRefused(400, "field", f"{self.place}{name}: {why}")

    def text(self, name: str) -> str:
        """Return a text; empty where it is not there."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.refusal(name, _("This must be text."))
        return value or ""

    def id(self, name: str, *, required: bool = True) -> str:
        """Return an id: one line, not blank, short enough to be sent back unchanged; empty where it may be left out."""
        value = self.text(name)
        if self.values.get(name) is None and not required:
            return ""
        if not value.strip() or value != value.strip() or not value.isprintable():
            raise self.refusal(
                name, _("This must be an ID: visible characters in one line, without blanks at its ends.")
            )
        if len(value) > MOST_ID:
            raise self.refusal(name, _("At most %d characters.") % MOST_ID)
        return value

    def choice(self, name: str, options: Collection[str]) -> str:
        value = self.text(name)
        if value not in options:
            raise self.refusal(name, _("This must be one of: %s.") % ", ".join(options))
        return value

    def is_set(self, name: str) -> bool | None:
        """Return true or false; None where it is not there."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.refusal(name, _("This must be true or false."))
        return value

    def child(self, name: str) -> Node | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.refusal(name, _("This must be an object."))
        return None if value is None else Node(value, f"{self.place}{name}.")

    def required_child(self, name: str) -> Node:
        found = self.child(name)
        if found is None:
            raise self.refusal(name, _("This is missing."))
        return found

    def children(self, name: str, most: int) -> list[Node]:
        """Return the objects of a list; none where it is not there."""
        found = self.values.get(name)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(value, dict) for value in found):
            raise self.refusal(name, _("This must be a list of objects."))
        if len(found) > most:
            raise self.refusal(name, _("At most %d elements.") % most)
        return [Node(value, f"{self.place}{name}[{number}].") for number, value in enumerate(found)]
