"""Where staff do what the cure of a code asks for: a menu path of a platform's console, or of a gateway's host."""

from __future__ import annotations

from typing import NamedTuple

from django.utils.translation import get_language
from django.utils.translation import gettext as _


def is_chinese() -> bool:
    """Whether the language that is active now is Chinese."""
    return (get_language() or "").startswith("zh")


class Place(NamedTuple):
    """A path of menus, with arrows between.

    path: as the console writes it, in Chinese whoever reads. english: what the console's English pages, or people who write about them,
    call the same; empty where there is no English console.
    """

    path: str
    english: str = ""

    def __str__(self) -> str:
        """The path; for who does not read Chinese also its English names."""
        return self.path if is_chinese() or not self.english else f"{self.path} ({self.english})"

    def below(self, path: str, english: str = "") -> Place:
        """A menu entry under this one. english: empty where this place has no English names."""
        return Place(f"{self.path} → {path}", f"{self.english} → {english}" if self.english and english else "")

    @property
    def sentence(self) -> str:
        """“Where: …” in the language that is active now."""
        return _("Where: %(place)s.") % {"place": self}
