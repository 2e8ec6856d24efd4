"""Reads values out of the JSON that a gateway sends. A value of another type than expected is read as empty, and raises nothing."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from channels_wechat.contract.text import clean_json

Json = dict[str, Any]

LARGEST_NUMBER: Final = 2**53
"""JSON numbers beyond this are not exact. No time in milliseconds and no size in bytes comes near it."""
LONGEST_MS: Final = 1e12
"""Thirty years. Python cannot add a much longer time to a date."""


def decode_object(data: str | bytes) -> Json:
    """Return the object in a frame or a body, with texts that can be stored. Raise ValueError for anything else."""
    try:
        return as_object(clean_json(json.loads(data)))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def as_number(value: object) -> float | None:
    """Return a finite number, or None: Python also reads NaN, infinity and integers of any length from JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST_NUMBER and math.isfinite(value) else None


def as_object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_seconds(milliseconds: object) -> float | None:
    amount = as_number(milliseconds)
    return amount / 1000 if amount is not None and 0 <= amount <= LONGEST_MS else None
