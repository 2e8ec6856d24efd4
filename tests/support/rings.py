"""Listens for wake-ups, as worker and connector do."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


class Rings:
    """What was rung since the listening began."""

    def __init__(self, subscription: redis.client.PubSub) -> None:
        self.subscription = subscription
        self.count: Counter[str] = Counter()

    def rung(self, topic: str = "") -> int:
        """How often until now, this topic or any."""
        while message := self.subscription.get_message(timeout=0):
            if message["type"] == "pmessage":
                self.count[message["channel"].decode().removeprefix("wakeup:")] += 1
        return self.count[topic] if topic else self.count.total()


@contextlib.contextmanager
def rings(client: redis.Redis) -> Iterator[Rings]:
    with client.pubsub() as subscription:
        subscription.psubscribe("wakeup:*")
        while not subscription.get_message(timeout=1):
            pass
        yield Rings(subscription)
