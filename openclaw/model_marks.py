"""The marks that models put around their thinking and their tool calls, and the patterns that end such a span. Pure; linear time.

A gateway removes the marks that it knows. Those of a model that is not configured correctly stay in its text.
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
ANSWER_TAG: Final = "final"  # a tag around the answer itself: only the tag is removed
TAGS: Final = (*_FAMILIES, ANSWER_TAG)
# Spaces inside a mark. Without a limit, a search with two such gaps in a row would take quadratic time.
_GAP: Final = r"[ \t]{0,8}"
NAMESPACE: Final = r"(?:[a-z][a-z0-9_-]{0,20}:)?"
# People write `<function>` too; the call of a model has a name in it.
_TAG_NAMES: Final = (
    "|".join(sorted(set(TAGS) - {"function"}, key=len, reverse=True)) + rf"|function(?==|[ \t]{{1,8}}name{_GAP}=)"
)
_WORD_END: Final = r"(?![\w-])"
# Models that write Chinese sometimes write full-width tags.
_TAG_END: Final = rf"{_WORD_END}[^<>＜＞]{{0,500}}[>＞]"
TAG: Final = rf"[<＜]{_GAP}(?P<close>[/／]?){_GAP}{NAMESPACE}(?P<tag>{_TAG_NAMES}){_TAG_END}"

# Magistral and Kimi have brackets of their own for thinking, Mistral for calls; the marks of Gemma have one bar.
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
# Magistral writes its mark like this. With small letters it may be a word in brackets.
_CERTAIN_BRACKETS: Final = re.compile(rf"\[THINK\]|◁{_THINK}▷")
ONE_BAR: Final = r"<(?:\|(?P<half>channel|tool_call|tool_response|tool)|(?P<unused>unused94))>"
UNUSED_END: Final = re.compile("<unused95>")
# How OpenClaw itself writes tool calls for a model without tools, and what it puts before earlier messages.
DOWNGRADED: Final = (
    r"(?P<call>(?-i:\[TOOL_CALLS\])|\[Tool Call:[^\]\n]{0,300}\]|\[Tool Result for ID[^\]\n]{0,300}\]"
    r"|\[Historical context:[^\]\n]{0,300}\]\n?)"
)
SPECIAL: Final = r"(?P<special><[|｜](?P<named>[^|｜<>\n]{1,40})[|｜]>)"

# gpt-oss writes into channels. What is for readers is in the channel "final".
CHANNEL_END: Final = re.compile(r"<\|(?:end|call|return)\|>|(?=<\|(?:start|channel)\|>)")
_HIDING_NAMES: Final = re.compile(
    r"(?:begin|start)_.*(?:think|thought|reason|tool|function|action|call).*|.*(?:think|thought|reason|tool|function|action|call).*_(?:begin|start)"
    r"|think|thinking|thought|reasoning|python_tag|tool_calls?|function_calls?"
)
_NAMES_THAT_END_THINKING: Final = re.compile(r"(?:/|end_).*(?:think|thought|reason).*|.*(?:think|thought|reason).*_end")
_SPECIAL_END: Final = re.compile(
    r"<[|｜][ ]{0,8}(?:/|end[_▁])[^|｜<>\n]{1,40}[|｜]>|<[|｜][^|｜<>\n]{1,36}[_▁]end[|｜]>|<\|(?:eo[mt]_id|eo[mt]|call|im_end)\|>",
    re.IGNORECASE,
)
_ARGUMENTS: Final = re.compile(r"\s*(?:Arguments:\s*)?(?=[\[{])", re.IGNORECASE)
_NEXT_CALL: Final = re.compile(r"\n*(?=\[Tool (?:Call:|Result for ID))|\Z", re.IGNORECASE)
_LINE_END: Final = re.compile(r"\n|\Z")
_DECODER: Final = json.JSONDecoder(strict=False)


def closing_pattern(tag: str) -> re.Pattern[str]:
    """Return the pattern that ends the span of this tag: the end tag of any tag of its family."""
    family = "|".join(_FAMILIES[tag])
    return re.compile(rf"[<＜]{_GAP}[/／]{_GAP}{NAMESPACE}(?:{family}){_TAG_END}", re.IGNORECASE)


def opening_pattern(tag: str) -> re.Pattern[str]:
    """Return the pattern that opens a span inside the span of this tag: any tag of its family that does not end with `/>`."""
    family = "|".join(_FAMILIES[tag])
    return re.compile(rf"[<＜]{_GAP}{NAMESPACE}(?:{family}){_TAG_END}(?<!/[>＞])", re.IGNORECASE)


def is_hidden_span(tag: str) -> bool:
    return tag in _FAMILIES


def bracket_end_pattern(mark: str) -> re.Pattern[str]:
    return _BRACKET_END[mark.startswith("◁")]


def bracket_opening_pattern(mark: str) -> re.Pattern[str]:
    return _BRACKET_OPENING[mark.startswith("◁")]


def may_be_a_word(bracket: str) -> bool:
    """Whether people may write these brackets too. Then they open a span only if it is closed, or if no text comes before."""
    return not _CERTAIN_BRACKETS.fullmatch(bracket)


def one_bar_end_pattern(name: str) -> re.Pattern[str]:
    """Return the pattern that ends the span of Gemma's `<|name>`."""
    return re.compile(rf"<{name}\|>", re.IGNORECASE)


def special_end_pattern(name: str) -> re.Pattern[str] | None:
    """Return the pattern that ends the span of the token `<|name|>`; None if it opens no span."""
    return _SPECIAL_END if _HIDING_NAMES.fullmatch(_normalize(name)) else None


def ends_thinking(name: str) -> bool:
    """Whether the token `<|name|>` ends a model's thinking. Its opening mark may have been in the prompt."""
    return bool(_NAMES_THAT_END_THINKING.fullmatch(_normalize(name)))


def find_end_of_call(text: str, mark: str, position: int) -> int:
    """Return where a downgraded call ends: after its JSON arguments; a result, before the next call. position: the end of its mark."""
    if mark.lower().startswith("[historical"):
        return position
    if mark.lower().startswith("[tool result"):
        return _find_end(_NEXT_CALL, text, position)
    arguments = _ARGUMENTS.match(text, position)
    if arguments is None:
        return position
    try:
        return _DECODER.raw_decode(text, arguments.end())[1]
    except (ValueError, RecursionError):  # incomplete JSON, or no JSON
        return _find_end(_LINE_END, text, arguments.end()) if mark == "[TOOL_CALLS]" else len(text)


def _find_end(end: re.Pattern[str], text: str, position: int) -> int:
    match = end.search(text, position)
    return match.end() if match else len(text)


def _normalize(name: str) -> str:
    return name.strip().lower().replace("▁", "_")
