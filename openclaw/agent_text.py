"""Keeps of an agent's text what is meant for readers. Pure; linear time.

OpenClaw's own channels remove the same: thinking, internal blocks, directives in double brackets and the words for silence. In
fences and inline code such words are content and stay. The marks are those of OpenClaw 2026.7 to 2026.9 and its documentation.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from channels_wechat.contract.text import sendable
from openclaw import model_marks

# At most this many words for silence are removed from the end of a text.
MAX_SILENT_WORDS: Final = 10
SILENT_WORDS: Final = ("NO_REPLY", "HEARTBEAT_OK")
# Ours: the agent hands over to the company's staff.
HANDOVER: Final = "handover"
_DIRECTIVES: Final = (HANDOVER, "reply_to_current", "audio_as_voice", "tts", "/tts")
_DIRECTIVES_WITH_VALUE: Final = (
    *("reply_to", "tts", "/tts", "quick_replies", "location", "confirm", "buttons", "media_player", "event", "agenda"),
    *("device", "appletv_remote", HANDOVER),
)
_DIRECTIVE: Final = rf"\[\[[ \t]*(?:(?:{'|'.join(_DIRECTIVES)})|(?:{'|'.join(_DIRECTIVES_WITH_VALUE)})[ \t]*:[^\]\n]{{0,300}})[ \t]*\]\]"
_MARK: Final = re.compile(
    r"^[ \t]*(?:>[ \t]?)*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[^\n]*$"
    r"|(?P<ticks>`+)"
    rf"|{model_marks.TAG}|{model_marks.BRACKET}|{model_marks.ONE_BAR}|{model_marks.DOWNGRADED}"
    r"|<<<(?P<end>END_)?(?:BEGIN_)?(?P<block>[A-Z][A-Z_]{3,60})[^<>\n]{0,200}>>>"
    rf"|(?P<directive>{_DIRECTIVE})"
    r"|<\|(?:im_)?start\|>[\w.-]*"
    r"|(?P<channel><\|channel\|>)[ \t]*(?P<name>\w*)[^<>\n]{0,60}(?:<\|message\|>)?"
    rf"|{model_marks.SPECIAL}",
    re.MULTILINE | re.IGNORECASE,
)
_HANDOVER: Final = re.compile(rf"\[\[[ \t]*{HANDOVER}[ \t]*(?::(?P<why>[^\]\n]*))?\]\]", re.IGNORECASE)
_SPEECH: Final = re.compile(r"\[\[[ \t]*tts[ \t]*:[ \t]*text[ \t]*\]\]", re.IGNORECASE)
_SPEECH_END: Final = re.compile(r"\[\[[ \t]*/[ \t]*tts[ \t]*:[ \t]*text[ \t]*\]\]", re.IGNORECASE)

_SILENT_PATTERN: Final = "|".join(word.replace("_", r"\\?_") for word in SILENT_WORDS)  # in Markdown `_` may be escaped
_ONLY_SILENT_WORDS: Final = re.compile(rf"[\W_]*(?:(?:{_SILENT_PATTERN})[\W_]*)+", re.IGNORECASE)
_SILENT_OBJECT: Final = re.compile(r'(?:```\w*\s*)?\{\s*"action"\s*:\s*"NO_REPLY"\s*\}(?:\s*```)?', re.IGNORECASE)
# Some models put their whole answer into a tag.
_WRAPPED_ANSWER: Final = re.compile(r"\A<(answer|response)>(?P<inner>.*)</\1>\Z", re.IGNORECASE | re.DOTALL)
_WRAPPED_ANSWER_SO_FAR: Final = re.compile(
    r"\A<(answer|response)>\s*(?P<inner>.*?)(?:<(?:/\w{0,8})?)?\Z", re.IGNORECASE | re.DOTALL
)
_SILENT_START: Final = re.compile(rf"[\s*_~]*(?:{_SILENT_PATTERN})[*_~.。!！]*[ \t]*\n\s*", re.IGNORECASE)
_SILENT_END: Final = re.compile(rf"(?<![A-Za-z0-9_])(?:{_SILENT_PATTERN})(?:(?!`)[\W_])*\Z", re.IGNORECASE)
_OPENING_MARKS: Final = " \t\r\n*_~#<＜>\"'“‘「『(（[【"

# How the end of a text that is not complete may become a mark.
_HALF_TAG: Final = re.compile(r"[<＜][^<>＜＞]{0,600}\Z|<{1,3}[^<>\n]{0,300}>{0,2}\Z")
_HALF_NAMESPACE: Final = re.compile(r"[<＜][/／]?[a-z][a-z0-9_-]{0,20}")
_HALF_BRACKET: Final = re.compile(
    r"[\[［【][ \t]{0,8}[/／]?[ \t]{0,8}(?i:t(?:h(?:i(?:n(?:k(?:i(?:n(?:g)?)?)?)?)?)?)?)?[ \t]{0,8}\Z"
    r"|\[TOOL_?C?A?L?L?S?\Z|\[(?i:tool (?:call|result)|historical context)[^\]\n]{0,300}\Z|◁[^◁▷\n]{0,20}\Z"
)
_HALF_CALL: Final = re.compile(r"\[(?P<words>[a-z ]{1,18})\Z", re.IGNORECASE)
_CALL_STARTS: Final = ("tool call:", "tool result for id", "historical context:")
_HALF_DIRECTIVE: Final = re.compile(r"\[{1,2}[^\[\]\n]{0,300}\]?\Z")
_HALF_WORD: Final = re.compile(r"(?<![A-Za-z0-9_`])[*_~]{0,8}(?P<word>[A-Za-z_\\]{2,14})\Z")
_LETTERS: Final = re.compile(r"[^\W_]")


def keep_visible(text: str) -> str:
    """Return what readers may see of a complete text; empty if the agent chose to say nothing."""
    visible = _remove_hidden_spans(sendable(text)).strip()
    visible = match["inner"].strip() if (match := _WRAPPED_ANSWER.match(visible)) else visible
    if _is_silence(visible):
        return ""
    visible = _SILENT_START.sub("", visible, count=1) if _SILENT_START.match(visible) else visible
    for _ in range(MAX_SILENT_WORDS):
        end = _SILENT_END.search(visible)
        if end is None or _is_in_code(visible, end.start()):
            break
        visible = visible[: end.start()].rstrip(_OPENING_MARKS)
    return visible


def find_handover(text: str) -> str | None:
    """Return why the agent hands over to staff; empty where it does not say why, None where it does not hand over.

    The mark counts where readers would see it: not in code, and not in what the agent only thought.
    """
    return _scan(sendable(text)).handover


def keep_visible_so_far(text: str) -> str:
    """Return what readers may see of a text that is not complete: nothing that may become a mark, or that follows an open one."""
    visible = _remove_hidden_spans(sendable(text), growing=True)
    visible = match["inner"] if (match := _WRAPPED_ANSWER_SO_FAR.match(visible)) else visible
    letters = _strip_to_letters(visible).replace("\\", "").upper()
    if any(word.startswith(letters) for word in SILENT_WORDS):
        return ""
    half_word = _HALF_WORD.search(visible)
    if half_word and any(word.startswith(half_word["word"].upper().replace("\\", "")) for word in SILENT_WORDS):
        visible = visible[: half_word.start()]
    return keep_visible(visible)


def _strip_to_letters(text: str) -> str:
    """Return the text from its first letter or digit to its last."""
    first, last = _LETTERS.search(text), _LETTERS.search(text[::-1])
    return text[first.start() : len(text) - last.start()] if first and last else ""


def _is_silence(text: str) -> bool:
    return not text or bool(_ONLY_SILENT_WORDS.fullmatch(text) or _SILENT_OBJECT.fullmatch(text))


def _remove_hidden_spans(text: str, *, growing: bool = False) -> str:
    """Return the text without the spans that are not for readers. growing: also without an end that may become a mark."""
    scan = _scan(text, growing=growing)
    rest = text[scan.position :]
    if growing and not scan.in_code:
        rest = _remove_half_mark(rest)
    scan.keep_text(rest)
    return "".join(scan.visible_pieces)


def _scan(text: str, *, growing: bool = False) -> _Scan:
    scan = _Scan(text, growing)
    while scan.position < len(text) and (mark := _MARK.search(text, scan.position)):
        scan.read_mark(mark)
    return scan


@dataclass
class _Scan:
    """Walks over a text. position: where it goes on; visible_pieces: what readers may see.

    first_after_cut: the index in `visible_pieces` of the first piece after the last cut.
    """

    text: str
    growing: bool = False
    position: int = 0
    visible_pieces: list[str] = field(default_factory=list)
    first_after_cut: int = 0
    code: list[tuple[int, int]] = field(default_factory=list)  # offsets of fences and code spans in the text
    in_code: bool = False  # the text ends within a fence
    handover: str | None = None  # as in `find_handover`

    def __post_init__(self) -> None:
        self._ticks = _TickRuns(self.text)
        self._last_bracket = max(
            (match.end() for match in model_marks.bracket_end_pattern("[").finditer(self.text)), default=0
        )

    def read_mark(self, mark: re.Match[str]) -> None:
        self.keep_text(self.text[self.position : mark.start()])
        self.position = mark.end()
        if mark["fence"]:
            self._keep_fence(mark)
        elif mark["ticks"]:
            self.position = self._ticks.find_end_of_code(mark.start(), mark.end())
            self._keep_code(mark.start())
        else:
            self._hide(mark)

    def keep_text(self, piece: str) -> None:
        """Keep a piece for readers. A cut at the start of a line must leave no empty line, so the piece loses its leading spaces."""
        if len(self.visible_pieces) == self.first_after_cut and (
            not self.first_after_cut or self.visible_pieces[-1].endswith("\n")
        ):
            piece = piece.lstrip()
        if piece:
            self.visible_pieces.append(piece)

    def _keep_fence(self, mark: re.Match[str]) -> None:
        fence = mark["fence"]
        closing = re.compile(rf"^[ \t]*(?:>[ \t]?)*{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        end = closing.search(self.text, mark.end())
        self.in_code, self.position = end is None, end.end() if end else len(self.text)
        self._keep_code(mark.start())

    def _keep_code(self, start: int) -> None:
        self.code.append((start, self.position))
        self.keep_text(self.text[start : self.position])

    def _hide(self, mark: re.Match[str]) -> None:
        if mark["bracket"] and not _ends_span(mark) and not self._opens_span(mark):
            self.keep_text(mark[0])
            return
        if _ends_span(mark):
            # Its opening mark was in the prompt, so everything since the last cut was not for readers.
            del self.visible_pieces[self.first_after_cut :]
            self.handover = None
        elif mark["call"]:
            self.position = model_marks.find_end_of_call(self.text, mark[0], self.position)
        elif end := _find_end_pattern(mark):
            within = _find_opening_pattern(mark) if self.growing else None
            self.position = self._end_with_nested(within, end) if within else self._end_of(end)
        if mark["directive"] and (call := _HANDOVER.fullmatch(mark[0])):
            self.handover = (call["why"] or "").strip()
        if self.visible_pieces and mark["directive"]:
            self.visible_pieces[-1] = self.visible_pieces[-1].rstrip(" \t")
        self.first_after_cut = len(self.visible_pieces)

    def _opens_span(self, mark: re.Match[str]) -> bool:
        """Whether a mark in brackets opens a span. While the text grows, one that is not closed hides what follows if it may be a mark."""
        if not model_marks.may_be_a_word(mark[0]) or self._last_bracket > mark.end():
            return True
        if self.growing:
            before = self.text[: mark.start()][-1:]
            return before in ("", "\n") or not before.isspace()
        return "thinking" not in mark[0].lower() and not any(piece.strip() for piece in self.visible_pieces)

    def _end_with_nested(self, opening: re.Pattern[str], closing: re.Pattern[str]) -> int:
        """Return where the span ends, with the spans inside it: what follows the first end may still be thinking."""
        depth = 1
        either = re.compile(f"(?P<opened>{opening.pattern})|{closing.pattern}", re.IGNORECASE)
        for match in either.finditer(self.text, self.position):
            depth += 1 if match["opened"] else -1
            if not depth:
                return match.end()
        return len(self.text)

    def _end_of(self, closing: re.Pattern[str]) -> int:
        """Return where the span ends; at the end of the text if it is open, because that hides all that follows."""
        end = closing.search(self.text, self.position)
        return end.end() if end else len(self.text)


def _ends_span(mark: re.Match[str]) -> bool:
    """Whether the mark ends a span that is not for readers."""
    closes = bool(mark["close"]) and mark["tag"].lower() != model_marks.ANSWER_TAG
    return (
        closes
        or bool(mark["end"])
        or not {"/", "／"}.isdisjoint(mark["bracket"] or "")
        or model_marks.ends_thinking(mark["named"] or "")
    )


def _find_end_pattern(mark: re.Match[str]) -> re.Pattern[str] | None:
    """Return the pattern that ends the span of this mark; None if only the mark itself is removed."""
    tag = (mark["tag"] or "").lower()
    if mark["bracket"]:
        return model_marks.bracket_end_pattern(mark["bracket"])
    if model_marks.is_hidden_span(tag) and not mark[0].endswith(("/>", "/＞")):
        return model_marks.closing_pattern(tag)
    if mark["half"] or mark["unused"]:
        return model_marks.one_bar_end_pattern(mark["half"]) if mark["half"] else model_marks.UNUSED_END
    if mark["channel"] and (mark["name"] or "").lower() != model_marks.ANSWER_TAG:
        return model_marks.CHANNEL_END
    if mark["block"]:
        return re.compile(rf"<<<END_{mark['block']}[^<>\n]{{0,200}}>>>", re.IGNORECASE)
    if mark["directive"] and _SPEECH.fullmatch(mark[0]):
        return _SPEECH_END
    return model_marks.special_end_pattern(mark["named"] or "")


def _find_opening_pattern(mark: re.Match[str]) -> re.Pattern[str] | None:
    """Return the pattern that opens another span inside the span of this mark; None if such spans have none inside."""
    if mark["bracket"]:
        return model_marks.bracket_opening_pattern(mark["bracket"])
    return model_marks.opening_pattern(mark["tag"].lower()) if mark["tag"] else None


class _TickRun(NamedTuple):
    start: int
    end: int


class _TickRuns:
    """The runs of backticks in a text, by length. A code span ends at the next run of the same length, in the same paragraph."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.runs: dict[int, list[_TickRun]] = {}
        for match in re.finditer("`+", text):
            self.runs.setdefault(len(match[0]), []).append(_TickRun(match.start(), match.end()))
        self.paragraph_ends = [match.start() for match in re.finditer(r"\n[ \t]*\n", text)]

    def find_end_of_code(self, start: int, end: int) -> int:
        """Return the end of the code span that a run opens, or the end of the run if it opens none."""
        runs = self.runs.get(end - start, [])
        index = bisect_right(runs, end, key=lambda run: run.start - 1)
        if index == len(runs):
            return end
        paragraph = bisect_right(self.paragraph_ends, end - 1)
        closed = paragraph == len(self.paragraph_ends) or runs[index].start < self.paragraph_ends[paragraph]
        return runs[index].end if closed else end


