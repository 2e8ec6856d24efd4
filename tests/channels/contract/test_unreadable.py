"""What a platform does not pass on, or passes on in a form that is not known: what is marked, and how much of it is shown."""

from __future__ import annotations

import hashlib

import pytest

from channels_wechat.contract.inbound_fields import (
    as_list,
    describe_card,
    describe_place,
    files,
    inbound_key,
    labelled,
    whole_number,
    word,
)
from channels_wechat.contract.messages import MediaItem
from channels_wechat.contract.unreadable import is_placeholder, mark, read_or_kept, readable_values, unreadable_body


@pytest.mark.parametrize(
    "words",
    [
        "收到不支持的消息类型，暂无法显示",
        "收到不支持的消息类型,暂无法显示",
        "不支持的消息类型",
        "不支持的消息",
        "Unsupported message",
        "unsupported Message Type",
    ],
)
def test_a_platforms_words_in_brackets_are_no_message(words: str) -> None:
    for text in (f"[{words}]", f"【{words}】", f" [ {words} ]\n", f"[{words}。]", f"【{words}.】"):
        assert is_placeholder(text)
    for text in (words, f"[{words}", f"{words}]", f"[{words}】", f"({words})", f"[{words}] ok", f"[{words}?]"):
        assert not is_placeholder(text)


@pytest.mark.parametrize("text", ["", "[", "[]", "【】", "[ ]", "[x]"])
def test_other_brackets_are_a_message(text: str) -> None:
    assert not is_placeholder(text)


def test_a_mark_names_the_type_and_what_could_be_read() -> None:
    assert mark("hologram") == "[a message of the type hologram, which cannot be read here]"
    assert mark("", "a: 1") == "[a message, of which only this can be read]\na: 1"
    assert mark("x" * 51) == f"[a message of the type {'x' * 50}, which cannot be read here]"


def test_so_many_values_are_shown_and_so_much_of_each() -> None:
    value = {"long": "字" * 501, "list": [{"a": 1}, 2.5, ["b"]], "none": None, "yes": True, "blank": " ", "secret": "s"}
    lines = [f"long: {'字' * 500}", "a: 1", "list: 2.5", "list: b"]
    assert readable_values(value, frozenset({"secret"})).splitlines() == lines
    assert readable_values({str(number): number for number in range(21)}).splitlines()[-1] == "19: 19"


def test_of_a_body_that_nobody_can_parse_the_beginning_is_kept() -> None:
    plain = ("字\0" * 16_384).encode()
    found = unreadable_body(plain)
    assert found.raw == {"unreadable": "字\ufffd" * 8192}
    assert (found.key, found.kind, found.peer.id) == (hashlib.sha256(plain).hexdigest(), "unsupported", "sys")


def test_whatever_fails_in_reading_loses_nothing() -> None:
    def fail() -> None:
        raise RecursionError

    assert read_or_kept(fail, b"x") == unreadable_body(b"x")  # type: ignore[arg-type]  # it returns nothing, it raises


@pytest.mark.parametrize(
    ("told", "known"), [("7", "7"), ("", ""), ("0", ""), (" 0 ", ""), ("000", ""), ("070", "070"), ("m-0", "m-0")]
)
def test_an_id_of_nothing_but_noughts_names_no_message(told: str, known: str) -> None:
    assert inbound_key(b"x", told) == (known or hashlib.sha256(b"x").hexdigest())


@pytest.mark.parametrize(
    ("value", "read"),
    [(" a ", "a"), (7, "7"), (1.5, "1.5"), (True, ""), (None, ""), ([], ""), ({}, ""), ("", "")],
)
def test_a_word_is_text_or_a_number_without_blanks(value: object, read: str) -> None:
    assert word({"a": {"b": value}}, "a", "b") == read


def test_blanks_round_what_people_typed_are_theirs() -> None:
    assert (word({"Content": " a\n"}, "Content"), word({"text": {"content": " a"}}, "text", "content")) == (
        " a\n",
        " a",
    )
    assert word({"content": {"title": " a"}}, "content", "title") == "a"


@pytest.mark.parametrize("node", [None, [], "a", {"a": "text"}, {"a": None}])
def test_nothing_stands_where_a_step_is_missing(node: object) -> None:
    assert word(node, "a", "b") == ""


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("012", 12), ("9" * 11, 99_999_999_999), ("9" * 12, 0), ("-1", 0), ("1.5", 0), ("१२", 0), ("", 0)],
)
def test_only_digits_are_a_whole_number(text: str, number: int) -> None:
    assert whole_number(text) == number


def test_the_file_of_a_message_may_lie_at_a_second_place() -> None:
    assert files("voice", "a", "b", "audio/amr") == (MediaItem("voice", "a", mime="audio/amr", fallback="b"),)
    assert files("image", "", "b") == (MediaItem("image", "b"),)
    assert files("image", "") == ()


def test_the_shapes_that_inbound_messages_share() -> None:
    assert (as_list([1]), as_list(None), as_list(0), as_list("a")) == ([1], [], [0], ["a"])
    assert (labelled("L", "v"), labelled("L", "")) == ("L: v", "")
    answers = [("q", ["a", 2]), ("", ["a"]), ("", []), ("q", [])]
    assert describe_card("t", "k", answers) == "Card t: k\nq: a, 2\n: a\nq: "
    assert describe_card("", "", answers[:1]) == "q: a, 2"
    places = [describe_place(*each) for each in (("N", "1", "2"), ("", "1", "2"), ("N", "1", ""), ("", "", "2"))]
    assert places == ["Location: N (1, 2)", "Location: 1, 2", "Location: N", ""]
