"""Text on its way to a platform: cleaned, counted in UTF-8 bytes, split, and made plain where no Markdown is shown."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from wcwidth import iter_graphemes

if TYPE_CHECKING:
    from collections.abc import Callable

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
UNSENDABLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
DEEPEST, TOO_DEEP = 100, "(nested too deeply)"
# Colours and the like, which terminals' output brings along.
TERMINAL = re.compile("(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,16}[@-~]|\x1b\\][^\x07\x1b\n]{0,512}(?:\x07|\x1b\\\\)")
# Group 1: indentation, 2: marker, 3: info string. Any indentation counts: fences stand in lists too.
FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n]*)\n?", re.MULTILINE)

PARAGRAPH = re.compile(r"\n(?:[ \t\r]*\n)+")
LINE = re.compile(r"\n")
# The lookbehind keeps a run of ten thousand dots linear.
SENTENCE = re.compile(r"(?:[。！？；…]+[”’」』）》】\"']*|(?<![.!?;])[.!?;]+[\"')\]]*(?=\s))[ \u3000]*")
WORD = re.compile(r"\s+|[，、：]")
# Borders from best to worst; True: only outside code.
BORDERS = ((PARAGRAPH, True), (LINE, True), (PARAGRAPH, False), (LINE, False), (SENTENCE, False), (WORD, False))


def clean(text: str) -> str:
    """U+0000 and lone surrogates become U+FFFD: PostgreSQL stores neither, UTF-8 has no form for the latter."""
    return UNSTORABLE.sub("\ufffd", text)


def sendable(text: str) -> str:
    """The text without what a platform refuses or shows as an escape: control characters but line feeds and tabs, terminal sequences,
    lone surrogates, characters that Unicode excludes, and marks that turn the direction of what follows."""
    return UNSENDABLE.sub("", TERMINAL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def sendable_name(name: str) -> str:
    """The same for what has no lines: a file's name, or a title."""
    return re.sub(r"\s+", " ", sendable(name)).strip()


def sendable_json(value: Any) -> Any:
    """`sendable` for every text in decoded JSON, keys too."""
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, list | tuple):
        return [sendable_json(item) for item in value]
    if isinstance(value, dict):
        return {sendable(key) if isinstance(key, str) else key: sendable_json(item) for key, item in value.items()}
    return value


