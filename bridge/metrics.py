"""What the pages count. Callbacks are counted in Valkey, which may forget them; everything else is read from the rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Min, Q
from django.db.models.functions import TruncHour
from django.utils import timezone

from accounts import counters
from accounts.models import ChannelAccount, Health
from accounts.valkey import ask
from bridge.models import Delivery, Incident, Message, Reason, State, Target
from bridge.pipeline.inbound import spool_report
from bridge.pipeline.inbound.spool import Waiting
from bridge.pipeline.inbound.spool import waiting as waiting_on_disk
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Counters of an account nobody calls any more go away after this. Seconds.
KEEP_SECONDS = 30 * 24 * 3600
# An account that is called a hundred times a second is noted once in it.
NOTE_SECONDS = 1.0
# The badge says "99+" beyond this.
BADGE_MOST = 100
DEAD = Q(state__in=(State.DEAD, State.UNCERTAIN), dismissed_at=None)
# What the content check objects to, or could not look at: it waits for a person.
REVIEW = Q(state=State.HELD, reason=Reason.REVIEW)
OPEN = Q(state__in=(State.PENDING, State.SENDING, State.HELD))
_last_noted: dict[str, tuple[str, float]] = {}


def note_callback(account_key: str, result: str, refused: bool) -> Callable[[Any], None] | None:
    """Count the callback of a known account in this process. result: "ok", or the refusal's code.

    Returns what is to be written to Valkey, for whoever must not wait for it; None: not now.
    """
    counters.add("callbacks", account=account_key, result=result)
    now = time.monotonic()
    last, at = _last_noted.get(account_key, ("", 0.0))
    if last == result and not refused and now - at < NOTE_SECONDS:
        return None
    _last_noted[account_key] = (result, now)

    def write(valkey: Any) -> None:
        key = f"callback:{account_key}"
        with valkey.pipeline(transaction=False) as pipe:
            pipe.hset(key, mapping={"at": time.time(), "result": result})
            if refused:
                pipe.hincrby(key, f"refused:{result}", 1)
            pipe.expire(key, KEEP_SECONDS)
            pipe.execute()

    return write


def last_callback(account: ChannelAccount) -> tuple[datetime, str] | None:
    """When the platform last called and with what result; from the newest message where Valkey has forgotten."""
    noted = _noted(account)
    if "at" in noted:
        return datetime.fromtimestamp(float(noted["at"]), UTC), noted.get("result", "")
    heard = Message.objects.filter(account=account, direction="in", source="channel").order_by("-id")
    newest = heard.values_list("created_at", flat=True).first()
    return (newest, "ok") if newest else None


def refusals(account: ChannelAccount) -> dict[str, int]:
    """Callbacks not taken, by code, most frequent first."""
    counts = {
        name.removeprefix("refused:"): int(n) for name, n in _noted(account).items() if name.startswith("refused:")
    }
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _noted(account: ChannelAccount) -> dict[str, str]:
    nothing: dict[str, str] = {}
    return ask(lambda valkey: valkey.hgetall(f"callback:{account.key}"), nothing)


@dataclass(frozen=True)
class Hour:
    hour: int
    incoming: int
    outgoing: int


@dataclass(frozen=True)
class Dashboard:
    """One look at everything. today: since midnight in the site's time zone. held_by: `Reason` → how many are held for it.

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
    spool: Waiting = field(default_factory=Waiting)
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


def dashboard() -> Dashboard:
    """Eight queries, none of which reads more than today's messages, the open work and the undismissed failures."""
    since = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    waiting, oldest, held_by = _open_work()
    spooled = Q(cause=spool_report.CAUSE, closed_at__gt=timezone.now() - timedelta(days=1))
    incidents = list(Incident.objects.filter(Q(closed_at=None) | spooled)[:50])
    failed = dict(Delivery.objects.filter(DEAD).order_by().values_list("state").annotate(n=Count("id")))
    pending = Delivery.objects.filter(state=State.PENDING).order_by()
    down = Q(account__enabled=False) | Q(account__state=Health.STOPPED)
    unreachable = Q(gateway__enabled=False) | Q(gateway__state__in=(Health.STOPPED, Health.FAILING))
    by_account = pending.filter(down, target=Target.CHANNEL).values_list("account").annotate(n=Count("id"))
    by_gateway = pending.filter(unreachable, target=Target.AGENT).values_list("gateway").annotate(n=Count("id"))
    return Dashboard(
        since=since,
        waits_for_account=dict(by_account),
        waits_for_gateway=dict(by_gateway),
        hours=_hours(since),
        waiting=waiting,
        oldest_waiting=oldest,
        held_by=held_by,
        dead=failed.get("dead", 0),
        uncertain=failed.get("uncertain", 0),
        accounts=list(ChannelAccount.objects.defer("credentials")),
        gateways=list(Gateway.objects.defer("token", "device_key", "device_token")),
        incidents=[incident for incident in incidents if incident.closed_at is None][:10],
        spooled=[incident for incident in incidents if incident.closed_at],
        spool=waiting_on_disk(),
    )


def _open_work() -> tuple[int, datetime | None, dict[str, int]]:
    """What waits or is on its way, since when the oldest does, and what is held, by reason."""
    counted = Delivery.objects.filter(OPEN).order_by().values_list("state", "reason")
    rows = list(counted.annotate(n=Count("id"), oldest=Min("queued_at")))
    waiting = [(n, oldest) for state, _reason, n, oldest in rows if state != State.HELD]
    held = {reason: n for state, reason, n, _oldest in rows if state == State.HELD}
    return sum(n for n, _oldest in waiting), min((at for _n, at in waiting), default=None), held


def _hours(since: datetime) -> list[Hour]:
    rows = Message.objects.filter(created_at__gte=since).exclude(kind="event").order_by()
    counted = rows.annotate(hour=TruncHour("created_at")).values_list("hour", "direction").annotate(n=Count("id"))
    return _by_hour(counted)


def _by_hour(counted: Iterable[tuple[datetime, str, int]]) -> list[Hour]:
    found = {(hour.hour, direction): n for hour, direction, n in counted}
    return [Hour(hour, found.get((hour, "in"), 0), found.get((hour, "out"), 0)) for hour in range(24)]


def dead_letters() -> int:
    """For the menu's badge: failures nobody has dealt with, counted to BADGE_MOST only."""
    return len(Delivery.objects.filter(DEAD).order_by("-id").values_list("pk")[:BADGE_MOST])
