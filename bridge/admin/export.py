"""The rows of a list as a file: all that match its filter and search, read page after page by their keys while the file is sent.

django-import-export, for which the theme has pages, was not taken: it builds the whole file in memory, and knows neither the right to read
messages nor formulas.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from django.utils import timezone, translation
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from accounts.fields import Encrypted
from bridge.security import audit
from bridge.security.permissions import may_read
from bridge.ui import csv_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest, StreamingHttpResponse
    from django.utils.functional import _StrOrPromise


# So many rows are in memory at a time, with what their columns need. A piece of the file is about 200 kB.
PAGE_ROWS = 1000


@dataclass(frozen=True)
class Column:
    """One column of a file.

    name: a field of the model, a path of names, or a method of the admin. label: empty for that of the field or method.
    read: from a row, where the value is not simply there. is_content: what people wrote, or what may repeat it.
    """

    name: str
    label: _StrOrPromise = ""
    read: Callable[[Any], Any] | None = None
    is_content: bool = False

    def find_label(self, page_admin: ListPage) -> str:
        method = getattr(page_admin, self.name, None)
        label = self.label or getattr(method, "short_description", "")
        return str(capfirst(str(label or page_admin.model._meta.get_field(self.name).verbose_name)))

    def find_value(self, page_admin: ListPage, row: Any) -> Any:
        if self.read:
            return self.read(row)
        method = getattr(page_admin, self.name, None)
        return _as_text(method(row)) if callable(method) else _read_path(row, self.name)


class ListPage(Protocol):
    """What a download and saved filters need of the admin of a list (`bridge.admin.lists`)."""

    model: Any
    exported: ClassVar[tuple[Column, ...]]
    exported_with: ClassVar[tuple[str, ...]]

    @property
    def list_name(self) -> str: ...
    @property
    def file_name(self) -> str: ...
    def list_address(self, query: str) -> str: ...
    def load_details(self, request: HttpRequest, rows: list[Any]) -> None: ...
    def get_changelist_instance(self, request: HttpRequest) -> Any: ...


def columns(*names: str | Column) -> tuple[Column, ...]:
    """Return the columns of a list. A plain name is that of a field of the model, or of a method that shows one."""
    return tuple(name if isinstance(name, Column) else Column(name) for name in names)


def _as_text(shown: Any) -> Any:
    """Return what a column of the page shows, without its marks."""
    return html.unescape(strip_tags(shown)).strip() if isinstance(shown, SafeString) else shown


def _read_path(row: Any, path: str) -> Any:
    """Return the value at a path like `message.text`, None where something on the way is missing; of a choice its label."""
    *way, last = path.split(".")
    for name in way:
        row = getattr(row, name, None)
    if row is None:
        return None
    label = getattr(row, f"get_{last}_display", None)
    return label() if label else getattr(row, last)


def list_columns(page_admin: ListPage, request: HttpRequest) -> list[Column]:
    """Return the columns that this person may have."""
    reads = may_read(request.user)
    return [column for column in page_admin.exported if reads or not column.is_content]


def stream(
    page_admin: ListPage, request: HttpRequest, rows: QuerySet[Any], query: str, left_out: str = ""
) -> StreamingHttpResponse:
    """Return the file of these rows. query: the filter, for the audit log, where a line is stored before the first row is sent.

    left_out: what the search did not find, as a sentence; it is the last line of the file, and the audit log says that it is not whole.

    The server reads a response piece by piece on any of its threads, and returns the connection after each. So the language and the zone of
    the reader are set for each page, and no cursor of the database stays open from one to the next.
    """
    entry = audit.log_download(page_admin.model, page_admin.list_name, query)
    pages = _write_pages(page_admin, request, _prepare(page_admin, rows), left_out)
    language, zone = translation.get_language(), timezone.get_current_timezone()

    def read_next() -> tuple[int, str] | None:
        with translation.override(language), timezone.override(zone):
            return next(pages, None)

    name = f"{page_admin.file_name}-{timezone.localdate().isoformat()}"
    return csv_file.build_response(name, _count_rows(iter(read_next, None), entry, left_out))


def _count_rows(pages: Iterator[tuple[int, str]], entry: int, left_out: str) -> Iterator[str]:
    """Yield the text of the pages; at the end, also of somebody who does not wait for it, store how many rows were sent."""
    count, is_whole = 0, False
    try:
        for size, text in pages:
            count += size
            yield text
        is_whole = not left_out
    finally:
        audit.finish_download(entry, count, is_whole=is_whole)


def _write_pages(
    page_admin: ListPage, request: HttpRequest, rows: QuerySet[Any], left_out: str
) -> Iterator[tuple[int, str]]:
    """Yield how many rows each page has, and its text; at the end what was left out."""
    wanted = list_columns(page_admin, request)
    head = csv_file.format_lines([[column.find_label(page_admin) for column in wanted]])
    text, found = csv_file.ENCODING_MARK + head, _read_page(rows)
    while True:
        page_admin.load_details(request, found)
        lines = [[column.find_value(page_admin, row) for column in wanted] for row in found]
        yield len(found), text + csv_file.format_lines(lines)
        if len(found) < PAGE_ROWS:
            break
        text, found = "", _read_page(rows.filter(pk__lt=found[-1].pk))
    if left_out:
        yield 0, csv_file.format_lines([[left_out]])


def _read_page(rows: QuerySet[Any]) -> list[Any]:
    return list(rows[:PAGE_ROWS])


def _prepare(page_admin: ListPage, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Order the rows by key, the newest first, and load the rows that the columns name, without their encrypted fields."""
    relations = {field.name: field for field in page_admin.model._meta.concrete_fields if field.is_relation}
    named = {column.name.partition(".")[0] for column in page_admin.exported} & relations.keys()
    rows = rows.order_by("-pk").prefetch_related(*page_admin.exported_with)
    if not named:
        return rows
    secrets = [f"{name}__{secret}" for name in named for secret in _list_encrypted(relations[name].related_model)]
    return rows.select_related(*named).defer(*secrets)


def _list_encrypted(model: Any) -> list[str]:
    return [field.name for field in model._meta.concrete_fields if isinstance(field, Encrypted)]
