"""JSON as a stranger may send it: lone surrogates, U+0000, numbers beyond all measure, the right names with the wrong things in them."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any

from hypothesis import strategies as st

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
TEXTS = st.text(alphabet=st.characters(codec=None), max_size=12) | st.sampled_from(
    ["", "\0", "\ud83d", "http://x/\udc00"]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -1, 0, 2**63, 1e308])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS


def values(*words: str) -> st.SearchStrategy[Any]:
    """Any JSON, in which `words` are frequent as names and as texts."""
    names = st.sampled_from(words) | TEXTS
    return st.recursive(
        SCALARS | st.sampled_from(words),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


def objects(*words: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(words), values(*words), max_size=8)


def storable(value: Any) -> bool:
    """Whether PostgreSQL takes every text in it."""
    if isinstance(value, str):
        return UNSTORABLE.search(value) is None
    if isinstance(value, dict):
        return all(storable(key) and storable(item) for key, item in value.items())
    if isinstance(value, list | tuple | set):
        return all(storable(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return all(storable(getattr(value, field.name)) for field in fields(value))
    return True
