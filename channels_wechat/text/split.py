"""Markdown split into parts that a platform takes, counted in bytes of UTF-8: at the best border, code fences closed and opened again."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from wcwidth import iter_graphemes

from channels_wechat.contract.text import clean, utf8_len

# Group 1: indentation, 2: marker, 3: info string. Any indentation counts: fences stand in lists too.
FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n]*)\n?", re.MULTILINE)

PARAGRAPH = re.compile(r"\n(?:[ \t\r]*\n)+")
LINE = re.compile(r"\n")
TABLE_RULE = re.compile(r"\|?:?-+:?(?:\|:?-+:?)*\|?")
# The lookbehind keeps a run of ten thousand dots linear.
SENTENCE = re.compile(r"(?:[。！？；…]+[”’」』）》】\"']*|(?<![.!?;])[.!?;]+[\"')\]]*(?=\s))[ \u3000]*")
WORD = re.compile(r"\s+|[，、：]")
# Borders from best to worst; True: only outside code.
BORDERS = ((PARAGRAPH, True), (LINE, True), (PARAGRAPH, False), (LINE, False), (SENTENCE, False), (WORD, False))


class Piece(NamedTuple):
    """One part of a text. before, after: the lines that reopen and close a code fence cut in two; body: the text's own."""

    before: str
    body: str
    after: str


class Unit(NamedTuple):
    """What a platform counts. size: bytes of one in this encoding."""

    encoding: str
    size: int

    def count(self, text: str) -> int:
        return len(text.encode(self.encoding)) // self.size


BYTES = Unit("utf-8", 1)
# As JavaScript and Java count them: an emoji is two.
CHARACTERS = Unit("utf-16-le", 2)


def split(markdown: str, limit: int, unit: Unit = BYTES) -> list[str]:
    """Parts of at most `limit` (≥ 4) UTF-8 bytes, or other units; none for an empty text. A part may be blank."""
    return ["".join(piece) for piece in pieces(markdown, limit, unit)]


def pieces(markdown: str, limit: int, unit: Unit = BYTES) -> list[Piece]:
    """The parts with what was added to them. Lossless: the bodies joined are `clean(markdown)`.

    Cut after a paragraph, line, sentence or word where one ends in the last two thirds of a part, else between two
    characters as a reader sees them (grapheme clusters); inside one only when it is longer than a part. Linear time.
    """
    if limit < 4:
        raise ValueError("a part must have room for any code point, four bytes")
    text = clean(markdown)
    fences = _Fences(text, limit)
    found: list[Piece] = []
    start, before = 0, ""
    while start < len(text):
        room = limit - utf8_len(before)
        if _reach(text, start, room, unit) == len(text):
            return [*found, Piece(before, text[start:], "")]
        end = _cut(text, start, _reach(text, start, room - fences.reserve, unit), fences)
        body, fence = text[start:end], fences.cut_at(end)
        found.append(Piece(before, body, fence.closing(body) if fence else ""))
        start, before = end, fence.line if fence else ""
    return found


