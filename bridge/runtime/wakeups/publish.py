"""Publishes wake-ups: "there is work". A lost one costs a second, until the sweep publishes it again; a second one costs nothing.

A wake-up is a publication in Valkey, which is not stored: every listener gets it at once. Publishing never raises, and never waits
longer than 100 ms twice.
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

# The thread waits so many seconds after a publication. The next publication then has all topics that came meanwhile.
SOON_SECONDS = 0.005


class Topic(StrEnum):
    FETCH = "fetch"  # files of a message: apart from everything else, because their addresses expire within minutes
    ROUTE = "route"
    SEND = "send"
    PULL = "pull"  # messages that a platform keeps until we ask
    REPLAY = "replay"  # runs of replays, which queue so many deliveries a second
    HOOK = "hook"  # apart from SEND, because a slow server of a webhook must not delay what goes to WeChat
    ASK = "ask"  # the connector listens for this and the next, the worker for the others
    SOCKET = "socket"  # what goes over an account's connection


def channel_of(topic: Topic) -> str:
    """Return the channel of Valkey to which wake-ups of this topic are published."""
    return f"wakeup:{topic}"


def notify(*topics: Topic) -> None:
    valkey.try_valkey(lambda client: _publish(client, topics), None)


def notify_soon(*topics: Topic) -> None:
    """Publish from a thread of its own, so that a callback neither waits for Valkey nor pays for it."""
    for topic in topics:
        _pending_topics().put(topic)


@cache
def _pending_topics() -> queue.SimpleQueue[Topic]:
    """Return the queue of this process, and start its thread the first time."""
    pending: queue.SimpleQueue[Topic] = queue.SimpleQueue()
    threading.Thread(target=_publish_pending, args=[pending], name="wakeups", daemon=True).start()
    return pending


def _publish_pending(pending: queue.SimpleQueue[Topic]) -> None:
    while True:
        topics = {pending.get()}
        with contextlib.suppress(queue.Empty):
            while True:
                topics.add(pending.get_nowait())
        notify(*topics)
        time.sleep(SOON_SECONDS)


def publish(channel: str, text: str) -> None:
    """Publish a text to a channel. It must also be written in a row, because Valkey does not store it."""
    valkey.try_valkey(lambda client: client.publish(channel, text), None)


def _publish(client: Any, topics: tuple[Topic, ...]) -> None:
    """Publish all topics in one round trip."""
    if len(topics) == 1:
        client.publish(channel_of(topics[0]), "")
    elif topics:
        with client.pipeline(transaction=False) as pipeline:
            for topic in topics:
                pipeline.publish(channel_of(topic), "")
            pipeline.execute()
