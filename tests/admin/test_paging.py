"""Pages of a list that is not counted: how far they go, and how the list goes on behind the deepest one."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.core.paginator import EmptyPage

from bridge.admin import paging
from bridge.admin.paging import UncountedPaginator


@pytest.fixture(autouse=True)
def _three_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE", 3)


def pages(count: int, number: int, order: str = "-id") -> UncountedPaginator:
    """Two rows a page, of so many."""
    Group.objects.all().delete()
    Group.objects.bulk_create(Group(name=str(each)) for each in range(count))
    return UncountedPaginator(Group.objects.order_by(order), 2, number=number)


def names(found: UncountedPaginator) -> list[str]:
    return [row.name for row in found.rows]


@pytest.mark.parametrize(
    ("count", "number", "has_next", "is_cut_off"),
    [(4, 2, False, False), (5, 2, True, False), (6, 3, False, False), (7, 3, False, True), (7, 4, False, True)],
)
def test_which_page_has_more_behind_it(*, count: int, number: int, has_next: bool, is_cut_off: bool) -> None:
    found = pages(count, number)
    assert (found.has_next, found.is_cut_off) == (has_next, is_cut_off)


def test_the_deepest_page_is_shown_and_none_behind_it() -> None:
    found = pages(9, 3)
    assert names(found) == [row.name for row in found.page(3)] == ["4", "3"]
    with pytest.raises(EmptyPage):
        found.page(4)


@pytest.mark.parametrize(("order", "by"), [("-id", "id__lt"), ("id", "id__gt"), ("-pk", "id__lt"), ("pk", "id__gt")])
def test_behind_the_deepest_page_the_list_goes_on_from_its_last_row(order: str, by: str) -> None:
    found = pages(9, 3, order)
    last = found.rows[-1].pk
    assert found.next_cursor == {by: last}
    rest = UncountedPaginator(Group.objects.filter(**found.next_cursor).order_by(order), 2)
    whole = list(Group.objects.order_by(order).values_list("pk", flat=True))
    assert rest.rows[0].pk == whole[whole.index(last) + 1]


@pytest.mark.parametrize(("count", "order"), [(6, "-id"), (9, "name")])
def test_the_list_goes_on_nowhere_else(count: int, order: str) -> None:
    assert pages(count, 3, order).next_cursor == {}
