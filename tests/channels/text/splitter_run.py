"""Split random texts and count what goes wrong: `python -m tests.channels.text.splitter_run [N]`, N = 100 000 unless told.

Needs neither Django nor a server. The character check is written without the library that the splitter uses.
"""

from __future__ import annotations

import random
import re
import sys
import time
import unicodedata
from collections import Counter

from channels_wechat.contract.text import clean
from channels_wechat.text.split import Piece, pieces, split

HAN = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经"
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇳", "🇯🇵🇨🇳", "1️⃣", "❤️", "🧑🏿‍🚀", "☺️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
MARKED = ["é", "ñ", "q̣̇", "ก็", "한", "각", "க்ஷி", "נָ", "\r\n", "ｶﾞ"]
BORDERS = [
    "。",
    "！",
    "？",
    "；",
    "……",
    ". ",
    "! ",
    "? ",
    "，",
    "、",
    "：",
    " ",
    "\n",
    "\n\n",
    "\n\n\n",
    "”",
    "\t",
    "\u3000",
]
MARKDOWN = [
    "**",
    "*",
    "_",
    "~~",
    "`",
    "# ",
    "## ",
    "- ",
    "1. ",
    "> ",
    "| ",
    "|---|---|\n",
    "---\n",
    "[x](https://a.b/c_d)",
]
FENCES = ["\n```\n", "\n```python\n", "\n~~~\n", "\n  ```json\n", "\n````\n", "```", "\n```\n\n"]
ODD = ["\0", "\ud800", "\udfff", "\ufeff", "\u200d", "\ufe0f", "\u0301"]
WORDS = [
    "def f(x):\n    return x\n",
    "https://example.com/a?b=c&d=e",
    "snake_case_name",
    "supercalifragilistic",
    "x = 1\n",
]
LIMITS = (64, 100, 128, 257, 400)


def random_text(source: random.Random) -> str:
    kinds = [list(HAN), EMOJI, MARKED, BORDERS, MARKDOWN, FENCES, ODD, WORDS]
    weights = [source.choice((0, 1, 4)) for _kind in kinds]
    weights[0] += 1
    chosen = source.choices(kinds, weights, k=source.randint(0, 250))
    return "".join(source.choice(kind) for kind in chosen)


FLAG = range(0x1F1E6, 0x1F200)
EMOJI_AND_JOINER = re.compile(
    "[\U0001f300-\U0001faff\u2600-\u27bf][\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*\u200d$"
)


def _extends(code: int) -> bool:
    """Whether this code point is drawn with the one before: a mark, a joiner, a skin tone, a tag."""
    marks = code in (0x200D, 0xFE0F, 0x20E3) or 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F
    return marks or unicodedata.combining(chr(code)) > 0


def breaks_character(before: str, after: str) -> bool:
    """Whether a cut here is inside what the reader sees as one character, in the cases that `random_text` makes."""
    last, first = before[-1], ord(after[0])
    if last in "\r\n\ufeff\t":  # nothing joins a control character but the line feed of a carriage return
        return last == "\r" and after[0] == "\n"
    flags = len(before) - len(before.rstrip("".join(map(chr, FLAG))))
    emoji_joined = EMOJI_AND_JOINER.search(before[-12:]) and re.match("[\U0001f300-\U0001faff\u2600-\u27bf]", after)
    return _extends(first) or bool(emoji_joined) or (flags % 2 == 1 and first in FLAG)


def _cuts_inside_characters(found: list[Piece]) -> bool:
    """A cut inside a character is excused where that character fills the whole part."""
    whole = "".join(piece.body for piece in found)
    start = 0
    for piece in found[:-1]:
        end = start + len(piece.body)
        inside = (breaks_character(whole[:index], whole[index:]) for index in range(end, start, -1))
        if breaks_character(whole[:end], whole[end:]) and not all(inside):
            return True
        start = end
    return False


def violations(text: str, limit: int, found: list[Piece]) -> list[str]:
    """The rules that this split breaks, by name."""
    parts = ["".join(piece) for piece in found]
    broken = []
    if "".join(piece.body for piece in found) != clean(text):
        broken.append("not lossless")
    if any(len(part.encode(errors="replace")) > limit for part in parts):
        broken.append("over the limit")
    if any("\ufffd" in part.encode(errors="replace").decode() and "\ufffd" not in part for part in parts):
        broken.append("not valid UTF-8")
    if any(not re.fullmatch(r"(?:[ \t]*(?:```|~~~).*\n)?", piece.before) for piece in found):
        broken.append("something else than a fence added before")
    if any(not re.fullmatch(r"(?:\n?[ \t]*(?:`{3,}|~{3,}))?", piece.after) for piece in found):
        broken.append("something else than a fence added after")
    if any(not piece.body for piece in found):
        broken.append("an empty part")
    if _cuts_inside_characters(found):
        broken.append("inside a character")
    return broken


def run(count: int, seed: int = 1) -> Counter[str]:
    """Figures over `count` texts; every key but texts, parts, bytes and repaired is a violation."""
    source = random.Random(seed)
    figures: Counter[str] = Counter(texts=0, parts=0, bytes=0, repaired=0)
    for _text in range(count):
        text, limit = random_text(source), source.choice(LIMITS)
        found = pieces(text, limit)
        parts = split(text, limit)
        figures.update(texts=1, parts=len(parts), bytes=len(clean(text).encode()))
        figures.update(repaired=sum(bool(piece.before) for piece in found))
        figures.update(violations(text, limit, found))
    return figures


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    began = time.monotonic()
    figures = run(count)
    good = {key: figures.pop(key) for key in ("texts", "parts", "bytes", "repaired")}
    print(", ".join(f"{value} {key}" for key, value in good.items()), f"in {time.monotonic() - began:.1f} s")
    print("violations:", dict(figures) or 0)
    return 1 if figures else 0


if __name__ == "__main__":
    sys.exit(main())
