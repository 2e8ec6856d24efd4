"""The doorbell: "there is work". Losing a ring costs a second (the sweep rings again), ringing twice costs nothing.

Rings are coalesced: while one is on its way to a worker, further ones only look. Never raises, never waits longer than 100 ms twice.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from enum import StrEnum
from functools import cache
from typing import Any

from celery import current_app
from django.conf import settings
from kombu import Connection, pools

from accounts import valkey

log = logging.getLogger(__name__)
# A ring whose task was lost holds back the others only this long. Milliseconds.
COALESCE_MS = 1000
# What is rung for within these seconds of the last time is rung for together.
SOON_SECONDS = 0.005


class Bell(StrEnum):
    FETCH = "fetch"  # media of a message: own queue, its addresses die in minutes
    ROUTE = "route"
    SEND = "send"
    HOOK = "hook"  # own queue: a slow server of somebody's must not hold up what goes to WeChat
    ASK = "ask"  # heard by the connector, which is no Celery worker


def ring(*bells: Bell) -> None:
    for bell in bells:
        if valkey.ask(lambda client, bell=bell: client.set(_flag(bell), 1, nx=True, px=COALESCE_MS), None):  # type: ignore[misc]
            _wake(bell)


def ring_soon(*bells: Bell) -> None:
    """From a thread of its own, a few milliseconds' rings together: a callback neither waits for Valkey nor pays for it."""
    for bell in bells:
        _rung().put(bell)


@cache
def _rung() -> queue.SimpleQueue[Bell]:
    """One queue and one thread for each process."""
    rung: queue.SimpleQueue[Bell] = queue.SimpleQueue()
    threading.Thread(target=_ring_on, args=[rung], name="doorbell", daemon=True).start()
    return rung


def _ring_on(rung: queue.SimpleQueue[Bell]) -> None:
    while True:
        bells = {rung.get()}
        with contextlib.suppress(queue.Empty):
            while True:
                bells.add(rung.get_nowait())
        ring(*bells)
        time.sleep(SOON_SECONDS)


def answered(bell: Bell) -> None:
    """Called by whoever starts to work, before the first look at the rows: a ring from now on is news."""
    valkey.ask(lambda client: client.delete(_flag(bell)), None)


def announce(channel: str, text: str) -> None:
    """Tell the connector something that is also written in a row."""
    valkey.ask(lambda client: client.publish(channel, text), None)


def _wake(bell: Bell) -> None:
    if bell == Bell.ASK:
        announce("bell:ask", "")
        return
    try:
        with pools.producers[_broker()].acquire(block=True, timeout=valkey.TIMEOUT_SECONDS) as producer:
            current_app.send_task(f"bridge.tasks.{bell}", queue=str(bell), producer=producer, retry=False, expires=60)
    except Exception as error:  # kombu passes on whatever its transport raises; a lost ring must not lose the message
        valkey.rest.begin(error)


@cache
def _broker() -> Connection:
    """A connection of its own: the worker's waits for minutes, a callback cannot."""
    options: dict[str, Any] = {
        "socket_timeout": valkey.TIMEOUT_SECONDS,
        "socket_connect_timeout": valkey.TIMEOUT_SECONDS,
        "max_retries": 1,
        "interval_start": 0,
        "interval_max": 0,
        "retry_on_timeout": False,
    }
    return Connection(settings.CELERY_BROKER_URL, transport_options=options, connect_timeout=valkey.TIMEOUT_SECONDS)


def _flag(bell: Bell) -> str:
    return f"bell:{bell}:rung"
