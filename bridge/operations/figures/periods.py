"""Hours and days in the site's time zone, and which of them are to be counted now."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Max, Min
from django.utils import timezone

from bridge.models import CountedPeriod, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

Kind = CountedPeriod.Kind
# A result may come this much later and is still counted. Messages are kept a day longer at least, so none that was counted is missing.
RECENT = timedelta(days=6)
# Thirteen months, so that a month can be compared with the same one a year before.
KEEP = timedelta(days=400)
# How long after its beginning a period is counted again after so many seconds; the first line that is long enough holds.
AGAIN: dict[Kind, tuple[tuple[timedelta, float], ...]] = {
    Kind.HOUR: ((timedelta(hours=2), 30.0), (timedelta(hours=26), 1800.0), (RECENT, 6 * 3600.0)),
    Kind.DAY: ((timedelta(hours=26), 300.0), (timedelta(hours=50), 3600.0), (RECENT, 12 * 3600.0)),
}
# Counting takes at most this share of one core: a period that took long waits longer.
LARGEST_SHARE = 1 / 30


class Period(NamedTuple):
    """An hour or a day, from its beginning to before its end."""

    kind: Kind
    since: datetime
    until: datetime

    @property
    def day(self) -> date:
        return timezone.localtime(self.since).date()


def hour_of(moment: datetime) -> Period:
    """Return the hour of this moment, whose minutes begin at 0 in the site's time zone."""
    local = timezone.localtime(moment)
    since = (moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)).astimezone(
        UTC
    )
    return Period(Kind.HOUR, since, since + timedelta(hours=1))


def day_of(moment: datetime) -> Period:
    """Return the day of this moment; where the clocks change it has 23 or 25 hours."""
    return day_period(timezone.localtime(moment).date())


def day_period(day: date) -> Period:
    since, until = (midnight(day + timedelta(days=days)) for days in (0, 1))
    return Period(Kind.DAY, since, until)


def midnight(day: date) -> datetime:
    """Return when this day begins in the site's time zone."""
    return datetime.combine(day, time(), timezone.get_default_timezone()).astimezone(UTC)


def find_due_periods(now: datetime) -> Iterator[Period]:
    """Yield the periods that are to be counted now; right after an update the newest first.

    What was counted has no gap: it grows forward from the last counted period and backward from the first, so a process may be killed
    between any two of them.
    """
    oldest = Message.objects.order_by("created_at").values_list("created_at", flat=True).first()
    if oldest is None:
        return
    for kind, period_of in ((Kind.HOUR, hour_of), (Kind.DAY, day_of)):
        starts = CountedPeriod.objects.filter(kind=kind).aggregate(first=Min("starts_at"), last=Max("starts_at"))
        newest = period_of(now)
        if starts["last"] is None:
            yield newest
        else:
            yield from _find_next(period_of(starts["last"]), newest, period_of)
            yield from _find_due_again(kind, now)
        yield from _find_earlier(starts["first"] or newest.since, max(oldest, now - KEEP), period_of)


def _find_next(last: Period, newest: Period, period_of: Callable[[datetime], Period]) -> Iterator[Period]:
    """Yield the periods after the last one that was counted."""
    while last.since < newest.since:
        last = period_of(last.until)
        yield last


def _find_earlier(first: datetime, oldest: datetime, period_of: Callable[[datetime], Period]) -> Iterator[Period]:
    """Yield the periods before the first one that was counted, the latest first, back to that of the oldest message."""
    while first > oldest:
        period = period_of(first - timedelta(seconds=1))
        yield period
        first = period.since


def _find_due_again(kind: Kind, now: datetime) -> Iterator[Period]:
    """Yield the counted periods whose results may have changed, the newest first."""
    for row in CountedPeriod.objects.filter(kind=kind, starts_at__gt=now - 2 * RECENT).order_by("-starts_at"):
        if _is_due_again(row, now):
            yield Period(kind, row.starts_at, row.ends_at)


def _is_due_again(row: CountedPeriod, now: datetime) -> bool:
    if row.counted_at < row.ends_at <= now - timedelta(hours=1):
        return True  # the clock stood still before its end
    age = now - row.starts_at
    wait = next((seconds for limit, seconds in AGAIN[Kind(row.kind)] if age < limit), None)
    if wait is None:
        return False
    return (now - row.counted_at).total_seconds() >= max(wait, row.seconds / LARGEST_SHARE)
