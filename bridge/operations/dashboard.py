"""The figures of the start page, read from the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Min, Q
from django.db.models.functions import TruncHour
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Delivery, Incident, Message, Reason, State, Target
from bridge.runtime.spool import report
from bridge.runtime.spool.journal import SpoolStatus, read_status
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterable

# The badge says "99+" beyond this.
MAX_BADGE = 100
DEAD = Q(state__in=(State.DEAD, State.UNCERTAIN), dismissed_at=None)
# Deliveries that the content check objected to, or could not check: they wait for a person.
REVIEW = Q(state=State.HELD, reason=Reason.REVIEW)
OPEN = Q(state__in=(State.PENDING, State.SENDING, State.HELD))


@dataclass(frozen=True)
class Hour:
    hour: int
    incoming: int
    outgoing: int


@dataclass(frozen=True)
class Dashboard:
    """The figures of the start page, of today in the site's time zone. held_by: `Reason` → how many deliveries are held for it.

    spooled: callbacks that were stored on disk and, within a day, in the database; spool: those that wait on disk now.
    """

    since: datetime
    hours: list[Hour]
    waiting: int
    oldest_waiting: datetime | None
    held_by: dict[str, int]
    dead: int
    uncertain: int
    accounts: list[ChannelAccount] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    spooled: list[Incident] = field(default_factory=list)
    spool: SpoolStatus = field(default_factory=SpoolStatus)
    # How many deliveries wait for an account or a gateway that does not work, by its id.
    waits_for_account: dict[int, int] = field(default_factory=dict)
    waits_for_gateway: dict[int, int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(self.held_by.values())

    @property
    def incoming(self) -> int:
        return sum(hour.incoming for hour in self.hours)

    @property
    def outgoing(self) -> int:
        return sum(hour.outgoing for hour in self.hours)


def read_dashboard() -> Dashboard:
    """Read all figures in eight queries, none of which reads more than today's messages, the open work and the undismissed failures."""
    since = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    waiting, oldest, held_by = _count_open_work()
    spooled = Q(cause=report.CAUSE, closed_at__gt=timezone.now() - timedelta(days=1))
    incidents = list(Incident.objects.filter(Q(closed_at=None) | spooled)[:50])
    failed = dict(Delivery.objects.filter(DEAD).order_by().values_list("state").annotate(n=Count("id")))
    pending = Delivery.objects.filter(state=State.PENDING).order_by()
    down = Q(account__enabled=False) | Q(account__state=Health.STOPPED) | Q(account__sending_stopped_at__isnull=False)
    unreachable = Q(gateway__enabled=False) | Q(gateway__state__in=(Health.STOPPED, Health.FAILING))
    by_account = pending.filter(down, target=Target.CHANNEL).values_list("account").annotate(n=Count("id"))
    by_gateway = pending.filter(unreachable, target=Target.AGENT).values_list("gateway").annotate(n=Count("id"))
    return Dashboard(
        since=since,
        waits_for_account=dict(by_account),
        waits_for_gateway=dict(by_gateway),
        hours=_count_by_hour(since),
        waiting=waiting,
        oldest_waiting=oldest,
        held_by=held_by,
        dead=failed.get("dead", 0),
        uncertain=failed.get("uncertain", 0),
        accounts=list(ChannelAccount.objects.defer("credentials")),
        gateways=list(Gateway.objects.defer("token", "device_key", "device_token")),
        incidents=[incident for incident in incidents if incident.closed_at is None][:10],
        spooled=[incident for incident in incidents if incident.closed_at],
        spool=read_status(),
    )


def _count_open_work() -> tuple[int, datetime | None, dict[str, int]]:
    """Return how many deliveries wait or are on their way, since when the oldest does, and how many are held for each reason."""
    counted = Delivery.objects.filter(OPEN).order_by().values_list("state", "reason")
    rows = list(counted.annotate(n=Count("id"), oldest=Min("queued_at")))
    waiting = [(n, oldest) for state, _reason, n, oldest in rows if state != State.HELD]
    held = {reason: n for state, reason, n, _oldest in rows if state == State.HELD}
    return sum(n for n, _oldest in waiting), min((at for _n, at in waiting), default=None), held


def _count_by_hour(since: datetime) -> list[Hour]:
    rows = Message.objects.filter(created_at__gte=since).exclude(kind="event").order_by()
    counted = rows.annotate(hour=TruncHour("created_at")).values_list("hour", "direction").annotate(n=Count("id"))
    return _fill_hours(counted)


def _fill_hours(counted: Iterable[tuple[datetime, str, int]]) -> list[Hour]:
    counts = {(hour.hour, direction): n for hour, direction, n in counted}
    return [Hour(hour, counts.get((hour, "in"), 0), counts.get((hour, "out"), 0)) for hour in range(24)]


def count_dead_letters() -> int:
    """Count the failures that nobody has dismissed, for the menu's badge; at most MAX_BADGE of them."""
    return len(Delivery.objects.filter(DEAD).order_by("-id").values_list("pk")[:MAX_BADGE])
