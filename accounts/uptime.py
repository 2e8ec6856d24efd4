"""How much of a time an account or a gateway worked, from the history of its states."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from accounts.state_changes import StateChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accounts.health import HealthMixin

DAYS = 30


@dataclass(frozen=True, slots=True)
class Span:
    """A time in one state."""

    since: datetime
    until: datetime
    state: str


def read_uptimes(rows: Iterable[HealthMixin], days: int = DAYS) -> dict[HealthMixin, list[Span]]:
    """Return the spans of each row in the last days, the latest first. One query."""
    since, changes = timezone.now() - timedelta(days=days), defaultdict[tuple[bool, int], list[StateChange]](list)
    for change in StateChange.objects.filter(at__gt=since).order_by("-at", "-id"):
        changes[change.account_id is not None, change.account_id or change.gateway_id or 0].append(change)
    return {row: list_spans(row, changes[isinstance(row, ChannelAccount), row.pk], since) for row in rows}


def read_uptime(row: HealthMixin, days: int = DAYS) -> list[Span]:
    """Return the spans of one row. One query."""
    since = timezone.now() - timedelta(days=days)
    own = (
        {"account": row.pk, "gateway": None}
        if isinstance(row, ChannelAccount)
        else {"account": None, "gateway": row.pk}
    )
    return list_spans(row, list(StateChange.objects.filter(at__gt=since, **own).order_by("-at", "-id")), since)


def list_spans(row: HealthMixin, changes: Sequence[StateChange], since: datetime) -> list[Span]:
    """Return in which states a row was since then, the latest first. changes: those since then, the latest first.

    Before the first change that was ever stored only the state since when it lasts is known.
    """
    spans, until, state = [], timezone.now(), row.state
    for change in changes:
        spans.append(Span(change.at, until, state))
        until, state = change.at, change.before
    begin: datetime = row.created_at if changes else row.state_since  # type: ignore[attr-defined]  # of both models
    if (begin := max(begin, since)) < until:
        spans.append(Span(begin, until, state))
    return spans


def share_up(spans: Iterable[Span], since: datetime, until: datetime | None = None) -> float | None:
    """Return which share of this time it worked, 0 to 1. None where it was in no state that says so: new, or not there."""
    until, seconds = until or timezone.now(), defaultdict[str, float](float)
    for span in spans:
        length = (min(span.until, until) - max(span.since, since)).total_seconds()
        seconds[span.state] += max(0.0, length)
    known = sum(seconds[state] for state in (Health.OK, Health.FAILING, Health.STOPPED))
    return seconds[Health.OK] / known if known else None


def shares_by_day(spans: Sequence[Span], days: int = DAYS) -> list[tuple[datetime, float | None]]:
    """Return the share of each of the last days in the site's time zone, today the last."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [today - timedelta(days=days - 1 - number) for number in range(days)]
    return [(start, share_up(spans, start, start + timedelta(days=1))) for start in starts]
