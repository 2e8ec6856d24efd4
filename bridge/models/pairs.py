"""Words of two Chinese characters in an index: 请假, 发票, 王五. pg_trgm keeps three characters at a time and finds none of them."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.fields.array import ArrayContains  # type: ignore[attr-defined]  # the stubs leave it out
from django.db.models import Func, TextField, Value

# Chinese characters (also the rare ones beyond U+FFFF), kana and hangul: writing whose words are as short as two characters.
IDEOGRAPHS = "぀-ヿ㐀-鿿가-힯豈-﫿𠀀-𳎟"
_RUN = re.compile(f"[{IDEOGRAPHS}]+")


class CharacterPairs(Func):
    """Every two neighbouring Chinese characters of a text, as text[]; also the last one of a row of them, which nobody asks for.

    Each character is written twice with a space between, "请假条" → "请 请假 假条 条", and the result is cut at the spaces.
    All three functions are immutable, so an index over the expression holds whatever writes the row.
    The patterns stand in the template: an index is used only where the query has the same expression, literals included.
    """

    template = (
        "string_to_array(regexp_replace(regexp_replace(%(expressions)s, "
        f"'[^{IDEOGRAPHS}]+', ' ', 'g'), '([{IDEOGRAPHS}])', '\\1 \\1', 'g'), ' ')"
    )
    output_field = ArrayField(TextField())


def find_pairs(term: str) -> list[str]:
    """Return every two neighbouring Chinese characters of what somebody looks for."""
    return [run[at : at + 2] for run in _RUN.findall(term) for at in range(len(run) - 1)]


def holds_pairs(field: str, pairs: list[str]) -> Any:
    """Return the condition that a text holds all of these pairs, by its index."""
    return ArrayContains(CharacterPairs(field), Value(pairs, output_field=ArrayField(TextField())))
