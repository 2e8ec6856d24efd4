"""What of an agent's text is meant for readers. Pure; linear time.

OpenClaw's own channels cut the same: thinking, internal blocks, directives in double brackets and the words for silence. In fences
and inline code such words are content and stay. The marks were read in OpenClaw 2026.7 to 2026.9 and its documentation.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from channels_wechat.contract.text import sendable
from openclaw import model_marks

# So many words for silence are cut off at the end of a text.
MOST_WORDS: Final = 10
SILENT_WORDS: Final = ("NO_REPLY", "HEARTBEAT_OK")
_BARE: Final = ("reply_to_current", "audio_as_voice", "tts", "/tts")
_WITH_VALUE: Final = (
    *("reply_to", "tts", "/tts", "quick_replies", "location", "confirm", "buttons", "media_player", "event", "agenda"),
    *("device", "appletv_remote"),
)
_DIRECTIVE: Final = rf"\[\[[ \t]*(?:(?:{'|'.join(_BARE)})|(?:{'|'.join(_WITH_VALUE)})[ \t]*:[^\]\n]{{0,300}})[ \t]*\]\]"
_MARK: Final = re.compile(
    r"^[ \t]*(?:>[ \t]?)*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[^\n]*$"
    r"|(?P<ticks>`+)"
    rf"|{model_marks.OPENED}|{model_marks.BRACKET}|{model_marks.ONE_BAR}|{model_marks.DOWNGRADED}"
    r"|<<<(?P<end>END_)?(?:BEGIN_)?(?P<block>[A-Z][A-Z_]{3,60})[^<>\n]{0,200}>>>"
    rf"|(?P<directive>{_DIRECTIVE})"
    r"|<\|(?:im_)?start\|>[\w.-]*"
    r"|(?P<channel><\|channel\|>)[ \t]*(?P<name>\w*)[^<>\n]{0,60}(?:<\|message\|>)?"
    rf"|{model_marks.SPECIAL}",
    re.MULTILINE | re.IGNORECASE,
)
_SPOKEN: Final = re.compile(r"\[\[[ \t]*tts[ \t]*:[ \t]*text[ \t]*\]\]", re.IGNORECASE)
_SPOKEN_END: Final = re.compile(r"\[\[[ \t]*/[ \t]*tts[ \t]*:[ \t]*text[ \t]*\]\]", re.IGNORECASE)

_WORDS: Final = "|".join(word.replace("_", r"\\?_") for word in SILENT_WORDS)  # in Markdown `_` may be escaped
_ALONE: Final = re.compile(rf"[\W_]*(?:(?:{_WORDS})[\W_]*)+", re.IGNORECASE)
_AS_OBJECT: Final = re.compile(r'(?:```\w*\s*)?\{\s*"action"\s*:\s*"NO_REPLY"\s*\}(?:\s*```)?', re.IGNORECASE)
# Some models wrap the whole of their answer.
_WRAPPED: Final = re.compile(r"\A<(answer|response)>(?P<inner>.*)</\1>\Z", re.IGNORECASE | re.DOTALL)
_WRAPPED_SO_FAR: Final = re.compile(
    r"\A<(answer|response)>\s*(?P<inner>.*?)(?:<(?:/\w{0,8})?)?\Z", re.IGNORECASE | re.DOTALL
)
_AT_START: Final = re.compile(rf"[\s*_~]*(?:{_WORDS})[*_~.。!！]*[ \t]*\n\s*", re.IGNORECASE)
_AT_END: Final = re.compile(rf"(?<![A-Za-z0-9_])(?:{_WORDS})(?:(?!`)[\W_])*\Z", re.IGNORECASE)
_OPENING_MARKS: Final = " \t\r\n*_~#<＜>\"'“‘「『(（[【"

# What the end of a growing text may still become.
_HALF_TAG: Final = re.compile(r"[<＜][^<>＜＞]{0,600}\Z|<{1,3}[^<>\n]{0,300}>{0,2}\Z")
_HALF_NAMESPACE: Final = re.compile(r"[<＜][/／]?[a-z][a-z0-9_-]{0,20}")
_HALF_BRACKET: Final = re.compile(
    r"[\[［【][ \t]{0,8}[/／]?[ \t]{0,8}(?i:t(?:h(?:i(?:n(?:k(?:i(?:n(?:g)?)?)?)?)?)?)?)?[ \t]{0,8}\Z"
    r"|\[TOOL_?C?A?L?L?S?\Z|\[(?i:tool (?:call|result)|historical context)[^\]\n]{0,300}\Z|◁[^◁▷\n]{0,20}\Z"
)
_HALF_CALL: Final = re.compile(r"\[(?P<words>[a-z ]{1,18})\Z", re.IGNORECASE)
_CALLS: Final = ("tool call:", "tool result for id", "historical context:")
_HALF_DIRECTIVE: Final = re.compile(r"\[{1,2}[^\[\]\n]{0,300}\]?\Z")
_HALF_WORD: Final = re.compile(r"(?<![A-Za-z0-9_`])[*_~]{0,8}(?P<word>[A-Za-z_\\]{2,14})\Z")
_LETTERS: Final = re.compile(r"[^\W_]")


def visible(text: str) -> str:
    """Return what readers may see of a finished text; empty where the agent chose to say nothing."""
    shown = _cut(sendable(text)).strip()
    shown = found["inner"].strip() if (found := _WRAPPED.match(shown)) else shown
    if _is_silence(shown):
        return ""
    shown = _AT_START.sub("", shown, count=1) if _AT_START.match(shown) else shown
    for _word in range(MOST_WORDS):
        end = _AT_END.search(shown)
        if end is None or _in_code(shown, end.start()):
            break
        shown = shown[: end.start()].rstrip(_OPENING_MARKS)
    return shown


def visible_so_far(text: str) -> str:
    """Return what readers may see of a text still growing: nothing that may turn out to be a mark, or stand behind an open one."""
    shown = _cut(sendable(text), growing=True)
    shown = found["inner"] if (found := _WRAPPED_SO_FAR.match(shown)) else shown
    bare = _without_marks_around(shown).replace("\\", "").upper()
    if any(word.startswith(bare) for word in SILENT_WORDS):
        return ""
    half = _HALF_WORD.search(shown)
    if half and any(word.startswith(half["word"].upper().replace("\\", "")) for word in SILENT_WORDS):
        shown = shown[: half.start()]
    return visible(shown)


def _without_marks_around(text: str) -> str:
    """From its first letter to its last."""
    first, last = _LETTERS.search(text), _LETTERS.search(text[::-1])
    return text[first.start() : len(text) - last.start()] if first and last else ""


def _is_silence(text: str) -> bool:
    return not text or bool(_ALONE.fullmatch(text) or _AS_OBJECT.fullmatch(text))


def _cut(text: str, *, growing: bool = False) -> str:
    """The text without the spans that are not for readers; growing: also without an end that may become a mark."""
    scan = _scanned(text, growing=growing)
    rest = text[scan.at :]
    if growing and not scan.in_code:
        rest = _without_half_mark(rest)
    scan.keep(rest)
    return "".join(scan.kept)


def _scanned(text: str, *, growing: bool = False) -> _Scan:
    scan = _Scan(text, growing)
    while scan.at < len(text) and (mark := _MARK.search(text, scan.at)):
        scan.take(mark)
    return scan


@dataclass
class _Scan:
    """A walk over a text. at: where it goes on; kept: what readers may see; since: how much of it came before the last cut."""

    text: str
    growing: bool = False
    at: int = 0
    kept: list[str] = field(default_factory=list)
    since: int = 0
    code: list[tuple[int, int]] = field(default_factory=list)  # offsets of fences and code spans in the text
    in_code: bool = False  # the text ends within a fence

    def __post_init__(self) -> None:
        self._ticks = _Ticks(self.text)
        self._last_bracket = max((found.end() for found in model_marks.bracket_end("[").finditer(self.text)), default=0)

    def take(self, mark: re.Match[str]) -> None:
        self.keep(self.text[self.at : mark.start()])
        self.at = mark.end()
        if mark["fence"]:
            self._keep_fence(mark)
        elif mark["ticks"]:
            self.at = self._ticks.end_of_code(mark.start(), mark.end())
            self._keep_code(mark.start())
        else:
            self._drop(mark)

    def keep(self, piece: str) -> None:
        """What a cut leaves behind at the start of a line is no empty line."""
        if len(self.kept) == self.since and (not self.since or self.kept[-1].endswith("\n")):
            piece = piece.lstrip()
        if piece:
            self.kept.append(piece)

    def _keep_fence(self, mark: re.Match[str]) -> None:
        fence = mark["fence"]
        closing = re.compile(rf"^[ \t]*(?:>[ \t]?)*{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        found = closing.search(self.text, mark.end())
        self.in_code, self.at = found is None, found.end() if found else len(self.text)
        self._keep_code(mark.start())

    def _keep_code(self, start: int) -> None:
        self.code.append((start, self.at))
        self.keep(self.text[start : self.at])

    def _drop(self, mark: re.Match[str]) -> None:
        if mark["bracket"] and not _is_end(mark) and not self._opens(mark):
            self.keep(mark[0])
            return
        if _is_end(mark):
            # Its opening mark stood in the prompt: all since the last cut was not for readers.
            del self.kept[self.since :]
        elif mark["call"]:
            self.at = model_marks.end_of_call(self.text, mark[0], self.at)
        elif end := _end_of_span(mark):
            within = _opening_of(mark) if self.growing else None
            self.at = self._after_all(within, end) if within else self._after(end)
        if self.kept and mark["directive"]:
            self.kept[-1] = self.kept[-1].rstrip(" \t")
        self.since = len(self.kept)

    def _opens(self, mark: re.Match[str]) -> bool:
        """Whether a mark in brackets opens a span. What is not closed yet is hidden where it may be, and decided at the end."""
        if not model_marks.is_perhaps_a_word(mark[0]) or self._last_bracket > mark.end():
            return True
        if self.growing:
            before = self.text[: mark.start()][-1:]
            return before in ("", "\n") or not before.isspace()
        return "thinking" not in mark[0].lower() and not any(piece.strip() for piece in self.kept)

    def _after_all(self, opening: re.Pattern[str], closing: re.Pattern[str]) -> int:
        """Where the span ends with all that was opened within it: what stands behind the first end may still be thinking."""
        depth = 1
        either = re.compile(f"(?P<opened>{opening.pattern})|{closing.pattern}", re.IGNORECASE)
        for found in either.finditer(self.text, self.at):
            depth += 1 if found["opened"] else -1
            if not depth:
                return found.end()
        return len(self.text)

    def _after(self, closing: re.Pattern[str]) -> int:
        """Where the span ends: an open one hides all that follows."""
        found = closing.search(self.text, self.at)
        return found.end() if found else len(self.text)


def _is_end(mark: re.Match[str]) -> bool:
    """Whether the mark ends what is not for readers."""
    closes = bool(mark["close"]) and mark["tag"].lower() != model_marks.ANSWER
    return (
        closes
        or bool(mark["end"])
        or not {"/", "／"}.isdisjoint(mark["bracket"] or "")
        or model_marks.ends_thinking(mark["named"] or "")
    )


def _end_of_span(mark: re.Match[str]) -> re.Pattern[str] | None:
    """What ends the span that a mark opens; None where only the mark is cut."""
    tag = (mark["tag"] or "").lower()
    if mark["bracket"]:
        return model_marks.bracket_end(mark["bracket"])
    if model_marks.is_hidden_span(tag) and not mark[0].endswith(("/>", "/＞")):
        return model_marks.closing(tag)
    if mark["half"] or mark["unused"]:
        return model_marks.half_end(mark["half"]) if mark["half"] else model_marks.UNUSED_END
    if mark["channel"] and (mark["name"] or "").lower() != model_marks.ANSWER:
        return model_marks.CHANNEL_END
    if mark["block"]:
        return re.compile(rf"<<<END_{mark['block']}[^<>\n]{{0,200}}>>>", re.IGNORECASE)
    if mark["directive"] and _SPOKEN.fullmatch(mark[0]):
        return _SPOKEN_END
    return model_marks.special_end(mark["named"] or "")


def _opening_of(mark: re.Match[str]) -> re.Pattern[str] | None:
    """What opens another span within the one that a mark opens; None where such spans hold no others."""
    if mark["bracket"]:
        return model_marks.bracket_opening(mark["bracket"])
    return model_marks.opening(mark["tag"].lower()) if mark["tag"] else None


class _Run(NamedTuple):
    start: int
    end: int


class _Ticks:
    """The runs of backticks of a text, by length: a code span ends at the next run as long as its first, in the same paragraph."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.runs: dict[int, list[_Run]] = {}
        for found in re.finditer("`+", text):
            self.runs.setdefault(len(found[0]), []).append(_Run(found.start(), found.end()))
        self.blank = [found.start() for found in re.finditer(r"\n[ \t]*\n", text)]

    def end_of_code(self, start: int, end: int) -> int:
        """The end of the code span that a run opens, or of the run where it opens none."""
        same = self.runs.get(end - start, [])
        after = bisect_right(same, end, key=lambda run: run.start - 1)
        if after == len(same):
            return end
        paragraph = bisect_right(self.blank, end - 1)
        closed = paragraph == len(self.blank) or same[after].start < self.blank[paragraph]
        return same[after].end if closed else end


