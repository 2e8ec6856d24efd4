"""The figures of the start page, read from the rows and from what was counted of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Q
from django.utils import timezone

from bridge.models import Delivery, Reason, State, Target
from bridge.operations.figures.reading_sql import BY_DAY_AND_AGENT, OPEN_WORK, TODAY_BY_HOUR, DayRow, OpenWork
from bridge.operations.figures.times import BUCKETS, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

DAYS = 30
DEAD = Q(state__in=(State.DEAD, State.UNCERTAIN), dismissed_at=None)
# Deliveries that the content check objected to, or could not check: they wait for a person.
REVIEW = Q(state=State.HELD, reason=Reason.REVIEW)
OPEN = Q(state__in=(State.PENDING, State.SENDING, State.HELD))


@dataclass(frozen=True, slots=True)
class Point:
    """What was received, sent and failed in an hour or on a day that begins at `at`."""

    at: datetime
    incoming: int = 0
    outgoing: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class AgentTimes:
    """How long the answers of an agent took, in seconds."""

    gateway_id: int | None
    agent_id: str
    answers: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class Dashboard:
    """The figures of the start page, in the site's time zone. hours: of today; held_by: `Reason` → how many deliveries are held for it."""

    since: datetime
    hours: list[Point]
    waiting: int
    oldest_waiting: datetime | None
    held_by: dict[str, int]
    dead: int
    uncertain: int
    counted: list[DayRow] = field(default_factory=list)

    @property
    def held(self) -> int:
        return sum(self.held_by.values())

    @property
    def incoming(self) -> int:
        return sum(hour.incoming for hour in self.hours)

    @property
    def outgoing(self) -> int:
        return sum(hour.outgoing for hour in self.hours)

    @property
    def failed(self) -> int:
        return sum(hour.failed for hour in self.hours)

    def points_of(self, days: int) -> list[Point]:
        """Return the hours of today for one day, otherwise the days up to today."""
        if days == 1:
            return self.hours
        sums: dict[date, list[int]] = defaultdict(lambda: [0, 0, 0])
        for row in self.counted:
            for place, value in enumerate((row.incoming, row.outgoing, row.failed)):
                sums[row.day][place] += value
        sums[self.since.date()] = [self.incoming, self.outgoing, self.failed]
        starts = [self.since - timedelta(days=days - 1 - number) for number in range(days)]
        return [Point(start, *sums[start.date()]) for start in starts]

    def times_of(self, days: int) -> list[AgentTimes]:
        """Return the times to answer of each agent in the last days, today included, most answers first."""
        first = self.since.date() - timedelta(days=days - 1)
        sums: dict[tuple[int | None, str], list[int]] = defaultdict(lambda: [0] * BUCKETS)
        for row in self.counted:
            if row.day >= first and any(row.answer_times):
                key = row.gateway_id, row.agent_id
                sums[key] = [a + b for a, b in zip(sums[key], row.answer_times, strict=True)]
        found = [
            AgentTimes(*key, sum(times), percentile(times, 0.5), percentile(times, 0.95)) for key, times in sums.items()
        ]
        return sorted(found, key=lambda one: -one.answers)


@dataclass
class Backlog:
    """What waits for one account or gateway. oldest: since when."""

    total: int = 0
    oldest: datetime | None = None

    def add(self, row: OpenWork) -> None:
        self.total += row.total
        self.oldest = min(self.oldest or row.oldest, row.oldest)


def read_dashboard() -> Dashboard:
    """Read the figures in four queries, none of which reads more than an hour's messages, the open work and the undismissed failures."""
    since = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    waiting, oldest, held_by = _sum_open_work(OPEN_WORK.fetch())
    failed = dict(Delivery.objects.filter(DEAD).order_by().values_list("state").annotate(n=Count("id")))
    return Dashboard(
        since=since,
        hours=_read_hours(since),
        waiting=waiting,
        oldest_waiting=oldest,
        held_by=held_by,
        dead=failed.get("dead", 0),
        uncertain=failed.get("uncertain", 0),
        counted=BY_DAY_AND_AGENT.fetch(since=since.date() - timedelta(days=DAYS - 1)),
    )


def read_backlogs() -> tuple[dict[int, Backlog], dict[int, Backlog]]:
    """Return account id → what is to be sent by it, and gateway id → what is to be asked of it. One query."""
    accounts: dict[int, Backlog] = defaultdict(Backlog)
    gateways: dict[int, Backlog] = defaultdict(Backlog)
    for row in OPEN_WORK.fetch():
        if row.state == State.HELD:
            continue
        if row.target == Target.CHANNEL and row.account_id:
            accounts[row.account_id].add(row)
        elif row.target == Target.AGENT and row.gateway_id:
            gateways[row.gateway_id].add(row)
    return accounts, gateways


def _sum_open_work(rows: list[OpenWork]) -> tuple[int, datetime | None, dict[str, int]]:
    """Return how many deliveries wait or are on their way, since when the oldest does, and how many are held for each reason."""
    waiting = [row for row in rows if row.state != State.HELD]
    held: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.state == State.HELD:
            held[row.reason] += row.total
    return sum(row.total for row in waiting), min((row.oldest for row in waiting), default=None), dict(held)


def _read_hours(since: datetime) -> list[Point]:
    rows = TODAY_BY_HOUR.fetch(midnight=since, zone=str(timezone.get_default_timezone()))
    return _fill_hours(since, ((row.hour, row.incoming, row.outgoing, row.failed) for row in rows))


def _fill_hours(since: datetime, rows: Iterable[tuple[datetime, int, int, int]]) -> list[Point]:
    counts = {timezone.localtime(hour).hour: values for hour, *values in rows}
    return [Point(since.replace(hour=hour), *counts.get(hour, (0, 0, 0))) for hour in range(24)]


def select_dead_letters() -> QuerySet[Delivery]:
    """Return the failures that nobody has dismissed, newest first."""
    return Delivery.objects.filter(DEAD).order_by("-id")
