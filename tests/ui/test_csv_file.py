"""Files for spreadsheets: what their cells hold."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils import timezone, translation

from bridge.ui import csv_file


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        '=HYPERLINK("http://x","y")',
    ],
)
def test_no_text_is_a_formula(text: str) -> None:
    [[cell]] = csv.reader(io.StringIO(csv_file.format_lines([[text]]), newline=""))
    assert cell == f"'{text}"


@pytest.mark.parametrize("text", ["", "1+1", "a=b", "张三", "–", "'=1", "x\n=1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert csv_file.format_cell(text) == text


def test_a_formula_in_a_list_of_things_is_none_either() -> None:
    assert csv_file.format_cell(["=1", "b"]) == "'=1; b"


@pytest.mark.parametrize(
    ("value", "cell"),
    [(None, ""), (-5, -5), (0.5, 0.5), (True, "yes"), (False, "no"), ([], ""), (["a", "b"], "a; b")],
)
def test_what_other_values_are_in_a_cell(value: Any, cell: Any) -> None:
    assert csv_file.format_cell(value) == cell


def test_times_have_the_zone_of_the_page_and_words_the_language() -> None:
    with timezone.override("Asia/Shanghai"), translation.override("zh-hans"):
        assert csv_file.format_cell(datetime(2026, 1, 31, 16, 5, tzinfo=UTC)) == "2026-02-01T00:05:00+08:00"
        assert csv_file.format_cell(True) == "是"


def test_commas_quotes_and_lines_stay_in_their_cell() -> None:
    row = ["a,b", 'say "hi"', "one\ntwo", "张三"]
    assert list(csv.reader(io.StringIO(csv_file.format_lines([row]), newline=""))) == [row]