def _in_code(text: str, index: int) -> bool:
    scan = _scanned(text)
    return any(start <= index < end for start, end in scan.code)


def _without_half_mark(text: str) -> str:
    for half in (_HALF_TAG.search(text), _HALF_DIRECTIVE.search(text)):
        if half and _may_become_mark(half[0].lower()):
            return text[: half.start()]
    call = _HALF_CALL.search(text)
    if call and any(words.startswith(call["words"].lower()) for words in _CALLS):
        return text[: call.start()]
    return _HALF_BRACKET.sub("", text)


def _may_become_mark(half: str) -> bool:
    if half.startswith(("<", "＜")):
        name = re.sub(rf"^[<＜][ \t]{{0,8}}[/／]?[ \t]{{0,8}}{model_marks.NAMESPACE}", "", half)
        named = any(tag.startswith(name) or re.match(rf"{tag}(?![\w-])", name) for tag in model_marks.TAGS)
        return half.startswith(("<<", "<|", "<｜")) or bool(_HALF_NAMESPACE.fullmatch(half)) or named
    name = half.removeprefix("[").removeprefix("[").rstrip("]").strip()
    word = name.partition(":")[0].rstrip()
    known = (*_BARE, *_WITH_VALUE)
    return half.startswith("[[") and (any(each.startswith(name) for each in known) or word in known) or half == "["
