"""What a gateway or a model writes takes a time that grows with its length, and no faster: one loop carries every gateway's turns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from openclaw.agent_text import keep_visible, keep_visible_so_far
from openclaw.errors import Code, GatewayError
from openclaw.reading import EventSummary, answer_from_text, make_run_error, read_error

if TYPE_CHECKING:
    from collections.abc import Callable

READERS: dict[str, Callable[[str], Any]] = {
    "a finished text": keep_visible,
    "a growing text": keep_visible_so_far,
    "lines with files": lambda text: answer_from_text(text, (), "1.0"),
    "a refusal": lambda text: read_error({"message": text}),
    "a failed run": lambda text: make_run_error(text, EventSummary()),
    "an error": lambda text: GatewayError(Code.TIMEOUT, text),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("begin", "piece", "end"),
    [
        ("", " ", "x"),
        ("", "x", ""),
        ("<", " ", "x"),
        ("＜", "\t", "x"),
        ("[", " ", "x"),
        ("MEDIA:a", " ", "b"),
        ("<answer>", " ", "x"),
        ("a", ".", "b"),
        ("", "*", " "),
        ("", "agent ", ""),
        ("", "try again ", ""),
        ("", "retry after about ", ""),
    ],
)
def test_it_takes_linear_time(reader: str, begin: str, piece: str, end: str) -> None:
    """The square of the small time would be 256 times as long."""

    def seconds(count: int) -> float:
        text, began = begin + piece * count + end, time.process_time()
        READERS[reader](text)
        return time.process_time() - began

    seconds(10)
    small = min(seconds(1000) for _turn in range(3))
    assert seconds(16000) < 80 * small + 0.3
