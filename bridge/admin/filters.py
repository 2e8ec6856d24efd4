"""Filters that several lists share."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class DayFilter(admin.SimpleListFilter):
    title, parameter_name = _("day"), "day"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        return [("today", _("today")), ("yesterday", _("yesterday")), ("week", _("last 7 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        if self.value() == "today":
            return queryset.filter(created_at__gte=midnight)
        if self.value() == "yesterday":
            return queryset.filter(created_at__gte=midnight - timedelta(days=1), created_at__lt=midnight)
        if self.value() == "week":
            return queryset.filter(created_at__gte=midnight - timedelta(days=6))
        if days := parse_days(self.value() or ""):
            first, last = (midnight_of(day) for day in (days[0], days[1] + timedelta(days=1)))
            return queryset.filter(created_at__gte=first, created_at__lt=last)
        return queryset


def parse_days(text: str) -> tuple[date, date] | None:
    """Return the first and last day of "2026-11-27" or "2026-11-01..2026-11-27", as reports link to them; None where it is neither."""
    first, _dots, last = text.partition("..")
    try:
        return date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        return None


def midnight_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()), timezone.get_current_timezone())