def _is_in_code(text: str, index: int) -> bool:
    scan = _scan(text)
    return any(start <= index < end for start, end in scan.code)


def _remove_half_mark(text: str) -> str:
    for half_mark in (_HALF_TAG.search(text), _HALF_DIRECTIVE.search(text)):
        if half_mark and _may_become_mark(half_mark[0].lower()):
            return text[: half_mark.start()]
    call = _HALF_CALL.search(text)
    if call and any(start.startswith(call["words"].lower()) for start in _CALL_STARTS):
        return text[: call.start()]
    return _HALF_BRACKET.sub("", text)


def _may_become_mark(half: str) -> bool:
    if half.startswith(("<", "＜")):
        name = re.sub(rf"^[<＜][ \t]{{0,8}}[/／]?[ \t]{{0,8}}{model_marks.NAMESPACE}", "", half)
        is_known_tag = any(tag.startswith(name) or re.match(rf"{tag}(?![\w-])", name) for tag in model_marks.TAGS)
        return half.startswith(("<<", "<|", "<｜")) or bool(_HALF_NAMESPACE.fullmatch(half)) or is_known_tag
    name = half.removeprefix("[").removeprefix("[").rstrip("]").strip()
    word = name.partition(":")[0].rstrip()
    known = (*_DIRECTIVES, *_DIRECTIVES_WITH_VALUE)
    return half.startswith("[[") and (any(each.startswith(name) for each in known) or word in known) or half == "["