def clean_json(value: Any, depth: int = 0) -> Any:
    """`clean` for every text in decoded JSON, keys too; NaN and infinity, which no JSON column takes, become words.

    So does what lies below `DEEPEST` levels: nothing real is nested so deeply, and whatever walks through it has a stack for that.
    """
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | dict) and depth >= DEEPEST:
        return TOO_DEEP
    if isinstance(value, list):
        return [clean_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean_json(item, depth + 1) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def utf8_len(text: str) -> int:
    return len(text.encode())


class Piece(NamedTuple):
    """One part of a text. before, after: the lines that reopen and close a code fence cut in two; body: the text's own."""

    before: str
    body: str
    after: str


def split(markdown: str, limit: int) -> list[str]:
    """Parts of at most `limit` (≥ 4) UTF-8 bytes; none for an empty text. A part may be blank."""
    return ["".join(piece) for piece in pieces(markdown, limit)]


def pieces(markdown: str, limit: int) -> list[Piece]:
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
        if _reach(text, start, room) == len(text):
            return [*found, Piece(before, text[start:], "")]
        end = _cut(text, start, _reach(text, start, room - fences.reserve), fences)
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
            "|" in lines[index] and _is_table_rule(lines[index + 1].rstrip("\n")) and not fences.cut_at(starts[index])
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


def _reach(text: str, start: int, room: int) -> int:
    """The furthest index that leaves text[start:index] within `room` bytes."""
    return start + len(text[start : start + room].encode()[:room].decode(errors="ignore"))


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
        self._all = _find_fences(text, limit)
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


def _find_fences(text: str, limit: int) -> list[_Fence]:
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


# --- plain text from Markdown

HEADING = re.compile(r"#{1,6}[ \t]+")
RULE = re.compile(r"[ \t]*([-*_])(?:[ \t]*\1){2,}[ \t]*")
QUOTE = re.compile(r"(?:[ \t]{0,3}>[ \t]?)*")
BULLET = re.compile(r"([ \t]*)[*+]([ \t]+)")
TABLE_RULE = re.compile(r"\|?:?-+:?(?:\|:?-+:?)*\|?")
# What emphasis must not touch: code spans, images and links, autolinks, bare addresses, escapes. The spans' lengths are
# bounded to keep a line full of unmatched marks linear.
LITERAL = re.compile(
    r"(?P<ticks>(?<!`)`+)(?!`)(?P<code>.{1,1000}?)(?<!`)(?P=ticks)(?!`)"
    r"|!?\[(?P<label>(?:[^\[\]]|\[[^\[\]]*\]){0,500})\]"
    r"\([ ]*<?(?P<url>[^\s()<>]+(?:\([^\s()<>]*\)[^\s()<>]*)*)>?(?P<title>[ ]+\"[^\"]*\")?[ ]*\)"
    r"|<(?P<auto>https?://[^\s<>]+)>"
    r"|(?P<bare>https?://[^\s<>()\[\]*`\u3000-\u9fff\uff00-\uffef]+)"
    r"|\\(?P<escaped>[`*_\[\]#|~>+.-])"
)
STARS = re.compile(r"(?<![*\\])(\*{1,3})(?=[^\s*])(.{1,1000}?)(?<=[^\s*])\1(?!\*)")
BARS = re.compile(r"(?<!\w)(_{1,2})(?=[^\s_])(.{1,1000}?)(?<=[^\s_])\1(?!\w)")
STRIKE = re.compile(r"(?<!~)~~(?=[^\s~])(.{1,1000}?)(?<=[^\s~])~~(?!~)")
LETTER = re.compile(r"[A-Za-z0-9]")
LANGUAGE = re.compile(r"[A-Za-z0-9_.+#-]*")
NAME = re.compile(r"[A-Za-z0-9_.]+")


def plain(markdown: str) -> str:
    """Readable text without marks for a surface that shows no Markdown. Loses no word but a fence's language.

    Links become "text (address)", tables "a | b", bullets "- "; code stays as it is. Text without marks is left alone.
    """
    text = clean(markdown)
    out, start = [], 0
    for fence in _find_fences(text, 0):
        info = fence.line.strip().lstrip("`~").strip()
        title = "" if LANGUAGE.fullmatch(info) else info + "\n"
        out += [_plain_block(text[start : fence.start]), title, text[fence.code : fence.end]]
        start = min(fence.after, len(text))
    return "".join([*out, _plain_block(text[start:])])


def simple(markdown: str) -> str:
    """Markdown for a surface that shows no tables and no fences: rows become "a | b", code stands without its fence; the rest stays."""
    text = clean(markdown)
    out, start = [], 0
    for fence in _find_fences(text, 0):
        out += [_plain_block(text[start : fence.start], str), text[fence.code : fence.end]]
        start = min(fence.after, len(text))
    return "".join([*out, _plain_block(text[start:], str)])


def _plain_block(text: str, plain_line: Callable[[str], str] | None = None) -> str:
    """Lines outside code. plain_line: for what is no row of a table."""
    plain_line = plain_line or _plain_line
    lines = text.split("\n")
    out, in_table = [], False
    for index, line in enumerate(lines):
        if in_table and _is_table_rule(line):
            continue
        begins = index + 1 < len(lines) and _is_table_rule(lines[index + 1])
        in_table = "|" in line and (in_table or begins)
        out.append(_plain_row(line) if in_table else plain_line(line))
    return "\n".join(out)


def _is_table_rule(line: str) -> bool:
    return "|" in line and TABLE_RULE.fullmatch(re.sub(r"[ \t]", "", line)) is not None


def _plain_row(line: str) -> str:
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return " | ".join(_plain_inline(cell.strip()) for cell in cells)


def _plain_line(line: str) -> str:
    quote = QUOTE.match(line)
    prefix = quote[0] if quote else ""
    rest = line[len(prefix) :]
    if RULE.fullmatch(rest):
        return prefix + "---"
    if heading := HEADING.match(rest):
        return prefix + _plain_inline(_without_closing(rest[heading.end() :].strip()))
    bullet = BULLET.match(rest)
    return prefix + _plain_inline(f"{bullet[1]}-{rest[bullet.start(2) :]}" if bullet else rest)


def _without_closing(heading: str) -> str:
    """`## Title ##` without its closing marks, `## C#` with its name."""
    bare = heading.rstrip("#")
    return bare.rstrip() if bare.endswith((" ", "\t")) else heading


def _plain_inline(text: str) -> str:
    """Literals are put aside as U+0000 + number + U+0000, which `clean` text does not hold, while the marks are taken off."""
    kept: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        kept.append(_literal(match))
        return f"\0{len(kept) - 1}\0"

    text = LITERAL.sub(put_aside, text)
    for _nested in range(3):
        text = STRIKE.sub(r"\1", BARS.sub(_without_bars, STARS.sub(_without_stars, text)))
    return re.sub("\0([0-9]+)\0", lambda match: kept[int(match[1])], text)


def _literal(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return match["code"]
    if match["url"] is not None:
        label, url = _plain_inline(match["label"]), match["url"] + (match["title"] or "")
        return f"{label} ({url})" if label and label != url else url
    return match["auto"] or match["bare"] or match["escaped"]


def _without_stars(match: re.Match[str]) -> str:
    """2*3*4 and x**2 + y**2 are arithmetic: letters or digits outside, on either side of one star, both sides of more."""
    text = match.string
    before = match.start() > 0 and LETTER.match(text[match.start() - 1]) is not None
    after = match.end() < len(text) and LETTER.match(text[match.end()]) is not None
    keep = (before or after) if len(match[1]) == 1 else (before and after)
    return match[0] if keep else match[2]


def _without_bars(match: re.Match[str]) -> str:
    """Names keep their bars, __init__ and _a1_; a word between single ones is emphasis."""
    bars, inner = match[1], match[2]
    is_name = NAME.fullmatch(inner) is not None and not (bars == "_" and inner.isalpha())
    return match[0] if is_name else inner