def split_tables(markdown: str, limit: int) -> list[str]:
    """As `split`, but a part that begins within a table begins with the table's head, where that takes at most a quarter of a part."""
    text = clean(markdown)
    tables = [table for table in _find_tables(text, limit) if utf8_len(table.head) <= limit // 4]
    room = limit - max((utf8_len(table.head) for table in tables), default=0)
    parts, at = [], 0
    for piece in pieces(text, room):
        within = next((table.head for table in tables if table.rows < at < table.end), "") if at else ""
        parts.append("".join((within if text[at - 1 : at] == "\n" else "", *piece)))
        at += len(piece.body)
    return parts


class _Table(NamedTuple):
    """head: its first two lines; rows, end: offsets of the first row and of what follows the table."""

    head: str
    rows: int
    end: int


def _find_tables(text: str, limit: int) -> list[_Table]:
    fences, found = _Fences(text, limit), []
    lines = text.splitlines(keepends=True)
    starts = list(accumulate(map(len, lines), initial=0))
    index = 0
    while index + 1 < len(lines):
        begins = (
            "|" in lines[index] and is_table_rule(lines[index + 1].rstrip("\n")) and not fences.cut_at(starts[index])
        )
        index += 2 if begins else 1
        if begins:
            rows = index
            while index < len(lines) and "|" in lines[index]:
                index += 1
            found.append(_Table("".join(lines[rows - 2 : rows]), starts[rows], starts[index]))
    return found


def head(text: str, limit: int) -> str:
    """As much of the beginning as fits into `limit` UTF-8 bytes, ending between two characters."""
    end = _reach(text, 0, limit)
    return text if end == len(text) else text[: max(_graphemes(text, 0, end), default=end)]


def _reach(text: str, start: int, room: int, unit: Unit = BYTES) -> int:
    """The furthest index that leaves text[start:index] within `room` units."""
    encoded = text[start : start + room].encode(unit.encoding)[: room * unit.size]
    return start + len(encoded.decode(unit.encoding, errors="ignore"))


def _graphemes(text: str, start: int, end: int) -> list[int]:
    """The ends in (start, end] of whole characters; one code point more tells whether the last one is whole."""
    ends = accumulate(map(len, iter_graphemes(text[start : end + 1])), initial=start)
    return [index for index in ends if start < index <= end]


def _cut(text: str, start: int, end: int, fences: _Fences) -> int:
    """Where the part that begins at `start` ends, at most at `end`."""
    whole = _graphemes(text, start, end)
    if not whole:
        return end
    allowed = [index for index in whole if not fences.on_line(index)] or whole
    floor = start + (end - start) // 3
    wanted = {index for index in allowed if index >= floor}
    for border, outside in BORDERS:
        ends = [match.end() for match in border.finditer(text, start, end)]
        for index in reversed(ends):
            if index in wanted and not (outside and fences.cut_at(index)):
                return index
    return allowed[-1]


class _Fence(NamedTuple):
    """Offsets: of the opening line, of the code, of the closing line, of what follows it."""

    start: int
    code: int
    end: int
    after: int
    line: str  # the opening line with its line feed
    marker: str  # what closes it, indented like the opening
    repaired: bool  # cut in two, it is closed and reopened

    def closing(self, body: str) -> str:
        return self.marker if body.endswith("\n") else "\n" + self.marker


class _Fences:
    """The code fences of a text, in order. reserve: bytes that closing any of them can cost."""

    def __init__(self, text: str, limit: int) -> None:
        self._all = find_fences(text, limit)
        self._starts = [fence.start for fence in self._all]
        self.reserve = max((1 + utf8_len(fence.marker) for fence in self._all if fence.repaired), default=0)

    def _before(self, index: int) -> _Fence | None:
        at = bisect_right(self._starts, index) - 1
        return self._all[at] if at >= 0 else None

    def cut_at(self, index: int) -> _Fence | None:
        """The fence to close before and reopen after a cut here."""
        fence = self._before(index)
        return fence if fence and fence.repaired and fence.code <= index <= fence.end < fence.after else None

    def on_line(self, index: int) -> bool:
        """Within a fence's own lines, or between one and its code: a cut here leaves a broken or an empty block."""
        fence = self._before(index)
        return bool(fence and (fence.start < index <= fence.code or fence.end <= index < fence.after))


def find_fences(text: str, limit: int) -> list[_Fence]:
    found: list[_Fence] = []
    opening: re.Match[str] | None = None
    for match in FENCE.finditer(text):
        if opening is None:
            opening = None if "`" in match[3] and match[2][0] == "`" else match
        elif match[2].startswith(opening[2]) and not match[3].strip():
            found.append(_fence(opening, match.start(), match.end(), limit))
            opening = None
    if opening is not None:
        found.append(_fence(opening, len(text), len(text) + 1, limit))
    return found


def _fence(opening: re.Match[str], end: int, after: int, limit: int) -> _Fence:
    """Left alone where repairing it would take more than a quarter of a part."""
    line, marker = opening[0], opening[1] + opening[2]
    repaired = line.endswith("\n") and utf8_len(line) + 1 + utf8_len(marker) <= limit // 4
    return _Fence(opening.start(), opening.end(), end, after, line, marker, repaired)


def is_table_rule(line: str) -> bool:
    return "|" in line and TABLE_RULE.fullmatch(re.sub(r"[ \t]", "", line)) is not None
