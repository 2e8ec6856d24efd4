"""The doorbell: "there is work". Losing a ring costs a second (the sweep rings again), ringing twice costs nothing.

A ring is a publication in Valkey: nobody keeps it, whoever listens hears it at once. Never raises, never waits longer than 100 ms twice.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from enum import StrEnum
from functools import cache
from typing import Any

from accounts import valkey

# After a ring from the thread the next one comes so many seconds later, with all that was rung for meanwhile.
SOON_SECONDS = 0.005


class Topic(StrEnum):
    FETCH = "fetch"  # media of a message: beside everything else, its addresses die in minutes
    ROUTE = "route"
    SEND = "send"
    HOOK = "hook"  # beside SEND: a slow server of somebody's must not hold up what goes to WeChat
    ASK = "ask"  # heard by the connector, the others by the worker


def channel_of(bell: Topic) -> str:
    """Where a ring is published."""
    return f"bell:{bell}"


def notify(*bells: Topic) -> None:
    valkey.try_valkey(lambda client: _publish(client, bells), None)


def notify_soon(*bells: Topic) -> None:
    """From a thread of its own: a callback neither waits for Valkey nor pays for it."""
    for bell in bells:
        _last_notified().put(bell)


@cache
def _last_notified() -> queue.SimpleQueue[Topic]:
    """One queue and one thread for each process."""
    rung: queue.SimpleQueue[Topic] = queue.SimpleQueue()
    threading.Thread(target=_notify_on, args=[rung], name="doorbell", daemon=True).start()
    return rung


def _notify_on(rung: queue.SimpleQueue[Topic]) -> None:
    while True:
        bells = {rung.get()}
        with contextlib.suppress(queue.Empty):
            while True:
                bells.add(rung.get_nowait())
        notify(*bells)
        time.sleep(SOON_SECONDS)


def publish(channel: str, text: str) -> None:
    """Tell the connector something that is also written in a row."""
    valkey.try_valkey(lambda client: client.publish(channel, text), None)


def _publish(client: Any, bells: tuple[Topic, ...]) -> None:
    """In one round trip."""
    if len(bells) == 1:
        client.publish(channel_of(bells[0]), "")
    elif bells:
        with client.pipeline(transaction=False) as several:
            for bell in bells:
                several.publish(channel_of(bell), "")
            several.execute()
