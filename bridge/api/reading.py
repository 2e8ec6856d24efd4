"""How a request is read: JSON in bounds, whatever its Accept header says."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

    from rest_framework.renderers import BaseRenderer
    from rest_framework.request import Request


# No platform's message is nested deeper, and recursive code stays far from Python's own limit.
MAX_DEPTH = 50
LONE_SURROGATE = _("There is half a character in it (a lone surrogate).")


class Json(JSONParser):
    """JSON that is not nested too deeply."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """In UTF-8, whatever charset the request names: JSON has no other."""
        try:
            found: dict[str, Any] = json.loads(
                stream.read().decode(), parse_constant=_refuse, object_pairs_hook=_without_repeats
            )
        except RecursionError:
            raise ParseError from None
        except ValueError as error:
            raise ParseError(_("This is not JSON: %s") % error) from error
        if _is_too_deep(found):
            raise ParseError(_("The JSON is nested too deeply."))
        if wrong := next(_find_unwritable(found), None):
            path, why = wrong
            raise ValidationError({path or "non_field_errors": [why]})
        return found


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object with the same name twice, because one of the values would be ignored."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        wrong = sorted({_escape_surrogates(name) for name in names if names.count(name) > 1})
        raise ValidationError({name: [_("This is given more than once.")] for name in wrong})
    return found


def _is_too_deep(value: Any) -> bool:
    """Whether anything lies below MAX_DEPTH levels."""
    level = [value]
    for _level in range(MAX_DEPTH):
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _find_unwritable(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Return dotted names of values that JSON cannot express, each with the reason: infinite numbers (1e400), and lone surrogates."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, str(_("This number is larger than any that can be written."))
    elif isinstance(value, str) and _escape_surrogates(value) != value:
        yield path, str(LONE_SURROGATE)
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in below:
        inside = f"{path}.{_escape_surrogates(name)}" if path else _escape_surrogates(name)
        if _escape_surrogates(name) != str(name):
            yield inside, str(LONE_SURROGATE)
        yield from _find_unwritable(each, inside)


def _escape_surrogates(name: Any) -> str:
    """UTF-8 has no form for a lone surrogate, so it is shown as its escape."""
    return str(name).encode(errors="backslashreplace").decode()


class AlwaysJson(DefaultContentNegotiation):
    """Answer in JSON whatever format was requested, because there is no other."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type
