"""Runs replays: the worker that has a run's lease queues its items, so many a second, until each has left or was refused.

A step is one transaction: the run's row is locked, a few items are queued, and their results and the place in the plan are stored with
them. So a process that is killed at any moment has queued each item once or not at all, and the next holder goes on from there.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import BigIntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts import lease, limits
from accounts.channels import build_channel
from accounts.models import ChannelAccount
from bridge.models import Delivery, ReplayItem, ReplayKind, ReplayResult, ReplayRun, ReplayState
from bridge.models.replays import MOST_FAILED_STEPS, OPEN_RESULTS
from bridge.operations.obstacles import find_account_obstacle
from bridge.operations.replays import follow_sql
from bridge.operations.replays.queueing import queue_items
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.security import logs

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from datetime import datetime

log = logging.getLogger(__name__)
# A lost worker's run goes on after LEASE_SECONDS. A step comes every STEP_SECONDS and queues at most STEP_ITEMS.
LEASE_SECONDS = 10
STEP_SECONDS = 0.2
STEP_ITEMS = 200
# Of a plan that was just made PostgreSQL has no figures yet, and would read all of its items for the next ones instead of walking on.
IN_ORDER, IN_ANY_ORDER = "SET LOCAL enable_bitmapscan = off", "SET LOCAL enable_bitmapscan TO DEFAULT"
# After a step that failed the next one comes so much later.
FAILED_STEP_PAUSE = timedelta(seconds=1)
# What was not used of the rate for so long is lost, so that nothing comes in a burst after a pause.
MOST_CATCH_UP = timedelta(seconds=1)
# A run has at most the deliveries of so many seconds under way at an account, and at least so many: what people write meanwhile must not
# wait behind thousands.
BACKLOG_SECONDS, LEAST_BACKLOG = 5, 20


def has_running() -> bool:
    """Whether a run is under way; the sweep calls it."""
    return ReplayRun.objects.filter(state=ReplayState.RUNNING).exists()


def run_until_idle(holder: str, stop_event: threading.Event) -> None:
    """Step all runs that this process has the lease of, until none is left or the process ends."""
    while not stop_event.is_set() and step_all(holder):
        stop_event.wait(STEP_SECONDS)


def step_all(holder: str) -> int:
    """Lease the runs that are free and step each run of this holder. Return how many it has."""
    running = ReplayRun.objects.filter(state=ReplayState.RUNNING)
    lease.acquire(running, holder, LEASE_SECONDS)
    ours = list(running.filter(owner=holder).values_list("pk", flat=True))
    for pk in ours:
        _step_safely(pk, holder)
    return len(ours)


def _step_safely(pk: int, holder: str) -> None:
    """Step one run. An error must not stop the others; after several of them the run is paused, and its page says so."""
    try:
        step(pk, holder)
    except DB_UNAVAILABLE:
        raise
    except Exception:
        with logs.about(replay=pk):
            log.exception("a step of a replay failed")
        _note_failure(pk, holder)


@transaction.atomic
def _note_failure(pk: int, holder: str) -> None:
    run = ReplayRun.objects.select_for_update().filter(pk=pk, owner=holder, state=ReplayState.RUNNING).first()
    if run is None:
        return
    run.failed_steps, run.paced_at = run.failed_steps + 1, timezone.now() + FAILED_STEP_PAUSE
    if run.failed_steps >= MOST_FAILED_STEPS:
        run.state, run.owner, run.owner_until = ReplayState.PAUSED, "", None
    run.save(update_fields=["failed_steps", "paced_at", "state", "owner", "owner_until"])


@transaction.atomic
def step(pk: int, holder: str) -> None:
    """Queue what is due of a run that this holder still leases, follow what was queued, and finish the run where all is over."""
    run = ReplayRun.objects.select_for_update().filter(pk=pk, owner=holder, state=ReplayState.RUNNING).first()
    if run is None:
        return
    now = timezone.now()
    if run.failed_steps and run.paced_at and run.paced_at > now:
        return
    counts = Counter(run.results)
    _follow(run, counts)
    since = max(run.paced_at or now, now - MOST_CATCH_UP)
    items, none_waits = _next_items(run, min(STEP_ITEMS, int((now - since).total_seconds() * run.rate)))
    counts += queue_items(run, items) if items else Counter()
    run.paced_at = since + timedelta(seconds=len(items) / run.rate)
    run.failed_steps = 0
    _store(run, counts, now if none_waits and not counts[ReplayResult.QUEUED] else None)
    if items:
        transaction.on_commit(lambda: notify(Topic.ASK, Topic.SEND, Topic.HOOK, Topic.SOCKET))


def follow_all() -> None:
    """Follow the deliveries of runs that have ended, which may be on hold for days; the clock calls it."""
    for pk in list(
        ReplayItem.objects.filter(result__in=OPEN_RESULTS).order_by().values_list("run", flat=True).distinct()
    ):
        with transaction.atomic():
            if run := ReplayRun.objects.select_for_update().filter(pk=pk).first():
                counts = Counter(run.results)
                _follow(run, counts)
                _store(run, counts, run.finished_at)


def _follow(run: ReplayRun, counts: Counter[str]) -> None:
    for item in follow_sql.FOLLOW.fetch(run=run.pk):
        counts[item.before] -= 1
        counts[item.after] += 1


def _store(run: ReplayRun, counts: Counter[str], finished_at: datetime | None) -> None:
    run.results = {result: count for result, count in sorted(counts.items()) if count}
    run.finished_at = finished_at
    if finished_at and run.state == ReplayState.RUNNING:
        run.state, run.owner, run.owner_until = ReplayState.FINISHED, "", None
    names = ["results", "finished_at", "state", "owner", "owner_until", "paced_at", "position", "failed_steps"]
    run.save(update_fields=names)


def _next_items(run: ReplayRun, most: int) -> tuple[list[ReplayItem], bool]:
    """Return the next items for whose accounts there is room, and whether none waits any more.

    The run's place moves to the first that waits.
    """
    account = Subquery(Delivery.objects.filter(pk=OuterRef("delivery_id")).values("account_id")[:1])
    rows: Any = ReplayItem.objects.filter(run=run, delivery__gt=run.position, chosen=True, result="")
    rows = rows.order_by("delivery_id").annotate(account=Coalesce(account, 0, output_field=BigIntegerField()))
    with _in_order():
        first = rows.first()
        run.position = first.delivery_id - 1 if first else run.last_id
        if first is None or most < 1:
            return [], first is None
        room = _Room(run)
        found = list(rows.exclude(account__in=room.full)[:most] if room.full else rows[:most])
    return [item for item in found if room.take(item.account)], False


@contextmanager
def _in_order() -> Iterator[None]:
    """Let PostgreSQL walk along an index, also where it expects few rows."""
    with connection.cursor() as cursor:
        cursor.execute(IN_ORDER)
        yield
        cursor.execute(IN_ANY_ORDER)


class _Room:
    """How many more deliveries of each account a run may have under way; 0 stands for those without one. full: those that take none now."""

    def __init__(self, run: ReplayRun) -> None:
        self.run = run
        self.most = max(LEAST_BACKLOG, run.rate * BACKLOG_SECONDS)
        self.under_way = {row.account_id: row.total for row in follow_sql.IN_FLIGHT.fetch(run=run.pk)}
        self._room: dict[int, int] = {}
        self.full = [account for account in self.under_way if self._left(account) <= 0]

    def take(self, account: int) -> bool:
        """Count one more delivery of this account. Return False where there is no room."""
        if self._left(account) <= 0:
            return False
        self._room[account] -= 1
        return True

    def _left(self, key: int) -> int:
        if key not in self._room:
            self._room[key] = min(self.most, self._limit(key)) - self.under_way.get(key, 0)
        return self._room[key]

    def _limit(self, key: int) -> int:
        """Return how many calls the account's limits leave now. A question takes a turn, and no call."""
        account = ChannelAccount.objects.filter(pk=key).first() if self.run.kind == ReplayKind.AGAIN and key else None
        if account is None or find_account_obstacle(account):  # which each of its deliveries is refused for
            return self.most
        counted = [limit for limit in build_channel(account).limits if limit.scope == "account"]
        left = [count for _limit, count in limits.list_remaining(counted, str(account.key)) if count is not None]
        return min(left, default=self.most)
