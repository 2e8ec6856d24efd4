"""Filters that several lists share."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from bridge.admin.paging import CURSOR_PARAMETERS
from bridge.ui import search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest


class TimeFilter(admin.ListFilter):
    """Named spans of time, and from–to with hours and minutes in the zone of the page.

    The theme has a filter of that kind too, but it passes over a day without an hour and what it cannot read, so that the list would show
    everything; and its condition knows nothing of `search.before`.
    """

    title = _("time")
    template = "admin/bridge/time_filter.html"
    column: ClassVar[str] = "created_at"
    # The span, and from–to: names in the address.
    parameters: ClassVar[tuple[str, ...]] = ("day", "from", "to")

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name)[-1] for name in self.parameters if params.get(name)}
        self.used_parameters = {name: value for name, value in given.items() if value}
        ours = {*self.parameters, *CURSOR_PARAMETERS, PAGE_VAR, ERROR_FLAG}
        # What the form of from–to sends along, so that other filters and the search stay.
        self.kept = [(name, value) for name, values in request.GET.lists() for value in values if name not in ours]
        self.zone = timezone.get_current_timezone_name()
        self.begin, self.end = self._read("from"), self._read("to")

    @property
    def wrong(self) -> bool:
        """Whether something was given that is no time."""
        day = str(self.used_parameters.get("day", ""))
        is_day = not day or day in dict(_SPANS) or parse_days(day) is not None
        return not is_day or any(name in self.used_parameters and not self._read(name) for name in ("from", "to"))

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters)

    def choices(self, changelist: Any) -> Iterator[Any]:
        chosen = self.used_parameters.get("day", "")
        for value, display in [("", _("All")), *_SPANS]:
            new = {"day": value} if value else {}
            gone = ["from", "to"] if value else list(self.parameters)
            yield {
                "selected": chosen == value and not (self.begin or self.end),
                "query_string": changelist.get_query_string(new, gone),
                "display": display,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.wrong:
            return queryset.none()
        begin, end = _find_span(str(self.used_parameters.get("day", "")))
        if begin := self.begin or begin:
            queryset = self.select_from(queryset, begin)
        if end := self.end or end:
            queryset = self.select_before(queryset, end)
        return queryset

    def select_from(self, rows: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        return search.after(rows, moment)

    def select_before(self, rows: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        return search.before(rows, moment)

    def _read(self, name: str) -> datetime | None:
        """Return the time that a field of from–to has, as browsers send it: 2026-11-28T14:00, in the zone of the page.

        None also where it has no year from 1 to 9999 in this zone.
        """
        try:
            found = parse_datetime(str(self.used_parameters.get(name, "")))
            if found and timezone.is_naive(found):
                return timezone.make_aware(found)
            return found and timezone.localtime(found)
        except (ValueError, OverflowError):
            return None


_SPANS = [
    ("hour", _("last hour")),
    ("today", _("today")),
    ("yesterday", _("yesterday")),
    ("week", _("last 7 days")),
    ("month", _("last 30 days")),
]


def _find_span(name: str) -> tuple[datetime | None, datetime | None]:
    """Return the begin and end of a named span; None where it is open."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    spans: dict[str, tuple[datetime | None, datetime | None]] = {
        "hour": (timezone.now() - timedelta(hours=1), None),
        "today": (midnight, None),
        "yesterday": (midnight - timedelta(days=1), midnight),
        "week": (midnight - timedelta(days=6), None),
        "month": (midnight - timedelta(days=29), None),
    }
    if days := parse_days(name):
        return midnight_of(days[0]), midnight_of(days[1] + timedelta(days=1))
    return spans.get(name, (None, None))


def parse_days(text: str) -> tuple[date, date] | None:
    """Return the first and last day of "2026-11-27" or "2026-11-01..2026-11-27", as reports link to them; None where it is neither."""
    first, _dots, last = text.partition("..")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        return None
    return days if max(days) < date.max and min(days) > date.min else None


def midnight_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()), timezone.get_current_timezone())


class ColumnTimeFilter(TimeFilter):
    """By another column than that of creation, whose order is not that of the ids."""

    def select_from(self, rows: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        return rows.filter(**{f"{self.column}__gte": moment})

    def select_before(self, rows: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        return rows.filter(**{f"{self.column}__lt": moment})


class HeardFilter(ColumnTimeFilter):
    title, column = _("last message"), "last_inbound_at"


class FailedFilter(ColumnTimeFilter):
    title, column = _("failed"), "finished_at"


class LinkedFilter(admin.SimpleListFilter):
    """A filter that links set, so that it offers nothing but what is chosen: reading all values would read the table."""

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        given = request.GET.get(str(self.parameter_name), "")
        return [(given, self.describe(given))] if given else []

    def describe(self, value: str) -> Any:
        return value


class CodeFilter(LinkedFilter):
    """Deliveries with this code."""

    title, parameter_name = _("code"), "code"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(code=self.value()) if self.value() else queryset
