"""How many failed logins one address has: known before a password is compared or anything is written.

Counted in Valkey, so that all processes count together; while it is away each process counts for itself. An IPv6 caller counts by its /64.
A login that succeeds is taken off again, so that an office behind one address can log in.
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
    """threads: where Valkey is asked. Belongs to one event loop."""

    def __init__(self, threads: Executor) -> None:
        self.threads = threads
        self.counts: dict[str, tuple[int, float]] = {}

    async def seconds_to_wait(self, caller: str) -> float:
        """0 for whoever may try now, and has then one try less."""
        count, until = self._local(caller)
        if count < settings.LOGIN_ADDRESS_FAILURES:
            seen = await execute_on(self.threads, valkey.try_valkey, lambda client: _count(client, caller), (0, 0.0))
            count = max(count + 1, seen[0])
            until = max(until, time.monotonic() + seen[1])
            self._remember(caller, count, until)
            return 0.0 if count <= settings.LOGIN_ADDRESS_FAILURES else until - time.monotonic()
        return until - time.monotonic()

    def succeeded(self, caller: str) -> None:
        """The try was no failure."""
        count, until = self._local(caller)
        self._remember(caller, max(0, count - 1), until)
        self.threads.submit(valkey.try_valkey, lambda client: _take_off(client, caller), None)

    def _local(self, caller: str) -> tuple[int, float]:
        """(tries, until when they count) as this process knows."""
        count, until = self.counts.get(caller, (0, 0.0))
        now = time.monotonic()
        return (count, until) if until > now else (0, now + _window())

    def _remember(self, caller: str, count: int, until: float) -> None:
        self.counts.pop(caller, None)
        self.counts[caller] = count, until
        if len(self.counts) > MAX_ADDRESSES:
            del self.counts[next(iter(self.counts))]


def _count(client: Any, caller: str) -> tuple[int, float]:
    """(tries, seconds for which they count)."""
    with client.pipeline(transaction=True) as pipe:
        pipe.set(_key(caller), 0, ex=_window(), nx=True)
        pipe.incr(_key(caller))
        pipe.ttl(_key(caller))
        _set, count, ttl = pipe.execute()
    return int(count), float(max(ttl, 1))


def _take_off(client: Any, caller: str) -> None:
    """A key that is over by now is made anew with its end: without one all later failures would count for ever."""
    with client.pipeline(transaction=True) as pipe:
        pipe.set(_key(caller), 1, ex=_window(), nx=True)
        pipe.decr(_key(caller))
        pipe.execute()


def _key(caller: str) -> str:
    return f"login:{caller}"


def _window() -> int:
    """Seconds."""
    return int(settings.AXES_COOLOFF_TIME.total_seconds())
