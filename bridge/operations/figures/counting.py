"""Counts the figures of hours and days. Beat starts it; it can be killed anywhere and run twice.

A period is counted in one transaction, which deletes what was counted of it before: nothing is counted twice. Results arrive late, so
recent periods are counted again and again, the older the more rarely (`periods.AGAIN`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.utils import timezone

from bridge.models import ConversationFigures, CountedPeriod, DayFigures, HourFigures
from bridge.operations.figures import counting_sql
from bridge.operations.figures.periods import KEEP, Kind, Period, day_period, find_due_periods

if TYPE_CHECKING:
    from datetime import datetime

# One process counts at a time: the number of a lock of PostgreSQL that nothing else here uses.
LOCK = 6_021_023


def count_due_periods(seconds: float) -> int:
    """Count what is due, for about this long. Return how many periods were counted; the next run goes on."""
    deadline, counted = time.monotonic() + seconds, 0
    for period in find_due_periods(timezone.now()):
        if time.monotonic() >= deadline or not count_period(period):
            break
        counted += 1
    return counted


def count_period(period: Period) -> bool:
    """Count an hour or a day anew. False where another process counts now."""
    started = time.monotonic()
    with transaction.atomic():
        if not _lock():
            return False
        now = timezone.now()
        if period.kind == Kind.HOUR:
            _count_hour(period)
        else:
            _count_day(period)
        _store_period(period, now, time.monotonic() - started)
    return True


def prune() -> None:
    """Delete figures that are older than their retention. Their periods are deleted with them, and not counted again."""
    before = timezone.now() - KEEP
    HourFigures.objects.filter(hour__lt=before).delete()
    DayFigures.objects.filter(day__lt=before.date()).delete()
    ConversationFigures.objects.filter(day__lt=before.date()).delete()
    CountedPeriod.objects.filter(ends_at__lt=before).delete()


def _lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _count_hour(period: Period) -> None:
    """Count an hour, and add up its day."""
    HourFigures.objects.filter(hour=period.since).delete()
    counting_sql.COUNT_HOUR.fetch(at=period.since, **_bounds(period))
    day = day_period(period.day)
    DayFigures.objects.filter(day=day.day).delete()
    counting_sql.SUM_DAY.fetch(at=day.day, **_bounds(day))


def _count_day(period: Period) -> None:
    ConversationFigures.objects.filter(day=period.day).delete()
    counting_sql.COUNT_DAY_BY_CONVERSATION.fetch(at=period.day, **_bounds(period))


def _bounds(period: Period) -> dict[str, Any]:
    return {"since": period.since, "until": period.until}


def _store_period(period: Period, now: datetime, seconds: float) -> None:
    values = {"ends_at": period.until, "counted_at": now, "seconds": seconds}
    CountedPeriod.objects.update_or_create(kind=period.kind, starts_at=period.since, defaults=values)
