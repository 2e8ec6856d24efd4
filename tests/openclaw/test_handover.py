"""The line by which an agent hands over to staff: where it counts, and that no reader sees it."""

from __future__ import annotations

import pytest

from openclaw.agent_text import find_handover, keep_visible, keep_visible_so_far


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Wait.\n[[handover: wants a refund]]", "wants a refund"),
        ("[[handover]]", ""),
        ("[[ Handover : 退款 ]]", "退款"),
        ("Wait.", None),
        ("`[[handover: x]]`", None),
        ("```\n[[handover: x]]\n```", None),
        ("<think>say [[handover: x]]?</think>No.", None),
        ("[[handover: x]] was a thought</think>No.", None),
        ("[[handovers]]", None),
    ],
)
def test_the_mark_counts_where_a_reader_would_see_it(text: str, why: str | None) -> None:
    assert find_handover(text) == why


def test_no_reader_sees_the_mark_nor_a_part_of_it() -> None:
    text = "A colleague will help you.\n[[handover: wants a refund]]"
    assert keep_visible(text) == "A colleague will help you."
    shown = {keep_visible_so_far(text[:end]).strip() for end in range(len(text) + 1)}
    assert not [each for each in shown if "[" in each]
