"""What the platforms' APIs answer, read with patience: byte order marks, broken text, numbers as text."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from channels_wechat.contract.messages import Token
from channels_wechat.contract.text import clean_json

# A token's life, in seconds: what the platforms' pages say, and the longest that is believed.
USUAL_LIFE, LONGEST_LIFE = 7200, 7 * 24 * 3600


def decoded(body: bytes) -> dict[str, Any]:
    """An object in JSON, empty where there is none.

    A byte order mark or blanks before it, broken UTF-8 and raw control characters, which names bring, do no harm.
    """
    with suppress(ValueError, RecursionError):
        text = body.decode(errors="ignore").lstrip("\ufeff \t\r\n")
        found = clean_json(json.loads(text, strict=False))
        return found if isinstance(found, dict) else {}
    return {}


def whole(value: Any, otherwise: int | None = 0) -> Any:
    """A whole number, which some answers give as text or with a fraction of zero."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return otherwise
    with suppress(ValueError):
        return int(value)
    return otherwise


def token_in(answer: dict[str, Any]) -> Token | None:
    """The token of an answer, None where there is none; a life that is no number of seconds is taken for the usual one."""
    value, seconds = answer.get("access_token"), whole(answer.get("expires_in"))
    if not isinstance(value, str) or not value.strip():
        return None
    return Token(value.strip(), seconds if 0 < seconds <= LONGEST_LIFE else USUAL_LIFE)
