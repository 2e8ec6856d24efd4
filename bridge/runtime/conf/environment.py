"""Reads the settings from the environment. It never fails: problems are kept for `checks`, which stops the start with a message.

No message repeats a value, because an address may contain a password.
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

# By the name of the variable: the end of a sentence that begins with the name and says what is wrong with its value.
problems: dict[str, str] = {}


def read_setting(name: str, parse: Callable[[str], T], default: T) -> T:
    """Return the parsed value, or `default` if the variable is missing, empty or wrong. If it is wrong, a problem is kept."""
    problems.pop(name, None)
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        problems[name] = str(error)
        return default


def parse_flag(text: str) -> bool:
    """Parse 1/0, true/false, yes/no or on/off."""
    word = text.lower()
    if word not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ValueError("is neither 1 nor 0")
    return word in {"1", "true", "yes", "on"}


def make_number_parser(low: int, high: int) -> Callable[[str], int]:
    """Return a parser for a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(text)

    return parse


def parse_days(text: str) -> int:
    """Parse how many days something is kept: 0 for ever, else at least a week."""
    if text == "0":
        return 0
    try:
        return make_number_parser(7, 36500)(text)
    except ValueError:
        raise ValueError("is neither 0 nor a whole number from 7 to 36500") from None


def make_choice_parser(*choices: str) -> Callable[[str], str]:
    """Return a parser for one of these words."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return text.lower()

    return parse


def split_words(text: str) -> list[str]:
    """Split a text at its commas."""
    return [word for part in text.split(",") if (word := part.strip())]


def parse_log_level(text: str) -> str:
    """Parse the name of a level of Python's logging."""
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError("is none of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    return text.upper()


def choose_library_level(level: str) -> str:
    """Return the level for libraries: never below INFO, because at DEBUG they log what they send, with its secrets."""
    return level if logging.getLevelNamesMapping()[level] >= logging.INFO else "INFO"


def parse_time_zone(text: str) -> str:
    """Parse the name of a time zone of the IANA database."""
    if text not in zoneinfo.available_timezones():
        raise ValueError("is not the name of a time zone")
    return text


def parse_database(text: str) -> dict[str, Any]:
    """Parse an address into Django's database settings."""
    if urlsplit(text).scheme not in {"postgres", "postgresql"}:
        raise ValueError("is not the address of a PostgreSQL database")
    try:
        return dict(environ.Env.db_url_config(text))
    except ValueError:
        raise ValueError("cannot be read as an address") from None


def parse_mail_server(text: str) -> dict[str, Any]:
    """Parse an address into Django's EMAIL_* settings."""
    try:
        return dict(environ.Env.email_url_config(text))
    except (ValueError, ImproperlyConfigured):
        raise ValueError("is not the address of a mail server") from None
