"""What of an agent's text reaches readers: no thinking, no internal blocks, no directives, no words for silence."""

from __future__ import annotations

import time

import pytest

from openclaw.agent_text import keep_visible, keep_visible_so_far

BLOCK = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nsession_key: agent:main\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "NO_REPLY",
            "no_reply",
            "No_Reply",
            " NO_REPLY\n",
            "NO_REPLY.",
            "NO_REPLY。",
            r"NO\_REPLY",
            r"**NO\_REPLY**",
            "\ufeffNO_REPLY",
            "**NO_REPLY**",
            "_NO_REPLY_",
            '"NO_REPLY"',
        ),
        *(
            "「NO_REPLY」",
            "(NO_REPLY)",
            "`NO_REPLY`",
            "```\nNO_REPLY\n```",
            "NO_REPLY\nNO_REPLY",
            "NO_REPLY!",
            "- NO_REPLY",
        ),
        *("HEARTBEAT_OK", "heartbeat_ok", "**HEARTBEAT_OK**", "HEARTBEAT_OK.", "HEARTBEAT_OK\n\nNO_REPLY"),
        *(
            '{"action": "NO_REPLY"}',
            '```json\n{"action": "NO_REPLY"}\n```',
            "\x1b[0mNO_REPLY\x1b[0m",
            "<think>nothing to say</think>NO_REPLY",
            "[[reply_to_current]] NO_REPLY",
            "",
            " \n",
        ),
        *("<think>only thought</think>", "<think>never closed", BLOCK, "[[audio_as_voice]]", "<final>NO_REPLY</final>"),
    ],
)
def test_it_is_silence(text: str) -> None:
    assert keep_visible(text) == ""


THINKING = [
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reasoning_content",
    "antthinking",
    "inner_thoughts",
    "scratchpad",
    "inner_monologue",
    "internal_monologue",
    "chain_of_thought",
    "thinking_process",
    "reflection",
    "analysis",
    "mm:think",
]
TOOLS = [
    "tool_call",
    "tool_calls",
    "tool_use",
    "tool_code",
    "tool_result",
    "tool_results",
    "tool_response",
    "tool_output",
    "function_call",
    "function_calls",
    "function_result",
    "function_results",
    "invoke",
]
INTERNAL = ["relevant-memories", "relevant_memories", "system-reminder", "system_reminder"]
LEAKS = [
    *(f"<{tag}>why</{tag}>" for tag in (*THINKING, *TOOLS, *INTERNAL)),
    *(f"<|{name}>why<{name}|>" for name in ("channel", "tool_call", "tool_response", "tool")),
    *(f"<|channel|>analysis<|message|>why<|{end}|>" for end in ("end", "call", "return")),
    *(f"<|python_tag|>why<|{end}|>" for end in ("eom_id", "eot_id", "eom", "eot", "call", "im_end", "/python_tag", "end_python_tag")),
    *(f"<|{name}|>why<|{name}_end|>" for name in ("think", "thought", "reasoning", "tool_call", "tool_calls", "function_call")),
    *(f"<|begin_of_{name}|>why<|end_of_{name}|>" for name in ("think", "reason", "tool", "function", "action", "call")),
    '<invoke name="why"><parameter name="a">why</parameter></invoke>',
    '<minimax:tool_call><invoke name="why"></invoke></minimax:tool_call>',
    "<function=why>{}</function>",
    "<|START_THINKING|>why<|END_THINKING|>",
    "<|begin_of_thought|>why<|end_of_thought|>",
    "<|thinking|>why<|/thinking|>",
    "<|channel>thought\nwhy<channel|>",
    "<unused94>thought\nwhy<unused95>",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>why\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "<|tool_calls_section_begin|><|tool_call_begin|>why:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
    '<|python_tag|>{"name": "why"}<|eom_id|>',
    '[TOOL_CALLS][{"name": "why"}]\n',
    '[Tool Call: why (ID: toolu_1)]\nArguments: {"a": {"why": "}"}}\n',
    '[Historical context: why]\n',
]  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
def test_what_models_say_to_themselves_and_to_tools_is_cut(leak: str) -> None:
    assert keep_visible(f"{leak}好的") == "好的"
    grown = [keep_visible_so_far(f"{leak}好的"[:end]) for end in range(1, len(leak) + 3)]
    assert grown[-1] == "好的"
    assert not any("why" in shown or "wh" in shown for shown in grown)


@pytest.mark.parametrize(
    "directive",
    [
        *("reply_to_current", "audio_as_voice", "tts", "/tts"),
        *(f"{name}: x" for name in ("reply_to", "tts", "/tts", "quick_replies", "location", "confirm", "buttons")),
        *(f"{name} : x" for name in ("media_player", "event", "agenda", "device", "appletv_remote")),
    ],
)
def test_a_directive_is_cut_with_the_blanks_before_it(directive: str) -> None:
    assert keep_visible(f"好的 \t[[{directive}]]\n再见") == "好的\n再见"
    assert keep_visible(f"[[ {directive.upper()} ]] 好的") == "好的"
    grown = f"好的 [[{directive}]]"
    assert {keep_visible_so_far(grown[:end]).rstrip() for end in range(2, len(grown) + 1)} == {"好的"}
    assert keep_visible(f"[[{directive.partition(':')[0].strip()}_x]]") != ""


