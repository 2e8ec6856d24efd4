"""Pages of a list that is never counted, and never walked through to a place far behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.paginator import EmptyPage, Page, Paginator
from django.utils.functional import cached_property

if TYPE_CHECKING:
    from django.http import HttpRequest

    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

# The database walks over every row before a page. Behind this one a list goes on from a row's id, as a first page again.
MAX_PAGE = 100
# A row's number has fewer: PostgreSQL counts to 2**63.
MAX_DIGITS = 19
# By the order of a list: the filter under which it goes on.
CONTINUATION_LOOKUPS = {"-id": "id__lt", "-pk": "id__lt", "id": "id__gt", "pk": "id__gt"}
CURSOR_PARAMETERS = frozenset(CONTINUATION_LOOKUPS.values())


class UncountedPaginator(_Paginator):
    """Reads one row past the page instead of counting the table; `count` is therefore "so many or more".

    number: the page that is asked for.
    """

    template_name = "admin/bridge/pagination.html"

    def __init__(self, *args: Any, number: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wanted = min(number, MAX_PAGE)

    @cached_property
    def _rows_and_one(self) -> list[Any]:
        rows: Any = self.object_list
        start = (self.wanted - 1) * self.per_page
        return list(rows[start : start + self.per_page + 1])

    @property
    def rows(self) -> list[Any]:
        """Return the rows of the requested page."""
        return self._rows_and_one[: self.per_page]

    @cached_property
    def count(self) -> int:
        return (self.wanted - 1) * self.per_page + len(self._rows_and_one)

    def page(self, number: int | str) -> Page[Any]:
        """Raises EmptyPage behind the deepest one."""
        if self.validate_number(number) > MAX_PAGE:
            raise EmptyPage
        return super().page(number)

    @property
    def has_next(self) -> bool:
        """Whether there is a page after the one that was asked for."""
        return self._has_more and self.wanted < MAX_PAGE

    @property
    def next_cursor(self) -> dict[str, Any]:
        """At the deepest page: the filter under which the list goes on; none where the order is not that of the ids."""
        rows: Any = self.object_list
        by = CONTINUATION_LOOKUPS.get(next(iter(rows.query.order_by), ""))
        return {by: self.rows[-1].pk} if by and self.is_cut_off else {}

    @property
    def is_cut_off(self) -> bool:
        return self._has_more and self.wanted == MAX_PAGE

    @property
    def _has_more(self) -> bool:
        return len(self._rows_and_one) > self.per_page


class CountedPaginator(UncountedPaginator):
    """For lists that an index keeps short."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.count())


def row_number(text: str) -> int | None:
    """The number of a row that an address names; None where it is none, or larger than any: Python reads no number of 5000 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else None


def page_number(request: HttpRequest) -> int:
    text = request.GET.get("p", "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1
