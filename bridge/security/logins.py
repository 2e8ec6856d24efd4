"""Counts the failed logins of each address, so that a limit holds before a password is compared or anything is written.

The count is in Valkey, so that all processes share it; while Valkey is away each process counts for itself. IPv6 callers count by their
/64. A login that succeeds is taken off again, so that an office behind one address can log in.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts import valkey
from bridge.runtime.db.threads import execute_on

if TYPE_CHECKING:
    from concurrent.futures import Executor

# Addresses that one process remembers; the oldest are forgotten first.
MAX_ADDRESSES = 10_000


class LoginLimit:
    """The limit of one process. threads: run the calls to Valkey. It belongs to one event loop."""

    def __init__(self, threads: Executor) -> None:
        self.threads = threads
        self.counts: dict[str, tuple[int, float]] = {}

    async def seconds_to_wait(self, caller: str) -> float:
        """Count a try and return 0 where the caller may make it; else the seconds until the next one."""
        count, until = self._local(caller)
        if count < settings.LOGIN_ADDRESS_FAILURES:
            shared = await execute_on(self.threads, valkey.try_valkey, lambda client: _count(client, caller), (0, 0.0))
            count = max(count + 1, shared[0])
            until = max(until, time.monotonic() + shared[1])
            self._remember(caller, count, until)
            return 0.0 if count <= settings.LOGIN_ADDRESS_FAILURES else until - time.monotonic()
        return until - time.monotonic()

    def succeeded(self, caller: str) -> None:
        """Take the try off again: it was no failure."""
        count, until = self._local(caller)
        self._remember(caller, max(0, count - 1), until)
        self.threads.submit(valkey.try_valkey, lambda client: _take_off(client, caller), None)

    def _local(self, caller: str) -> tuple[int, float]:
        """Return (tries, until when they count) as far as this process knows."""
        count, until = self.counts.get(caller, (0, 0.0))
        now = time.monotonic()
        return (count, until) if until > now else (0, now + _window())

    def _remember(self, caller: str, count: int, until: float) -> None:
        self.counts.pop(caller, None)
        self.counts[caller] = count, until
        if len(self.counts) > MAX_ADDRESSES:
            del self.counts[next(iter(self.counts))]


def _count(client: Any, caller: str) -> tuple[int, float]:
    """Count one more. Return (tries, seconds for which they count)."""
    with client.pipeline(transaction=True) as pipe:
        pipe.set(_key(caller), 0, ex=_window(), nx=True)
        pipe.incr(_key(caller))
        pipe.ttl(_key(caller))
        _set, count, ttl = pipe.execute()
    return int(count), float(max(ttl, 1))


def _take_off(client: Any, caller: str) -> None:
    """Take one off. An expired key gets its end anew: without one all later failures would count for ever."""
    with client.pipeline(transaction=True) as pipe:
        pipe.set(_key(caller), 1, ex=_window(), nx=True)
        pipe.decr(_key(caller))
        pipe.execute()


def _key(caller: str) -> str:
    return f"login:{caller}"


def _window() -> int:
    """Return the seconds for which a failure counts."""
    return int(settings.AXES_COOLOFF_TIME.total_seconds())