@pytest.mark.parametrize(
    "name", ["think", "thinking", "thought", "reason", "end_of_thought", "/thinking", "end_thinking"]
)
def test_thinking_whose_beginning_stood_in_the_prompt_is_cut(name: str) -> None:
    mark = name if name.startswith(("/", "end_")) else f"{name}_end"
    assert keep_visible(f"why and how<|{mark}|>好的") == "好的"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<answer>\n好的\n</answer>", "好的"),
        ("<response>好的</response>", "好的"),
        ("<response>好的</answer>", "<response>好的</answer>"),
        ("<think>why</reflection>好的", "好的"),
        ("<think>why</tool_call>how</think>好的", "好的"),
        ("<tool_result>why</think>how</invoke>好的", "好的"),
        ("好的\n\n<NO_REPLY/>", "好的"),
        ("[Tool Result for ID toolu_1]\nwhy", ""),
        ("a[Tool Result for ID x]\nwhy\n[Tool Call: y]\nArguments: {}\nb", "a\nb"),
        ("<|END_THINKING|>好的", "好的"),
        ("好的\n\nNO_REPLY", "好的"),
        ("好的 NO_REPLY.", "好的"),
        ("好的。NO_REPLY", "好的。"),
        ("好的\n\n**NO_REPLY**", "好的"),
        ("好的\n\n**HEARTBEAT_OK**\nNO_REPLY", "好的"),
        ("done heartbeat_ok", "done"),
        ("NO_REPLY\n\n好的", "好的"),
        ("[[reply_to_current]] 好的", "好的"),
        ("[[reply_to_current]]好的", "好的"),
        ("[[ reply_to : om_x100 ]]\n好的", "好的"),
        ("好的 [[audio_as_voice]]", "好的"),
        ("好 [[Reply_To_Current]] 的", "好 的"),
        ("看 [[quick_replies: 是, 否]]", "看"),
        ("听 [[tts:text]]spoken[[/tts:text]]", "听"),
        ("<think>why</think>好的", "好的"),
        ("好的\n\n<think>why\n\nhow</think>\n\n再见", "好的\n\n再见"),
        ("<thinking type='x'>why</thinking>\n好的", "好的"),
        ("<reasoning>why</reasoning>好的", "好的"),
        ("<THINK>why</Think>好的", "好的"),
        ("< think >why< / think >好的", "好的"),
        ("<thinking>why</thinking>好的", "好的"),
        ("why and how\n</think>\n\n好的", "好的"),
        ("<think>a<think>b</think>c</think>好的", "好的"),
        ("<think>```python\nopen fence</think>好的", "好的"),
        ("好的<think>never closed", "好的"),
        ("好的<think/>再见", "好的再见"),
        ("<final>好的</final>", "好的"),
        (f"{BLOCK}\n好的", "好的"),
        (f"好的\n\n{BLOCK}\n\n再见", "好的\n\n再见"),
        ("好的\n<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>\nx", "好的"),
        ('<<<EXTERNAL_UNTRUSTED_CONTENT id="1">>>x<<<END_EXTERNAL_UNTRUSTED_CONTENT id="1">>>好的', "好的"),
        ("<relevant-memories>x</relevant-memories>好的", "好的"),
        ("<tool_call>{}</tool_call>好的", "好的"),
        ("好的<|im_end|>", "好的"),
        ("<|im_start|>assistant\n好的<|im_end|>", "好的"),
        ("<seed:think>why</seed:think>好的", "好的"),
        ("[THINK]why[/THINK]好的", "好的"),
        ("[THINK]never closed", ""),
        ("why[/THINK]好的", "好的"),
        ("◁think▷why◁/think▷好的", "好的"),
        ("[think]why[/think]好的", "好的"),
        ("[Thinking]\nwhy\n[/Thinking]\n好的", "好的"),
        ("好的 [think]why[/think]", "好的"),
        ("[think]never closed", ""),
        ("[Thinking] of you, [think] of me", "[Thinking] of you, [think] of me"),
        ("why[/think]好的", "好的"),
        ("【think】why【/think】好的", "好的"),
        ("[THINK](why)[/THINK]好的", "好的"),
        ("＜think＞why＜/think＞好的", "好的"),
        ("＜think＞why＜／think＞好的", "好的"),
        ("<think>why＜/think＞好的", "好的"),
        ("＜thinking", "＜thinking"),
        ("好的＜think＞never closed", "好的"),
        ("好的＜think/＞再见", "好的再见"),
        ("<think>it writes <think> so</think>好的", "好的"),
        ("why\n◁/think▷\n好的", "好的"),
        ("<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>好的", "好的"),
        ("<|channel|>commentary to=x <|constrain|>json<|message|>{}<|call|>好的", "好的"),
    ],
)
def test_what_is_not_for_readers_is_cut(text: str, shown: str) -> None:
    assert keep_visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Write `NO_REPLY` and nothing else.",
        "The word is `NO_REPLY`",
        "Use `[[reply_to_current]]` or `<think>` so.",
        "```\n<think>x</think>\n[[reply_to_current]]\nNO_REPLY\n```",
        "```xml\n<think>\n```\nand on",
        "~~~\n<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\n~~~",
        "> ```\n> <think>\n> ```\n> quoted",
        "See [[Wiki page]] and [[event]].",
        "a < b and <thinker> and <em>x</em>",
        "a [think] tank, a [THINKER] and ◁ with ▷",
        "Use `[THINK]` so.",
        "See [think](https://example.com) and [thinking][1].",
        "a ＜ b ＞ c and ＜函数＞",
        "if x[[0]] > y",
        "NO_REPLY is the word that OpenClaw takes for silence",
        "MY_NO_REPLY_FLAG and NO_REPLY_TO",
        "an unmatched ` tick and <b>bold</b>",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert keep_visible(text) == text
    assert keep_visible_so_far(text + "\n\nend.") == text + "\n\nend."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *(
            (part, "")
            for part in (
                "N",
                "NO",
                "NO_REP",
                "**NO_RE",
                "`NO",
                "HEART",
                "no_re",
                "NO_REPLY",
                "<",
                "<th",
                "</thi",
                "[",
                "[[re",
            )
        ),
        *((part, "") for part in ("#", "> ", "- NO", "# NO_RE", "> **NO", r"NO\_")),
        ("<think\nfoo=1", ""),
        ("好的<seed:thi", "好的"),
        ("<|channel|>ana", ""),
        ("<|channel|>analysis<|message|>why", ""),
        ("<|channel|>final<|message|>好的", "好的"),
        ("好的<think>why", "好的"),
        ("好的[THI", "好的"),
        ("好的[thi", "好的"),
        ("好的[think]why", "好的"),
        ("好的\n[thinking]why", "好的"),
        ("好的 [think]why[/think]", "好的"),
        ("好的＜", "好的"),
        ("好的＜thi", "好的"),
        ("好的＜think＞why", "好的"),
        ("好的＜think＞why＜/thi", "好的"),
        ("<think>a<think>b</think>why", ""),
        ("<think>a<thinking>b</think>why</think>好的", "好的"),
        ("<think>a<think/>b</think>好的", "好的"),
        ("好的[think]a[THINK]b[/think]why", "好的"),
        ("◁think▷a◁think▷b◁/think▷why", ""),
        ("好的◁thi", "好的"),
        ("好的[THINK]why[/THI", "好的"),
        ("好的<thi", "好的"),
        ("好的<think type='x", "好的"),
        ("好的\n\nNO_REP", "好的"),
        ("好的\n\n**NO_REP", "好的"),
        ("好的\n\nNO_REPLY", "好的"),
        ("好的 [[reply_to: om", "好的"),
        ("好的 [[audio_as_voice]", "好的"),
        ("好的<<<BEGIN_OPEN", "好的"),
        ("好的<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>", "好的"),
        ("好的<|im_e", "好的"),
        ("<think>a</think>好的", "好的"),
        ("a < b", "a < b"),
        ("see [link](https://example.com", "see [link](https://example.com"),
        ("```\n<thi", "```\n<thi"),
    ],
)
def test_nothing_of_it_is_shown_while_it_grows(text: str, shown: str) -> None:
    assert keep_visible_so_far(text) == shown


