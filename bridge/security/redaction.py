"""Takes secrets out of every request, response and error before it is stored in a row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from channels_wechat.contract.text import clean, clean_json

MAX_BYTES = 4096
HIDDEN = "•••"
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
_IN_TEXT = re.compile(
    r"(?i)((?:access_token|corpsecret|secret|response_code|key|token|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+)?)"
    r"[^\s&\"',}]{4,}"
)


def redact(value: Any) -> Any:
    """Return a copy without secrets, cut to 4 kB of JSON. value: anything that json takes."""
    safe = clean_json(_redact(value))
    text = json.dumps(safe, ensure_ascii=False, default=str)
    if len(text.encode()) <= MAX_BYTES:
        return safe
    return {"cut": text.encode()[: MAX_BYTES - 64].decode("utf-8", "ignore")}


def redact_text(text: str) -> str:
    """Return the beginning of the text, without secrets."""
    return hide(text)[:MAX_BYTES]


def hide(text: str) -> str:
    """Return the whole text without secrets."""
    return _IN_TEXT.sub(rf"\1{HIDDEN}", clean(text))


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
