"""JSON that a gateway sends, taken for what it is and no more: nothing here raises for a wrong shape."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from channels_wechat.contract.text import clean_json

Json = dict[str, Any]

LARGEST_NUMBER: Final = 2**53
"""Beyond it JSON's numbers are not exact: no moment in milliseconds and no size in bytes comes near."""
LONGEST_MS: Final = 1e12
"""Thirty years; no calendar can add what is beyond all measure."""


def decode(data: str | bytes) -> Json:
    """The object in a frame or a body, with every text fit to be stored. Raise ValueError for anything else."""
    try:
        return record(clean_json(json.loads(data)))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def number(value: object) -> float | None:
    """A number that one can count with, or None: JSON of Python also has NaN, infinity and integers of any length."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST_NUMBER and math.isfinite(value) else None


def record(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def records(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def seconds(milliseconds: object) -> float | None:
    found = number(milliseconds)
    return found / 1000 if found is not None and 0 <= found <= LONGEST_MS else None
