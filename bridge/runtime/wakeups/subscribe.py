"""Hearing the bells: one connection that listens, and for each bell a thread that works when it is rung.

A ring may be lost at any time: with the connection, or before there was one. So whoever has subscribed looks once at everything, and
while Valkey is away everything is looked at each second.
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
# How long the listener waits for a word before it asks whether anybody is there, and between two tries to connect.
LOOK_SECONDS = 1.0
# So many of these questions without an answer, and the connection is taken for lost: nobody else would ever notice.
MAX_QUIET_SECONDS = 5
CONNECT_SECONDS = 5
# A bell's thread keeps its connection to the database this long, for the next ring: to take it anew costs more than to look at a row.
REST_SECONDS = 1.0


class TopicThread:
    """A thread that works when its bell is rung: `rung` is set. A ring while it works makes it work once more.

    It outlives whatever its work raises; the sweep rings again in a second. Once `leaving` is set it ends after the work in hand.
    """

    def __init__(
        self, name: str, work: Callable[[], object], leaving: threading.Event, rung: threading.Event | None = None
    ) -> None:
        self.name, self.work, self.leaving = name, work, leaving
        self.rung = rung or threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"bell-{name}")
        self.away = logs.Rarely()

    def _run(self) -> None:
        while not self.leaving.is_set():
            if not self.rung.wait(REST_SECONDS):
                connection.close()  # back to the pool: a thread at rest holds none
                self.rung.wait()
            self.rung.clear()
            self._work()
        connection.close()

    def _work(self) -> None:
        try:
            self.work()
            self.away.forget()
        except DB_UNAVAILABLE as error:
            connection.close()
            self.away.note_outage(log, self.name, error)
        except Exception:  # a defect of ours: the thread must be there for the next ring
            connection.close()
            log.exception("%s failed", self.name)


class Listener:
    """A thread that sets the event of each channel that is published to. Once `leaving` is set it ends within LOOK_SECONDS.

    A subclass may do something else with what it hears.
    """

    def __init__(self, rung: Mapping[str, threading.Event], leaving: threading.Event) -> None:
        self.rung, self.leaving = dict(rung), leaving
        self.valkey = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self.thread = threading.Thread(target=self._run, name="bells")

    def heard(self, message: Mapping[str, Any]) -> None:
        """message: as redis-py gives it: type, channel, data."""
        if event := self.rung.get(message["channel"]):
            event.set()

    def deaf(self) -> None:
        """Nobody is there to listen to; called again and again meanwhile."""
        for event in self.rung.values():
            event.set()

    def _run(self) -> None:
        while not self.leaving.is_set():
            try:
                self._listen()
            except (RedisError, OSError):
                self.deaf()
                self.leaving.wait(LOOK_SECONDS)

    def _listen(self) -> None:
        """That a channel is subscribed to is a message as well, and counts as a ring."""
        quiet = 0
        with self.valkey.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(*self.rung)
            while not self.leaving.is_set():
                message = subscription.get_message(timeout=LOOK_SECONDS)
                if message is None:
                    quiet = self._still_there(subscription, quiet)
                    continue
                quiet = 0
                self.heard(message)

    def _still_there(self, subscription: redis.client.PubSub, quiet: int) -> int:
        if quiet >= MAX_QUIET_SECONDS:
            raise redis.ConnectionError("nobody answers")
        subscription.ping()
        return quiet + 1
