"""Reads the settings from the environment and never fails: what is wrong is kept for `checks`, which stops the start with words.

No message repeats a value: an address may hold a password.
"""

from __future__ import annotations

import logging
import os
import zoneinfo
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Name of the variable → what its value is not, as the end of a sentence that begins with the name.
problems: dict[str, str] = {}


def read(name: str, parse: Callable[[str], T], default: T) -> T:
    """The parsed value; `default` where the variable is missing, empty or wrong (then `problems` says so)."""
    problems.pop(name, None)
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        problems[name] = str(error)
        return default


def flag(text: str) -> bool:
    """1/0, true/false, yes/no, on/off."""
    word = text.lower()
    if word not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ValueError("is neither 1 nor 0")
    return word in {"1", "true", "yes", "on"}


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(text)

    return parse


def days(text: str) -> int:
    """How long something is kept: 0 for ever, else a week at least."""
    if text == "0":
        return 0
    try:
        return whole_number(7, 36500)(text)
    except ValueError:
        raise ValueError("is neither 0 nor a whole number from 7 to 36500") from None


def one_of(*choices: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return text.lower()

    return parse


def split_words(text: str) -> list[str]:
    """Parts between commas."""
    return [word for part in text.split(",") if (word := part.strip())]


def log_level(text: str) -> str:
    """A level by its name in Python's logging."""
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError("is none of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    return text.upper()


def level_for_others(level: str) -> str:
    """The level of other people's code: never below INFO, for at DEBUG it writes what it sends, with the secrets in it."""
    return level if logging.getLevelNamesMapping()[level] >= logging.INFO else "INFO"


def time_zone(text: str) -> str:
    """A zone of the IANA database."""
    if text not in zoneinfo.available_timezones():
        raise ValueError("is not the name of a time zone")
    return text


def database(text: str) -> dict[str, Any]:
    """Django's database settings from an address."""
    if urlsplit(text).scheme not in {"postgres", "postgresql"}:
        raise ValueError("is not the address of a PostgreSQL database")
    try:
        return dict(environ.Env.db_url_config(text))
    except ValueError:
        raise ValueError("cannot be read as an address") from None


def mail_server(text: str) -> dict[str, Any]:
    """Django's EMAIL_* settings from an address."""
    try:
        return dict(environ.Env.email_url_config(text))
    except (ValueError, ImproperlyConfigured):
        raise ValueError("is not the address of a mail server") from None
