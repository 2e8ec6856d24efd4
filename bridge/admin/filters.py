"""Filters that several lists share."""

from __future__ import annotations

from datetime import timedelta
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
        return queryset
