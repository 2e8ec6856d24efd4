"""Waiting for what another thread or process does."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Found = TypeVar("Found")

__all__ = ["at_once", "eventually", "in_thread", "wait_for_a_waiter"]


def eventually(check: Callable[[], Found], seconds: float = 15.0, pause: float = 0.02) -> Found:
    """The first truthy value of `check`."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "the state did not come"
        time.sleep(pause)
    return found


def in_thread(work: Callable[[], Found]) -> Callable[[], Found]:
    """The same for a thread of its own: it hands its database connection back."""

    def run() -> Found:
        try:
            return work()
        finally:
            connection.close()

    return run


def at_once(*jobs: Callable[[], Found]) -> list[Found]:
    """Each job in a thread of its own, let go together; their results in order."""
    together = threading.Barrier(len(jobs))

    def start(job: Callable[[], Found]) -> Found:
        together.wait(20)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [done.result(60) for done in [pool.submit(in_thread(lambda job=job: start(job))) for job in jobs]]


def wait_for_a_waiter() -> None:
    """Until somebody waits for a lock that this connection holds."""

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            return bool(cursor.fetchone()[0])

    eventually(waits, seconds=20)
