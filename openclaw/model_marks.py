"""The marks with which models wrap their thinking and their calls of tools, and where such a span ends. Pure; linear time.

A gateway takes off what it knows of them; a model that its configuration does not fit leaks the rest into its text.
"""

from __future__ import annotations

import json
import re
from typing import Final

_THINKING: Final = (
    *("think", "thinking", "thought", "thoughts", "reasoning", "reasoning_content", "antthinking", "inner_thoughts", "scratchpad"),
    *("inner_monologue", "internal_monologue", "chain_of_thought", "thinking_process", "reflection", "analysis"),
)  # fmt: skip
_INTERNAL: Final = ("relevant-memories", "relevant_memories", "system-reminder", "system_reminder")
_TOOLS: Final = (
    *(
        "tool_call",
        "tool_calls",
        "tool_use",
        "tool_code",
        "tool_result",
        "tool_results",
        "tool_response",
        "tool_output",
    ),
    *("function_call", "function_calls", "function_result", "function_results", "invoke", "function"),
)
_FAMILIES: Final = {name: family for family in (_THINKING, _INTERNAL, _TOOLS) for name in family}
ANSWER: Final = "final"  # a tag round the answer itself: only the tag is cut
TAGS: Final = (*_FAMILIES, ANSWER)
# Blanks within a mark. Without an end to them, two such gaps in a row would take a time that grows with the square of their number.
_GAP: Final = r"[ \t]{0,8}"
NAMESPACE: Final = r"(?:[a-z][a-z0-9_-]{0,20}:)?"
# `<function>` alone is a word that people use; a model's call has a name in it.
_NAMES: Final = (
    "|".join(sorted(set(TAGS) - {"function"}, key=len, reverse=True)) + rf"|function(?==|[ \t]{{1,8}}name{_GAP}=)"
)
_WHOLE: Final = r"(?![\w-])"
# Models that write Chinese put their tags into full width now and then.
_TAG_END: Final = rf"{_WHOLE}[^<>＜＞]{{0,500}}[>＞]"
OPENED: Final = rf"[<＜]{_GAP}(?P<close>[/／]?){_GAP}{NAMESPACE}(?P<tag>{_NAMES}){_TAG_END}"

# Magistral and Kimi put their thinking into brackets of their own, Mistral its calls; Gemma has marks with one bar.
_THINK: Final = rf"{_GAP}think(?:ing)?{_GAP}"
BRACKET: Final = rf"(?P<bracket>(?-i:\[THINK\])|[\[［【]{_GAP}[/／]{_THINK}[\]］】]|[\[［【]{_THINK}[\]］】](?![(\[:])|◁{_GAP}/?{_THINK}▷)"
_BRACKET_END: Final = {
    False: re.compile(rf"[\[［【]{_GAP}[/／]{_THINK}[\]］】]", re.IGNORECASE),
    True: re.compile(rf"◁{_GAP}/{_THINK}▷", re.IGNORECASE),
}
_BRACKET_OPENING: Final = {
    False: re.compile(rf"[\[［【]{_THINK}[\]］】]", re.IGNORECASE),
    True: re.compile(rf"◁{_THINK}▷", re.IGNORECASE),
}
# As a mark of Magistral's it is written like this; in another case it may be a word in brackets.
_MARKS_ONLY: Final = re.compile(rf"\[THINK\]|◁{_THINK}▷")
ONE_BAR: Final = r"<(?:\|(?P<half>channel|tool_call|tool_response|tool)|(?P<unused>unused94))>"
UNUSED_END: Final = re.compile("<unused95>")
# Words in which OpenClaw itself writes calls of tools for a model that has none, and its name for what was said before.
DOWNGRADED: Final = (
    r"(?P<call>(?-i:\[TOOL_CALLS\])|\[Tool Call:[^\]\n]{0,300}\]|\[Tool Result for ID[^\]\n]{0,300}\]"
    r"|\[Historical context:[^\]\n]{0,300}\]\n?)"
)
SPECIAL: Final = r"(?P<special><[|｜](?P<named>[^|｜<>\n]{1,40})[|｜]>)"

