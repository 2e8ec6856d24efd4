"""Access to Valkey for code that must not wait for it: 100 ms, never raises, and a pause of 5 s after a failure.

Everything in Valkey may be lost at any time: wake-ups, partial texts, counters, rate limits. Only the database is reliable.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)
Found = TypeVar("Found")
# Every callback uses Valkey; with this time-out and a pause, a Valkey that hangs does not slow the callbacks noticeably.
TIMEOUT_SECONDS = 0.1
REST_SECONDS = 5.0


@cache
def client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


class _CircuitBreaker:
    """The circuit breaker of this process: after a failure Valkey is not called for a while."""

    def __init__(self) -> None:
        self.until = 0.0
        self.lock = threading.Lock()

    def begin(self, error: Exception) -> None:
        with self.lock:
            first = self.until <= time.monotonic()
            self.until = time.monotonic() + REST_SECONDS
        if first:
            log.warning("valkey does not answer (%s); resting %s s", type(error).__name__, REST_SECONDS)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until


circuit_breaker = _CircuitBreaker()


def try_valkey(question: Callable[[Any], Found], default: Found) -> Found:
    """Return question(client), or the default while Valkey is away. client is a redis.Redis with time-outs of 100 ms."""
    if not circuit_breaker.over:
        return default
    try:
        return question(client())
    except (redis.RedisError, OSError) as error:
        circuit_breaker.begin(error)
        return default
