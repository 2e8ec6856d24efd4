"""Finds what is wrong with the bridge itself: processes that do not work, callbacks on disk, quotas, and alerts that nobody gets."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Exists, Min, OuterRef, Q
from django.utils import timezone

from accounts import valkey
from accounts.channels import build_channel
from accounts.fields import Undecryptable
from accounts.health import Health
from accounts.limits import all_limits, list_remaining
from accounts.models import ChannelAccount, Connection
from bridge.explanations.incidents import in_english
from bridge.models import Carrier, Delivery, State, Target
from bridge.operations import alerts
from bridge.operations.problems.problem import Problem, Unknown
from bridge.runtime.spool import journal, report
from channels_wechat.contract.connection import LOGIN_STATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.operations.problems.problem import Names
    from channels_wechat.contract.messages import Limit

# The cause of what a silent worker or beat, or Valkey, is to blame for.
SWEEP = "sweep"
# Work that waits longer than this without a reason of its own means that a process is missing.
STUCK_AFTER = timedelta(minutes=5)
# The sweep runs once a second, but a restart of worker or beat takes several seconds.
MAX_SWEEP_SECONDS = 30
# A lease lasts 15 seconds. Another connector takes it five seconds after its end, and a restart takes several more.
MAX_UNHELD = timedelta(seconds=30)
# A quota of so many seconds or longer does not come back while somebody looks; a shorter one does.
SHORTEST_QUOTA = 3600
QUOTA_PERCENT = 10


def find_alerts_off(_names: Names) -> list[Problem]:
    return [] if alerts.list_channels() else [Problem("alerts_off", "alerts_off")]


def read_last_sweep() -> float | None:
    """Return when the last sweep ran, as a Unix time; 0 where there was none yet, None while Valkey is away."""
    nothing: float | None = None
    return valkey.try_valkey(lambda client: float(client.get("swept") or 0), nothing)


def find_silent_processes(swept: float | None, *, before_first: bool) -> list[Problem]:
    """Return what nobody else tells, because without a sweep no incident is opened: silent processes, or Valkey away. Nothing otherwise.

    swept: as `read_last_sweep`. before_first: also where there was no sweep yet, as before the first start of a worker, or just after
    Valkey lost its data.
    """
    found = [Problem(SWEEP, "valkey_away")] if swept is None else _find_old_sweep(swept, before_first=before_first)
    return [*found, *find_silent_connector()] if found else []


def find_silent_sweep(_names: Names) -> Sequence[Problem | Unknown]:
    """A worker that asks is told nothing of a Valkey that is away: it would not be asked by the clock."""
    swept = read_last_sweep()
    return [Unknown(SWEEP)] if swept is None else _find_old_sweep(swept, before_first=False)


def _find_old_sweep(swept: float, *, before_first: bool) -> list[Problem]:
    if not swept:
        return [Problem(SWEEP, "sweep_never")] if before_first else []
    last = datetime.fromtimestamp(swept, UTC)
    if time.time() - swept <= MAX_SWEEP_SECONDS:
        return []
    return [Problem(SWEEP, "sweep_silent", {"since": last.isoformat()}, first_seen_at=last)]


def find_silent_connector(_names: Names | None = None) -> Iterator[Problem]:
    """Find connections that should be held by a connector, where none holds any."""
    works = Q(account__enabled=True) & ~Q(account__state=Health.STOPPED)
    works |= Q(gateway__enabled=True) & ~Q(gateway__state=Health.STOPPED)
    now = timezone.now()
    rows = Connection.objects.filter(works, pull_due_at=None, owner_until__isnull=False)
    found: Any = rows.aggregate(
        held=Count("pk", filter=Q(owner_until__gt=now - MAX_UNHELD)), total=Count("pk"), first=Min("owner_until")
    )
    if found["total"] and not found["held"]:
        count = found["total"]
        yield Problem("connector", "connector_silent", {"count": count}, count=count, first_seen_at=found["first"])


def find_stuck_deliveries(_names: Names) -> Iterator[Problem]:
    """Find deliveries that are due for minutes although their account works: a worker, beat or connector is missing."""
    late = Delivery.objects.filter(state=State.PENDING, due_at__lt=timezone.now() - STUCK_AFTER)
    late = late.filter(account__enabled=True).exclude(account__state=Health.STOPPED)
    late = late.exclude(target=Target.CHANNEL, account__sending_stopped_at__isnull=False)
    late = late.exclude(carrier=Carrier.SOCKET, account__connection__state__in=LOGIN_STATES)
    late = late.exclude(gateway__enabled=False).exclude(gateway__state__in=(Health.STOPPED, Health.FAILING))
    before = Delivery.objects.filter(lane=OuterRef("lane"), seq__lt=OuterRef("seq"))
    late = late.exclude(Exists(before.filter(state__in=(State.PENDING, State.SENDING)))).order_by()
    found: Any = late.aggregate(count=Count("pk"), first=Min("due_at"))
    if found["count"]:
        yield Problem("stuck", "stuck", {"count": found["count"]}, count=found["count"], first_seen_at=found["first"])


def find_spooled_callbacks(_names: Names) -> Iterator[Problem]:
    """Find callbacks that wait on this machine's disk. Storing them closes the incident."""
    waiting = journal.read_status()
    if waiting.messages:
        yield Problem(report.CAUSE, "spooled", {"count": waiting.messages}, count=waiting.messages)
    if waiting.unreadable:
        count = waiting.unreadable
        yield Problem(f"{report.CAUSE}:unreadable", "spool_unreadable", {"count": count}, count=count)


def find_low_quotas(_names: Names) -> Iterator[Problem | Unknown]:
    """Find accounts of which a quota of an hour or longer is nearly used up, as the bridge counts its own calls.

    An account that is stopped calls nobody; what was open before only stays open until the calls are left again.
    """
    for account in ChannelAccount.objects.filter(enabled=True):
        try:
            limits = all_limits(build_channel(account))
        except Undecryptable:  # `secrets` tells of it
            yield Unknown(f"quota:{account.pk}:")
            continue
        long_ones = [limit for limit in limits if limit.scope == "account" and limit.per >= SHORTEST_QUOTA]
        for limit, left in list_remaining(long_ones, str(account.key)):
            cause = f"quota:{account.pk}:{limit.name}"
            if left is None:
                yield Unknown(cause)
            elif left * 100 <= limit.count * QUOTA_PERCENT:
                yield _build_low_quota(cause, account, limit)


def _build_low_quota(cause: str, account: ChannelAccount, limit: Limit) -> Problem:
    params = {"name": account.name, "limit": in_english(limit.label), "most": limit.count, "percent": QUOTA_PERCENT}
    return Problem(cause, "quota_low", params, account_id=account.pk, opens=account.state != Health.STOPPED)
