"""Takes secrets out of every request, response and error before it is stored in a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from channels_wechat.contract.text import HIDDEN, clean_json, hide

MAX_BYTES = 4096
# So many characters of each text are kept in the parameters of a cause; fewer where there are many texts, or where they are long in UTF-8.
PARAM_LIMITS = (1000, 300, 60)
# Names of fields, in lower case.
SECRET_NAMES = frozenset(
    {
        "access_token",
        "aeskey",
        "api_key",
        "apikey",
        "appsecret",
        "authorization",
        "corpsecret",
        "device_token",
        "encoding_aes_key",
        "encodingaeskey",
        "key",
        "password",
        "response_code",
        "response_url",
        "secret",
        "token",
        "welcome_code",
    }
)


def redact(value: Any) -> Any:
    """Return a copy without secrets, cut to 4 kB of JSON. value: anything that json takes."""
    safe = clean_json(_redact(value))
    text = json.dumps(safe, ensure_ascii=False, default=str)
    if len(text.encode()) <= MAX_BYTES:
        return safe
    return {"cut": text.encode()[: MAX_BYTES - 64].decode("utf-8", "ignore")}


def redact_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a cause without secrets. Long texts are cut where needed, so that a sentence can still be made."""
    safe = redact(params)
    for limit in PARAM_LIMITS:
        if safe.keys() == params.keys():
            break
        safe = redact(_shorten(params, limit))
    return dict(safe)


def _shorten(value: Any, limit: int) -> Any:
    """Return a copy of JSON whose texts have at most `limit` characters."""
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}…"
    if isinstance(value, Mapping):
        return {name: _shorten(item, limit) for name, item in value.items()}
    return [_shorten(item, limit) for item in value] if isinstance(value, list | tuple) else value


def redact_text(text: str) -> str:
    """Return the beginning of the text, without secrets."""
    return hide(text)[:MAX_BYTES]


def _redact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(name): HIDDEN if str(name).lower() in SECRET_NAMES and item else _redact(item)
            for name, item in value.items()
        }
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_redact(item) for item in value]
    return value
