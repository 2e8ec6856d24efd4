"""Cleaning, splitting and making plain."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_wechat.contract.text import clean, clean_json, sendable, sendable_json, sendable_name, utf8_len
from channels_wechat.text.plain import plain, simple
from channels_wechat.text.split import head, pieces, split, split_tables
from tests.channels.text.splitter_run import run, violations

FAMILY = "👨‍👩‍👧‍👦"  # one character of 25 bytes


def test_a_random_run_finds_nothing():
    figures = run(2000, seed=7)
    good = {key: figures.pop(key) for key in ("texts", "parts", "bytes", "repaired")}
    assert not figures
    assert good["texts"] == 2000
    assert good["parts"] > 10_000
    assert good["repaired"] > 500


def test_a_table_cut_in_two_repeats_its_head():
    rows = "".join(f"| {n} | {'字' * 20} |\n" for n in range(450))
    parts = split_tables(f"前\n\n| n | 值 |\n|---|---|\n{rows}\n后", 2048)
    assert len(parts) > 5
    assert all(part.startswith("| n | 值 |\n|---|---|\n| ") for part in parts[1:-1])
    assert all(len(part.encode()) <= 2048 for part in parts)
    assert "".join(parts).count("| n | 值 |") == len(parts)
    assert sum(part.count("字" * 20) for part in parts) == 450


def test_a_row_longer_than_a_part_gets_its_head_only_at_its_beginning():
    head = "| n | 值 |\n|---|---|\n"
    parts = split_tables(f"{head}| 1 | {'字' * 400} |\n| 2 | x |\n" + "尾" * 20, 600)
    assert [part.startswith(head) for part in parts][:2] == [True, False]
    assert "".join(parts).count("字") == 400


def test_a_head_of_more_than_a_quarter_of_a_part_is_not_repeated():
    head = f"| {'长' * 60} | b |\n|---|---|\n"
    parts = split_tables(head + "| 1 | 2 |\n" * 100, 400)
    assert "".join(parts).count("长" * 60) == 1


def test_a_table_in_a_fence_is_code():
    code = "```\n| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 400 + "```"
    assert split_tables(code, 1000) == split(code, 1000)


def test_simple_keeps_what_the_app_shows():
    text = "# 题\n**粗** `x`\n| a | b |\n|---|---|\n| 1 | **2** |\n\n```py\nx = |1|\n```\n> 引"
    assert simple(text) == "# 题\n**粗** `x`\na | b\n1 | 2\n\nx = |1|\n> 引"


@settings(max_examples=200)
@given(st.text(max_size=400), st.integers(min_value=4, max_value=300))
def test_any_text_and_any_limit(text: str, limit: int):
    broken = violations(text, limit, pieces(text, limit))
    assert [name for name in broken if name != "inside a character"] == []


@pytest.mark.parametrize("limit", [-1, 0, 3])
def test_a_limit_without_room_for_a_code_point_is_refused(limit: int):
    with pytest.raises(ValueError, match="four bytes"):
        split("x", limit)


def test_an_empty_text_has_no_parts():
    assert split("", 100) == []


@pytest.mark.parametrize(("extra", "parts"), [(0, 1), (1, 2)])
def test_the_limit_is_in_bytes_and_reached_exactly(extra: int, parts: int):
    found = split("好" * 20 + "a" * extra, 60)
    assert len(found) == parts
    assert utf8_len(found[0]) == 60


@pytest.mark.parametrize(
    ("text", "limit", "first"),
    [
        ("第一段。\n第二行。\n\n第三段。" + "尾" * 20, 60, "第一段。\n第二行。\n\n"),
        ("第一行，更长。再来\n第二行。又一句" + "尾" * 20, 60, "第一行，更长。再来\n"),
        ("他说：“好。”然后" + "尾" * 20, 60, "他说：“好。”"),
        ("First. Second one goes on and on and on", 20, "First. "),
        ("Version 3.14 of something long", 14, "Version 3.14 "),
        ("甲乙丙，丁戊己庚辛壬癸子丑", 30, "甲乙丙，"),
        ("甲乙丙丁戊己庚辛壬癸", 20, "甲乙丙丁戊己"),
        ("a" * 10 + "e\u0301" * 10, 12, "a" * 10),
        (FAMILY * 3, 60, FAMILY * 2),
        ("🇨🇳🇯🇵🇰🇷", 20, "🇨🇳🇯🇵"),
        ("abcdefghi\r\njkl", 10, "abcdefghi"),
    ],
)
def test_the_best_border_is_taken(text: str, limit: int, first: str):
    assert split(text, limit)[0] == first
    assert "".join(split(text, limit)) == text


def test_a_border_in_the_second_third_is():
    assert split("短" * 7 + "。" + "长" * 30, 60)[0] == "短" * 7 + "。"


def test_a_border_in_the_first_third_is_not_worth_it():
    assert split("短。" + "长" * 30, 60)[0] == "短。" + "长" * 18


def test_a_character_longer_than_the_limit_is_cut_by_code_point():
    parts = split(FAMILY * 2, 10)
    assert "".join(parts) == FAMILY * 2
    assert all(utf8_len(part) <= 10 for part in parts)


def test_a_fence_is_closed_and_reopened():
    code = "".join(f"x{number} = 1\n" for number in range(30))
    found = pieces(f"前\n```python\n{code}```\n后", 100)
    assert len(found) > 2
    assert [piece.before for piece in found] == ["", *["```python\n"] * (len(found) - 1)]
    assert [piece.after for piece in found] == [*["```"] * (len(found) - 1), ""]
    assert all(piece.body.endswith("\n") for piece in found[:-1])


def test_a_line_of_code_cut_in_two_gets_its_fence_on_a_line():
    found = pieces("```\n" + "x" * 200 + "\n```\n", 100)
    assert found[0].after == "\n```"
    assert found[1].before == "```\n"


def test_an_unclosed_fence_is_repaired_where_cut_and_left_open_at_the_end():
    found = pieces("~~~\n" + "行一\n" * 30, 100)
    assert found[0].after == "~~~"
    assert found[-1].before == "~~~\n"
    assert found[-1].after == ""


def test_a_shorter_or_other_marker_closes_nothing():
    found = pieces("````\n" + "```\n~~~\n" * 30, 100)
    assert {piece.before for piece in found[1:]} == {"````\n"}


def test_a_cut_is_sooner_made_before_a_fence_than_in_it():
    found = split("字" * 25 + "\n```\n" + "code\n" * 12 + "```\n" + "尾" * 20, 100)
    assert found[0] == "字" * 25 + "\n"
    assert found[1].startswith("```\n")


def test_a_fence_too_long_to_repair_is_left_alone():
    assert all(piece.before == "" for piece in pieces("```" + "i" * 60 + "\n" + "code\n" * 60, 100))


def test_inline_backticks_are_no_fence():
    assert all(piece.before == "" for piece in pieces("``` a ``` b\n" + "字" * 90, 100))


def test_splitting_is_linear():
    def seconds(times: int) -> float:
        text = ("你好，世界。这是一段" * 20 + "\n```py\nabc\n```\n" + "." * 300) * times
        began = time.perf_counter()
        assert "".join(piece.body for piece in pieces(text, 2048)) == text
        return time.perf_counter() - began

    seconds(10)
    assert seconds(800) < 40 * max(seconds(80), 0.005)


def test_clean_replaces_what_cannot_be_stored():
    assert clean("a\0b\ud800c\udfff好😀") == "a\ufffdb\ufffdc\ufffd好😀"
    assert split("a\0\ud83d", 100) == ["a\ufffd\ufffd"]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a\r\nb\rc\n\td", "a\nb\nc\n\td"),
        *((f"a{mark}b", "ab") for mark in "\0\x07\x08\x0b\x0c\x0e\x1f\x7f\x80\x9f\ufeff\ufffe\uffff\ud800\udfff"),
        *((f"a{mark}b", "ab") for mark in "\u202a\u202e\u2066\u2069\ufff9\ufffb\ufdd0\ufdef"),
        ("a\u200e\u200f\u200d\u00a0\u3000\ufffd😀b", "a\u200e\u200f\u200d\u00a0\u3000\ufffd😀b"),
        ("\x1b[31;1m红\x1b[0m", "红"),
        ("\x9b31m红\x9bm", "红"),
        ("\x1b]8;;https://a.cn\x07链\x1b]8;;\x1b\\接", "链接"),
    ],
)
def test_what_a_platform_refuses_is_taken_out(text: str, sent: str):
    assert sendable(text) == sent
    assert sendable_name(f" {text}\t") == " ".join(sent.split())
    assert sendable_json({text: [text, (text, 7, None)]}) == {sent: [sent, [sent, 7, None]]}


def test_what_is_nested_too_deeply_becomes_words():
    for wrap in (lambda inner: [inner], lambda inner: {"a": inner}):
        value: object = "x"
        for _level in range(101):
            value = wrap(value)
        assert "nested too deeply" in json.dumps(clean_json(value))
        assert json.dumps(clean_json(value)).count("x") == 0
        (inner,) = value.values() if isinstance(value, dict) else value
        assert clean_json(inner) == inner


def test_clean_json_reaches_every_text():
    value = json.loads('{"a\\u0000": ["\\ud800", {"b": 1.5, "c": null, "d": true}], "e": "\\ud83d\\ude00"}')
    assert clean_json(value) == {"a\ufffd": ["\ufffd", {"b": 1.5, "c": None, "d": True}], "e": "😀"}


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("好好", 6, "好好"),
        ("好好", 5, "好"),
        ("a" + FAMILY, 20, "a"),
        ("", 5, ""),
        ("好", 2, ""),
        (FAMILY, 8, "👨\u200d"),
    ],
)
def test_head(text: str, limit: int, expected: str):
    assert head(text, limit) == expected


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# 标题", "标题"),
        ("### 标题 ###", "标题"),
        ("## C#", "C#"),
        ("#话题# 不是标题", "#话题# 不是标题"),
        ("**注意：**请看", "注意：请看"),
        ("这是*重点*内容", "这是重点内容"),
        ("***都要***", "都要"),
        ("**a *b* c**", "a b c"),
        ("USD**100**元", "USD100元"),
        ("x**2 + y**2", "x**2 + y**2"),
        ("2*3*4=24", "2*3*4=24"),
        ("2*3* 4", "2*3* 4"),
        ("2 *3*4", "2 *3*4"),
        ("（*3*）", "（3）"),
        ("x**2** 和 **2**x", "x2 和 2x"),
        ("a * b * c", "a * b * c"),
        ("f(*args, **kwargs)", "f(*args, **kwargs)"),
        ("snake_case_name", "snake_case_name"),
        ("__init__.py 和 _a1_", "__init__.py 和 _a1_"),
        ("_really_ important", "really important"),
        ("__two words__", "two words"),
        ("文件_名称_版本", "文件_名称_版本"),
        ("~~旧~~ ~10~20", "旧 ~10~20"),
        ("[文档](https://a.b/c_d_e)", "文档 (https://a.b/c_d_e)"),
        ('[文档](https://a.b "题目")', '文档 (https://a.b "题目")'),
        ("[https://a.b](https://a.b)", "https://a.b"),
        ("![图](https://a.b/i.png)", "图 (https://a.b/i.png)"),
        ("![](https://a.b/i.png)", "https://a.b/i.png"),
        ("[**粗**](https://a.b)", "粗 (https://a.b)"),
        ("<https://a.b/_x_>", "https://a.b/_x_"),
        ("https://a.b/x，_真的_", "https://a.b/x，真的"),
        ("https://a.b/x。_真的_", "https://a.b/x。真的"),
        ("+ 一", "- 一"),
        ("```c++\n码\n```", "码\n"),
        ("```objective-c\n码\n```", "码\n"),
        ("见 https://a.b/_x_*y*。", "见 https://a.b/_x_y。"),
        ("`*x*` 和 ``a`b``", "*x* 和 a`b"),
        (r"\*不是\* 5\_6", "*不是* 5_6"),
        *((f"甲\\{mark}乙", f"甲{mark}乙") for mark in "`*_[]#|~>+.-"),
        (r"C:\dir\!x", r"C:\dir\!x"),
        ("###### 六", "六"),
        ("####### 七", "####### 七"),
        ("___", "---"),
        ("- - -", "---"),
        (" * * *", "---"),
        ("**a *b ~~c~~* d**", "a b c d"),
        ("*a **b *c* d** e*", "a b c d e"),
        ("* 一\n+ 二\n  * 三\n- 四\n1. 五", "- 一\n- 二\n  - 三\n- 四\n1. 五"),
        ("***", "---"),
        ("> **引**\n> - 用", "> 引\n> - 用"),
        ("| 名 | 值 |\n|---|:-:|\n| a\\|b | **1** |\n\n|x|", "名 | 值\na|b | 1\n\n|x|"),
        ("甲|乙\n-|-\n1|2", "甲 | 乙\n1 | 2"),
        ("a | b\n没有表", "a | b\n没有表"),
        ("前\n```py\n*a* = _b_\n```\n后", "前\n*a* = _b_\n后"),
        ("```\n没有完", "没有完"),
        ("```说明 一\n码\n```", "说明 一\n码\n"),
    ],
)
def test_plain(markdown: str, expected: str):
    assert plain(markdown) == expected


@given(st.text(alphabet="的一是在不了有和人这，。！？：“”（）、\n 0123456789abcXYZ"))
def test_text_without_marks_stays_as_it_is(text: str):
    assert plain(text) == text
    assert plain(plain(text)) == text


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["甲", "乙丙", " ", "\n", "*", "**", "_", "`", "~~", "[", "](u)", "|", "#", "- ", "> ", "\\"])
    )
)
def test_no_word_is_lost(tokens: list[str]):
    def words(text: str) -> str:
        return re.sub("[^甲乙丙]", "", text)

    assert words(plain("".join(tokens))) == words("".join(tokens))


@pytest.mark.parametrize("noise", ["**a ", "[a", "[", "`a", "`", "_a ", "> ", "[a](", "|-", "<http://", "![["])
def test_a_line_full_of_unmatched_marks_is_quick(noise: str):
    began = time.perf_counter()
    plain(noise * 5000)
    assert time.perf_counter() - began < 5
