"""The tasks of the clock. Each is safe to run twice and to lose. What a wake-up makes the worker do is in `threads`."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from celery import shared_task

from accounts import tokens
from accounts.channels import stored_tokens
from bridge.media import storage
from bridge.operations import erasure, handing_back, incidents, probe, retention
from bridge.operations.figures import counting
from bridge.operations.replays import runner
from bridge.people import directory, names
from bridge.pipeline.delivery import claims
from bridge.pipeline.inbound import pulling, router, spool_drain
from bridge.pipeline.outbound import fallbacks, moderation
from bridge.pipeline.replies import switched
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.security import logs
from bridge.webhooks import events
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.models import ChannelAccount

log = logging.getLogger(__name__)
_away = logs.Rarely()
# What one run of `prune` may take; the next one, ten minutes later, goes on.
PRUNE_SECONDS = 60
# What one run of `count_figures` may take; the next one, half a minute later, goes on.
COUNT_SECONDS = 15


def by_the_clock(work: Callable[[], None]) -> Any:
    """Make a Celery task. While the database is away it does nothing, because its next run finds the work in the rows."""

    @functools.wraps(work)
    def run() -> None:
        try:
            work()
        except DB_UNAVAILABLE as error:
            _away.note_outage(log, "the clock's tasks", error)
        else:
            _away.forget()

    return shared_task(run)


@by_the_clock
def sweep() -> None:
    """Recover what lost processes had claimed, and wake whoever has due work. Runs each second."""
    claims.sweep()
    moderation.give_up_checks()
    fallbacks.take_over_stopped()
    events.queue_account_state_events()
    switched.move_waiting()
    topics = list(claims.find_due_topics())
    topics += [Topic.ROUTE] if router.has_unrouted() else []
    topics += [Topic.FETCH] if storage.has_waiting_files() else []
    topics += [Topic.REPLAY] if runner.has_running() else []
    topics += [Topic.PULL] if pulling.has_due() else []
    notify(*topics)
    incidents.record_sweep()
    spool_drain.drain()  # of web processes that are gone, or of a folder that was brought back


@by_the_clock
def refresh_tokens() -> None:
    for account in tokens.ending_soon():
        _refresh(account)


def _refresh(account: ChannelAccount) -> None:
    try:
        stored_tokens(account).refresh_soon()
    except ChannelError:
        return  # kept with the token and shown on the account; a network fault is met again in a minute


@by_the_clock
def schedule_pulls() -> None:
    pulling.schedule_new_accounts()


@by_the_clock
def check_health() -> None:
    incidents.update_incidents()


@by_the_clock
def hand_back_idle() -> None:
    handing_back.hand_back_idle()


@by_the_clock
def probe_failing() -> None:
    probe.probe_failing()


@by_the_clock
def prune() -> None:
    _run_each({"prune": lambda: retention.prune(PRUNE_SECONDS)})


@by_the_clock
def tidy() -> None:
    _run_each(
        {
            "orphan_files": retention.delete_orphan_files,
            "history": retention.delete_history,
            "old_figures": counting.prune,
        }
    )


@by_the_clock
def count_figures() -> None:
    _run_each({"figures": lambda: counting.count_due_periods(COUNT_SECONDS)})


def _run_each(steps: dict[str, Callable[[], object]]) -> None:
    """Run each step, also where another failed; staff see the failure as an incident until that step has worked again."""
    for name, step in steps.items():
        try:
            step()
        except DB_UNAVAILABLE:
            raise
        except Exception as error:
            log.exception("the step %s of a regular task failed", name)
            incidents.open_failed_task(name, error)
        else:
            incidents.close_failed_task(name)


@by_the_clock
def erase() -> None:
    erasure.erase_people()


@by_the_clock
def follow_replays() -> None:
    runner.follow_all()


@by_the_clock
def look_up_names() -> None:
    names.fetch_names()


@by_the_clock
def read_directories() -> None:
    directory.read_due()
