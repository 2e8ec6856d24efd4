"""Listens for wake-ups: one connection for all topics, and a thread for each topic that works when it is woken.

A wake-up may be lost at any time: with the connection, or before there was one. So every thread works once after a subscription, and
each second while Valkey is away.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.security import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)
# How long the listener waits for a message before it sends a PING, and between two tries to connect. Seconds.
LOOK_SECONDS = 1.0
# After so many PINGs without an answer the connection counts as lost: nothing else would ever notice.
MAX_QUIET_SECONDS = 5
CONNECT_SECONDS = 5
# A thread keeps its connection to the database this long for the next wake-up: taking it anew costs more than looking at a row.
REST_SECONDS = 1.0


class TopicThread:
    """A thread that works when `wake_event` is set. A wake-up while it works makes it work once more.

    It outlives whatever its work raises, because the sweep wakes it again in a second. Once `leaving` is set it ends after the work
    that it is doing.
    """

    def __init__(
        self, name: str, work: Callable[[], object], leaving: threading.Event, wake_event: threading.Event | None = None
    ) -> None:
        self.name, self.work, self.leaving = name, work, leaving
        self.wake_event = wake_event or threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"topic-{name}")
        self.away = logs.Rarely()

    def _run(self) -> None:
        while not self.leaving.is_set():
            if not self.wake_event.wait(REST_SECONDS):
                connection.close()  # back to the pool: a thread at rest holds none
                self.wake_event.wait()
            self.wake_event.clear()
            self._work()
        connection.close()

    def _work(self) -> None:
        try:
            self.work()
            self.away.forget()
        except DB_UNAVAILABLE as error:
            connection.close()
            self.away.note_outage(log, self.name, error)
        except Exception:  # a defect of ours: the thread must be there for the next wake-up
            connection.close()
            log.exception("%s failed", self.name)


class Listener:
    """A thread that sets the event of a channel when something is published to it. Once `leaving` is set it ends within LOOK_SECONDS.

    A subclass may do something else with a message.
    """

    def __init__(self, events: Mapping[str, threading.Event], leaving: threading.Event) -> None:
        self.events, self.leaving = dict(events), leaving
        self.valkey = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self.thread = threading.Thread(target=self._run, name="wakeups")

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Set the event of the message's channel. message: as redis-py gives it: type, channel, data."""
        if event := self.events.get(message["channel"]):
            event.set()

    def on_disconnect(self) -> None:
        """Set every event, because wake-ups may be lost. Called each second until there is a connection again."""
        for event in self.events.values():
            event.set()

    def _run(self) -> None:
        while not self.leaving.is_set():
            try:
                self._listen()
            except (RedisError, OSError):
                self.on_disconnect()
                self.leaving.wait(LOOK_SECONDS)

    def _listen(self) -> None:
        """Pass on messages until `leaving` is set. The confirmation of a subscription is a message too, and counts as a wake-up."""
        quiet = 0
        with self.valkey.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(*self.events)
            while not self.leaving.is_set():
                message = subscription.get_message(timeout=LOOK_SECONDS)
                if message is None:
                    quiet = self._ping(subscription, quiet)
                    continue
                quiet = 0
                self.on_message(message)

    def _ping(self, subscription: redis.client.PubSub, quiet: int) -> int:
        """Ask whether the server is there, and return how many times in a row that was needed. Raises ConnectionError."""
        if quiet >= MAX_QUIET_SECONDS:
            raise redis.ConnectionError("nobody answers")
        subscription.ping()
        return quiet + 1