ANSWER = f"<think>why</think>[[reply_to_current]] 好的，`<think>`\n\n{BLOCK}\n\n```\nNO_REPLY\n```\nend<thinking>x</thinking>\nNO_REPLY"


def test_a_growing_text_shows_only_what_the_finished_one_shows() -> None:
    finished = keep_visible(ANSWER)
    assert finished == "好的，`<think>`\n\n```\nNO_REPLY\n```\nend"
    for end in range(len(ANSWER)):
        so_far = keep_visible_so_far(ANSWER[:end])
        assert "why" not in so_far
        assert "session" not in so_far
        assert "reply_to" not in so_far


@pytest.mark.parametrize(
    "piece",
    [
        "`",
        "<",
        "[",
        "◁",
        "◁think▷",
        "[THINK]",
        "a [think] ",
        "[think]",
        "[/think]",
        "＜think＞",
        "<think></think>",
        "<think>a<think>b</think>",
        "[[",
        "<think>",
        "</think>",
        "```\n",
        "NO_REPLY ",
        "` `` ",
        "<<<",
        "[[reply_to:",
        "\n\n",
        "*",
    ],
)
def test_it_takes_linear_time(piece: str) -> None:
    def seconds(count: int) -> float:
        began = time.perf_counter()
        keep_visible(piece * count)
        keep_visible_so_far(piece * count)
        return time.perf_counter() - began

    seconds(10)
    small = min(seconds(2000) for _turn in range(3))
    assert min(seconds(16000) for _turn in range(3)) < 60 * small + 0.2
