"""Makes the values of a callback fit the columns, so that every message can be stored. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from channels_wechat.contract.text import clean

# The lengths of the columns: bridge.models.Message, Contact, Attachment.
MAX_ID, MAX_KIND, MAX_NAME = 200, 32, 200
MAX_FILE_KIND, MAX_FILE_NAME, MAX_MIME = 8, 255, 100
# A position is a smallint; no platform sends more than a few.
MAX_FILES = 1000
# PostgreSQL and Python accept deeper JSON, but not any depth. What is deeper is stored as text, cut.
MAX_DEPTH = 64
MAX_CUT = 2000
# Python writes no whole number of more than 4300 digits.
MAX_BITS = 1024


def fit_message(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `receive.build_row` whose values fit their columns. A value that already fits is left alone."""
    raw = make_storable(row["raw"])
    if "_bridge" in raw and "contacts" in raw["_bridge"]:
        contacts = raw["_bridge"]["contacts"].items()
        raw["_bridge"]["contacts"] = {shorten_id(person_id): str(name)[:MAX_NAME] for person_id, name in contacts}
    return {
        **row,
        "key": shorten_id(row["key"]),
        "peer_id": shorten_id(row["peer_id"]),
        "sender": shorten_id(row["sender"]),
        "kind": clean(row["kind"])[:MAX_KIND],
        "text": clean(row["text"]),
        "raw": raw,
        "media": [_fit_file(item) for item in row["media"][:MAX_FILES]],
    }


def make_unsupported(row: Mapping[str, Any], error: Exception) -> dict[str, Any]:
    """Return what is stored in place of a row that cannot be stored: its key and people, and its body as text, cut."""
    body = repr(row["raw"]) if _is_shallow(row["raw"]) else "(nested too deeply)"
    raw = {"cut": clean(body)[:MAX_CUT], "error": type(error).__name__}
    empty: dict[str, Any] = {"text": "", "media": [], "reply_address": "", "reply_until": None, "occurred_at": None}
    return {**fit_message({**row, **empty, "raw": {}}), "kind": "unsupported", "raw": raw}


def shorten_id(text: str) -> str:
    """Return an id of at most `MAX_ID` characters. A longer one ends with the digest of the whole, so that two ids never become equal."""
    text = clean(text)
    if len(text) <= MAX_ID:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: MAX_ID - len(digest) - 1]}~{digest}"


def make_storable(value: Any, depth: int = 0) -> Any:
    """Return a copy that PostgreSQL accepts as jsonb and Python can write."""
    if depth >= MAX_DEPTH and isinstance(value, (Mapping, list, tuple)):
        return _cut_to_text(value)
    if isinstance(value, Mapping):
        return {clean(str(name)): make_storable(item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [make_storable(item, depth + 1) for item in value]
    return _make_storable_scalar(value)


def _make_storable_scalar(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return hex(value)[:MAX_CUT]
    return value if value is None or isinstance(value, (bool, int, float)) else clean(str(value))


def _cut_to_text(value: Any) -> str:
    try:
        return clean(json.dumps(value, ensure_ascii=False, default=str))[:MAX_CUT]
    except (ValueError, RecursionError):
        return "(nested too deeply)"


def _is_shallow(value: Any, depth: int = 0) -> bool:
    if depth >= MAX_DEPTH:
        return False
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return all(_is_shallow(item, depth + 1) for item in items)


def _fit_file(item: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: clean(str(value)) if isinstance(value, str) else value for name, value in item.items()}
    limits = (("kind", MAX_FILE_KIND), ("name", MAX_FILE_NAME), ("mime", MAX_MIME))
    return {**values, **{name: values[name][:max_length] for name, max_length in limits}}
