"""Mentions in groups: a WeChat client writes "@name" and U+2005, and only the ids beside the text say whom that means. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# What a client puts behind the name of a mention.
MARK = "\u2005"
BEHIND = rf"(?:[{MARK}\u0020]|$)"
# "@" within a word is that of a mail address.
AT = re.compile(r"(?<![\w.+-])@")
# What may follow a name that somebody typed.
BORDER = re.compile(r"[\s,.:;!?，。：；！？、)）\]】]|$")


class Addressed(NamedTuple):
    """A text whose mentions a client shows, and whom they mean."""

    text: str
    ids: tuple[str, ...]


def mentions_one_of(text: str, names: Iterable[str]) -> bool:
    """Whether a client wrote a mention of one of these names, for puppets that give no ids."""
    return any(re.search(rf"@{re.escape(name)}{BEHIND}", text) for name in names if name)


def strip_mentions(text: str, names: Iterable[str]) -> str:
    """Return the text without the mentions of these names."""
    for name in sorted(filter(None, set(names)), key=len, reverse=True):
        text = re.sub(rf"@{re.escape(name)}{BEHIND}", "", text)
    return text.strip()


def address(text: str, wanted: Sequence[str], names: Mapping[str, str]) -> Addressed:
    """Make "@name" of members in an agent's text mentions that a client shows, and put those of `wanted` before the text.

    wanted: ids of members; names: what somebody may call a member → id. Where two members have one name nobody can say who is meant.
    """
    found: list[str] = []
    said = _mark_names(text, names, found)
    shown = {member: name for name, member in reversed(list(names.items()))}
    missing = [member for member in wanted if member in shown and member not in found]
    before = "".join(f"@{shown[member]}{MARK}" for member in missing)
    return Addressed(before + said, tuple(dict.fromkeys([*missing, *found])))


def has_unknown_name(text: str, names: Mapping[str, str]) -> bool:
    """Whether there is an "@" that none of these names explains."""
    return any(not _name_at(text, match.end(), names) for match in AT.finditer(text))


def _mark_names(text: str, names: Mapping[str, str], found: list[str]) -> str:
    out, start = [], 0
    for match in AT.finditer(text):
        name = _name_at(text, match.end(), names) if match.start() >= start else ""
        if not name:
            continue
        end = match.end() + len(name)
        found.append(names[name])
        out.append(text[start:end] + MARK)
        start = end + (1 if text[end : end + 1] in (" ", MARK) else 0)
    return "".join([*out, text[start:]])


def _name_at(text: str, index: int, names: Mapping[str, str]) -> str:
    """Return the longest name that stands at this place; empty where none does."""
    fitting = (name for name in names if text.startswith(name, index) and BORDER.match(text, index + len(name)))
    return max(fitting, key=len, default="")
