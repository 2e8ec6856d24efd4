"""Files of comma-separated values for spreadsheets: the one writer, for lists, reports and replays.

A file begins with a mark by which Excel knows UTF-8, and so shows Chinese. A text that a spreadsheet would take for a formula gets an
apostrophe before it: names, titles and messages come from people.
"""

from __future__ import annotations

import csv
from datetime import date, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ENCODING_MARK = "\ufeff"
# With the wide forms that Chinese keyboards type, which spreadsheets read like the others.
FORMULA_SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
FORMULA_BEGINNINGS = ("\t", "\r", "\n")


def format_cell(value: Any) -> str | int | float:
    """Return a value as a cell shows it: times as ISO 8601 with the page's zone, yes and no as words, several things with semicolons."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int | float):
        return value
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return _make_harmless("; ".join(str(format_cell(each)) for each in value))
    return _make_harmless(str(value))


def _make_harmless(text: str) -> str:
    is_formula = text.startswith(FORMULA_BEGINNINGS) or text.lstrip().startswith(FORMULA_SIGNS)
    return f"'{text}" if is_formula else text


def format_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return the lines of these rows, each with its line end."""
    out = StringIO()
    csv.writer(out).writerows([format_cell(value) for value in row] for row in rows)
    return out.getvalue()


def build_response(name: str, pieces: Iterable[str]) -> StreamingHttpResponse:
    """Return the file as a download. name: without its ending, in ASCII. pieces: its text, read while it is sent."""
    answer = StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    answer["Cache-Control"] = "no-store"
    return answer
