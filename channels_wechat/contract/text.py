"""Cleans text so that the database can store it and platforms accept it, and counts its bytes in UTF-8."""

from __future__ import annotations

import math
import re
from typing import Any

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
UNSENDABLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
HIDDEN = "•••"
SECRET = re.compile(
    r"(?i)((?:access_token|corpsecret|secret|response_code|key|token|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+)?)"
    r"[^\s&\"',}]{4,}"
)
DEEPEST, TOO_DEEP = 100, "(nested too deeply)"
# Escape sequences for colours and the like, as in the output of terminals.
TERMINAL = re.compile("(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,16}[@-~]|\x1b\\][^\x07\x1b\n]{0,512}(?:\x07|\x1b\\\\)")


def clean(text: str) -> str:
    """Replace U+0000 and lone surrogates by U+FFFD, because PostgreSQL stores neither and UTF-8 cannot encode the latter."""
    return UNSTORABLE.sub("\ufffd", text)


def hide(text: str) -> str:
    """Do the same as `clean`, and hide the values of what a text calls a secret, a key or a token."""
    return SECRET.sub(rf"\1{HIDDEN}", clean(text))


def sendable(text: str) -> str:
    """Remove what a platform refuses or shows as an escape: control characters but line feeds and tabs, terminal sequences,
    lone surrogates, characters that Unicode excludes, and marks that change the direction of the text."""
    return UNSENDABLE.sub("", TERMINAL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def sendable_name(name: str) -> str:
    """Do the same for a text of one line: a file's name, or a title."""
    return re.sub(r"\s+", " ", sendable(name)).strip()


def sendable_json(value: Any) -> Any:
    """Apply `sendable` to every text in decoded JSON, keys too."""
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, list | tuple):
        return [sendable_json(item) for item in value]
    if isinstance(value, dict):
        return {sendable(key) if isinstance(key, str) else key: sendable_json(item) for key, item in value.items()}
    return value


def clean_json(value: Any, depth: int = 0) -> Any:
    """Apply `clean` to every text in decoded JSON, keys too; NaN and infinity, which no JSON column accepts, become words.

    So does what lies below `DEEPEST` levels: nothing real is nested so deeply, and whatever walks through it has a stack for that.
    """
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | dict) and depth >= DEEPEST:
        return TOO_DEEP
    if isinstance(value, list):
        return [clean_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean_json(item, depth + 1) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def as_quote(text: str) -> str:
    """Return the text as a Markdown quote."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def utf8_len(text: str) -> int:
    return len(text.encode())
