"""Counters of /metrics: added up in each process, and once a second in Valkey, so that counting costs no call.

Valkey may lose them; a reader of counters treats a smaller figure as a restart from zero.
"""

from __future__ import annotations

import atexit
import json
import threading
from collections import Counter
from typing import Any

from accounts import valkey, work

KEY = "counters"
EVERY_SECONDS = 1.0

Counted = tuple[str, tuple[tuple[str, str], ...]]


class _Pending:
    """The counts of this process that are not written yet. A timer runs only while there are any."""

    def __init__(self) -> None:
        self.counts: Counter[Counted] = Counter()
        self.lock = threading.Lock()
        self.timer: threading.Timer | None = None

    def add(self, counts: dict[Counted, int]) -> None:
        with self.lock:
            for counted, count in counts.items():  # not by Counter.update, whose type check takes half of the time
                self.counts[counted] += count
            if self.timer is None:
                self.timer = threading.Timer(EVERY_SECONDS, self.write)
                self.timer.daemon = True
                self.timer.start()

    def write(self) -> None:
        with self.lock:
            counts, self.counts, self.timer = self.counts, Counter(), None
        if counts and not valkey.try_valkey(lambda client: _write(client, counts), False):
            self.add(counts)


_pending = _Pending()


def add(name: str, count: int = 1, **labels: str) -> None:
    """Count something. Never waits, never raises."""
    _pending.add({(name, tuple(sorted(labels.items()))): count})


def flush() -> None:
    """Write the pending counts now."""
    if _pending.counts:
        _pending.write()


def read_totals() -> dict[Counted, int] | None:
    """Return the counts of all processes; None while Valkey is away."""
    flush()
    nothing: dict[str, str] | None = None
    found = valkey.try_valkey(lambda client: client.hgetall(KEY), nothing)
    return None if found is None else {_read(field): int(count) for field, count in found.items()}


def _write(client: Any, counts: Counter[Counted]) -> bool:
    with client.pipeline(transaction=True) as pipe:
        for counted, count in counts.items():
            pipe.hincrby(KEY, json.dumps(counted), count)
        work.record(pipe, counts)
        pipe.execute()
    return True


def _read(field: str) -> Counted:
    name, labels = json.loads(field)
    return name, tuple((label, value) for label, value in labels)


atexit.register(flush)
