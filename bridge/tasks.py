"""What a wake or the clock makes the worker do. Every task is safe to run twice and to lose."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings

from accounts import tokens
from accounts.tokens import StoredTokens
from bridge import alerts, delivery, events, inbound, media, names, retention, sending
from bridge.doorbell import Bell, answered, ring
from bridge.drain import Drain
from bridge.models import Wire
from channels_wechat.errors import ChannelError

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import Attachment, Delivery

# What one run of `prune` may take; the next one, ten minutes later, goes on.
PRUNE_SECONDS = 60
# Files of a message are fetched beside the sending, so that slow answers do not let their addresses die.
FETCH_THREADS = 8
# A slow endpoint holds one thread, its lane's; so many may be slow in each worker before they hold up other endpoints.
HOOK_THREADS = 8


def _carrier(name: str, threads: int, wire: Wire) -> Drain[Delivery]:
    holder = delivery.holder_name()
    return Drain(
        name,
        threads,
        lambda free: delivery.claim(wire, holder, free),
        sending.carry,
        lambda pieces: delivery.renew(holder, [piece.pk for piece in pieces]),
    )


# Held by whoever routes; a ring that comes meanwhile is seen at the end.
_routing, _rung = threading.Lock(), threading.Event()


@cache
def _sender() -> Drain[Delivery]:
    return _carrier("send", settings.SEND_THREADS, Wire.WORKER)


@cache
def _caller() -> Drain[Delivery]:
    return _carrier("hook", HOOK_THREADS, Wire.HOOK)


@cache
def _fetcher() -> Drain[Attachment]:
    return Drain("fetch", FETCH_THREADS, media.claim, media.fetch)


@worker_shutting_down.connect
def _finish_in_order(**_kwargs: Any) -> None:
    _sender().stop()
    _caller().stop()
    _fetcher().stop()


@shared_task(name="bridge.tasks.route")
def route() -> None:
    """One at a time in a process: two would walk the same peers and wait for each other at every lock."""
    answered(Bell.ROUTE)
    _rung.set()
    while _rung.is_set() and _routing.acquire(blocking=False):
        try:
            _rung.clear()
            while inbound.route_waiting():
                pass
        finally:
            _routing.release()


@shared_task(name="bridge.tasks.send")
def send() -> None:
    answered(Bell.SEND)
    _sender().run()


@shared_task(name="bridge.tasks.hook")
def hook() -> None:
    answered(Bell.HOOK)
    _caller().run()


@shared_task(name="bridge.tasks.fetch")
def fetch() -> None:
    answered(Bell.FETCH)
    _fetcher().run()


@shared_task
def sweep() -> None:
    """Each second: take back what lost processes held, and ring for whatever is due."""
    delivery.sweep()
    events.tell_account_states()
    bells = list(delivery.waiting())
    bells += [Bell.ROUTE] if inbound.waiting() else []
    bells += [Bell.FETCH] if media.waiting() else []
    ring(*bells)
    alerts.swept()


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
def prune() -> None:
    retention.prune(PRUNE_SECONDS)


@shared_task
def tidy() -> None:
    retention.sweep_files()
    retention.forget_history()


@shared_task
def look_up_names() -> None:
    names.look_up()
