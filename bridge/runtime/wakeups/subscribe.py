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
# Seconds that the listener waits for a message before it sends a PING, and between two attempts to connect.
POLL_SECONDS = 1.0
# After so many PINGs without an answer the connection counts as lost. Nothing else would detect that.
MAX_UNANSWERED_PINGS = 5
CONNECT_SECONDS = 5
# A thread keeps its database connection this long for the next wake-up: to take one from the pool costs more than to read a row.
IDLE_SECONDS = 1.0


class TopicThread:
    """A thread that works when `wake_event` is set. A wake-up while it works makes it work once more.

    It goes on after any error of its work, because the sweep wakes it again within a second. When `stop_event` is set it ends after the
    work that it is doing.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        stop_event: threading.Event,
        wake_event: threading.Event | None = None,
    ) -> None:
        self.name, self.work, self.stop_event = name, work, stop_event
        self.wake_event = wake_event or threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"topic-{name}")
        self.outage_log = logs.Rarely()

    def _run(self) -> None:
        while not self.stop_event.is_set():
            if not self.wake_event.wait(IDLE_SECONDS):
                connection.close()  # returns it to the pool, so that an idle thread holds none
                self.wake_event.wait()
            self.wake_event.clear()
            self._work()
        connection.close()

    def _work(self) -> None:
        try:
            self.work()
            self.outage_log.forget()
        except DB_UNAVAILABLE as error:
            connection.close()
            self.outage_log.note_outage(log, self.name, error)
        except Exception:  # a defect of the bridge; the thread must go on for the next wake-up
            connection.close()
            log.exception("%s failed", self.name)


class Listener:
    """A thread that sets the event of a channel when something is published to it. It ends within
    POLL_SECONDS after `stop_event` is set.

    A subclass may do something else with a message.
    """

    def __init__(self, events: Mapping[str, threading.Event], stop_event: threading.Event) -> None:
        self.events, self.stop_event = dict(events), stop_event
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
        while not self.stop_event.is_set():
            try:
                self._listen()
            except (RedisError, OSError):
                self.on_disconnect()
                self.stop_event.wait(POLL_SECONDS)

    def _listen(self) -> None:
        """Pass on messages until `stop_event` is set. The confirmation of a subscription is a message too, and counts as a wake-up."""
        unanswered = 0
        with self.valkey.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(*self.events)
            while not self.stop_event.is_set():
                message = subscription.get_message(timeout=POLL_SECONDS)
                if message is None:
                    unanswered = self._ping(subscription, unanswered)
                    continue
                unanswered = 0
                self.on_message(message)

    def _ping(self, subscription: redis.client.PubSub, unanswered: int) -> int:
        """Ask whether the server is there, and return how many times in a row that was needed. Raises ConnectionError."""
        if unanswered >= MAX_UNANSWERED_PINGS:
            raise redis.ConnectionError("the server does not answer")
        subscription.ping()
        return unanswered + 1
