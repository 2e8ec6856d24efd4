"""What the clock makes the worker do. Every task is safe to run twice and to lose. What bells make it do is in `bridge.bells`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import shared_task

from accounts import tokens
from accounts.tokens import StoredTokens
from bridge import alerts, delivery, erasure, events, inbound, media, names, retention, review
from bridge.doorbell import Bell, ring
from bridge.operations import probe
from bridge.pipeline.inbound import drain
from channels_wechat.errors import ChannelError

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

# What one run of `prune` may take; the next one, ten minutes later, goes on.
PRUNE_SECONDS = 60


@shared_task
def sweep() -> None:
    """Each second: take back what lost processes held, and ring for whatever is due."""
    delivery.sweep()
    review.give_up_waiting()
    events.tell_account_states()
    bells = list(delivery.waiting())
    bells += [Bell.ROUTE] if inbound.waiting() else []
    bells += [Bell.FETCH] if media.waiting() else []
    ring(*bells)
    alerts.swept()
    drain.drain()  # of web processes that are gone, or of a folder that was brought back


@shared_task
def refresh_tokens() -> None:
    for account in tokens.ending_soon():
        _refresh(account)


def _refresh(account: ChannelAccount) -> None:
    try:
        StoredTokens(account).refresh_soon()
    except ChannelError:
        return  # kept with the token and shown on the account; a network fault is met again in a minute


@shared_task
def check_health() -> None:
    alerts.check()


@shared_task
def probe_failing() -> None:
    probe.probe_failing()


@shared_task
def prune() -> None:
    retention.prune(PRUNE_SECONDS)


@shared_task
def tidy() -> None:
    retention.sweep_files()
    retention.forget_history()


@shared_task
def erase() -> None:
    erasure.run()


@shared_task
def look_up_names() -> None:
    names.look_up()