# gpt-oss names what it says to itself a channel of its own; what is for readers stands in the channel "final".
CHANNEL_END: Final = re.compile(r"<\|(?:end|call|return)\|>|(?=<\|(?:start|channel)\|>)")
_HIDING: Final = re.compile(
    r"(?:begin|start)_.*(?:think|thought|reason|tool|function|action|call).*|.*(?:think|thought|reason|tool|function|action|call).*_(?:begin|start)"
    r"|think|thinking|thought|reasoning|python_tag|tool_calls?|function_calls?"
)
_SHOWING: Final = re.compile(r"(?:/|end_).*(?:think|thought|reason).*|.*(?:think|thought|reason).*_end")
_SPECIAL_END: Final = re.compile(
    r"<[|｜][ ]{0,8}(?:/|end[_▁])[^|｜<>\n]{1,40}[|｜]>|<[|｜][^|｜<>\n]{1,36}[_▁]end[|｜]>|<\|(?:eo[mt]_id|eo[mt]|call|im_end)\|>",
    re.IGNORECASE,
)
_ARGUMENTS: Final = re.compile(r"\s*(?:Arguments:\s*)?(?=[\[{])", re.IGNORECASE)
_NEXT_CALL: Final = re.compile(r"\n*(?=\[Tool (?:Call:|Result for ID))|\Z", re.IGNORECASE)
_LINE_END: Final = re.compile(r"\n|\Z")
_DECODER: Final = json.JSONDecoder(strict=False)


def closing(tag: str) -> re.Pattern[str]:
    """What ends the span that a tag opens: any tag of its family."""
    family = "|".join(_FAMILIES[tag])
    return re.compile(rf"[<＜]{_GAP}[/／]{_GAP}{NAMESPACE}(?:{family}){_TAG_END}", re.IGNORECASE)


def opening(tag: str) -> re.Pattern[str]:
    """What opens a span within the one that a tag opened: any tag of its family that is not closed in itself."""
    family = "|".join(_FAMILIES[tag])
    return re.compile(rf"[<＜]{_GAP}{NAMESPACE}(?:{family}){_TAG_END}(?<!/[>＞])", re.IGNORECASE)


def is_hidden_span(tag: str) -> bool:
    return tag in _FAMILIES


def bracket_end(mark: str) -> re.Pattern[str]:
    return _BRACKET_END[mark.startswith("◁")]


def bracket_opening(mark: str) -> re.Pattern[str]:
    return _BRACKET_OPENING[mark.startswith("◁")]


def is_perhaps_a_word(bracket: str) -> bool:
    """Whether people write this in brackets too: then it opens a span only where that is closed, or where nothing was said before."""
    return not _MARKS_ONLY.fullmatch(bracket)


def half_end(name: str) -> re.Pattern[str]:
    """What ends Gemma's `<|name>`."""
    return re.compile(rf"<{name}\|>", re.IGNORECASE)


def special_end(name: str) -> re.Pattern[str] | None:
    """What ends the span that the token `<|name|>` opens; None where it opens none."""
    return _SPECIAL_END if _HIDING.fullmatch(_plain(name)) else None


def ends_thinking(name: str) -> bool:
    """Whether the token `<|name|>` ends a model's thinking; its opening mark may have stood in the prompt."""
    return bool(_SHOWING.fullmatch(_plain(name)))


def end_of_call(text: str, mark: str, at: int) -> int:
    """Where a downgraded call ends, whose mark ends at `at`: with its arguments in JSON; a result before the next call."""
    if mark.lower().startswith("[historical"):
        return at
    if mark.lower().startswith("[tool result"):
        return _found(_NEXT_CALL, text, at)
    arguments = _ARGUMENTS.match(text, at)
    if arguments is None:
        return at
    try:
        return _DECODER.raw_decode(text, arguments.end())[1]
    except (ValueError, RecursionError):  # not written to its end, or none
        return _found(_LINE_END, text, arguments.end()) if mark == "[TOOL_CALLS]" else len(text)


def _found(end: re.Pattern[str], text: str, at: int) -> int:
    found = end.search(text, at)
    return found.end() if found else len(text)


def _plain(name: str) -> str:
    return name.strip().lower().replace("▁", "_")
