"""Markdown as readable text, for a surface that shows no Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from channels_wechat.contract.text import clean
from channels_wechat.text.split import find_fences, is_table_rule

if TYPE_CHECKING:
    from collections.abc import Callable

HEADING = re.compile(r"#{1,6}[ \t]+")
RULE = re.compile(r"[ \t]*([-*_])(?:[ \t]*\1){2,}[ \t]*")
QUOTE = re.compile(r"(?:[ \t]{0,3}>[ \t]?)*")
BULLET = re.compile(r"([ \t]*)[*+]([ \t]+)")
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
    for fence in find_fences(text, 0):
        info = fence.line.strip().lstrip("`~").strip()
        title = "" if LANGUAGE.fullmatch(info) else info + "\n"
        out += [_plain_block(text[start : fence.start]), title, text[fence.code : fence.end]]
        start = min(fence.after, len(text))
    return "".join([*out, _plain_block(text[start:])])


def simple(markdown: str) -> str:
    """Markdown for a surface that shows no tables and no fences: rows become "a | b", code stands without its fence; the rest stays."""
    text = clean(markdown)
    out, start = [], 0
    for fence in find_fences(text, 0):
        out += [_plain_block(text[start : fence.start], str), text[fence.code : fence.end]]
        start = min(fence.after, len(text))
    return "".join([*out, _plain_block(text[start:], str)])


def _plain_block(text: str, plain_line: Callable[[str], str] | None = None) -> str:
    """Lines outside code. plain_line: for what is no row of a table."""
    plain_line = plain_line or _plain_line
    lines = text.split("\n")
    out, in_table = [], False
    for index, line in enumerate(lines):
        if in_table and is_table_rule(line):
            continue
        begins = index + 1 < len(lines) and is_table_rule(lines[index + 1])
        in_table = "|" in line and (in_table or begins)
        out.append(_plain_row(line) if in_table else plain_line(line))
    return "\n".join(out)


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
