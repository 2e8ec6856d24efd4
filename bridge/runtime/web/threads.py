"""The threads of one web process. Each kind of work has its own threads, and thereby its own database connections."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from django.db import connection

from bridge.runtime.conf.capacity import CALLBACK_THREADS, PAGE_THREADS, STORE_THREADS


def _pool(name: str, size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix=name)


@dataclass
class Threads:
    """Pools by kind of work; a thread is started when it is first needed.

    Pages take no connection from the others, because their threads are few. disk: work without the database, so that it never waits for it.
    """

    store: Executor = field(default_factory=lambda: _pool("store", STORE_THREADS))
    callbacks: Executor = field(default_factory=lambda: _pool("callback", CALLBACK_THREADS))
    pages: Executor = field(default_factory=lambda: _pool("page", PAGE_THREADS))
    disk: Executor = field(default_factory=lambda: _pool("disk", 1))
    probes: Executor = field(default_factory=lambda: _pool("probe", 1))
    logins: Executor = field(default_factory=lambda: _pool("login", 1))

    def close(self) -> None:
        """Wait for the work under way, and end the threads with their connections."""
        for _ in range(STORE_THREADS):
            self.store.submit(lambda: connection.close()).result()  # noqa: PLW0108 - the thread's own connection
        for each in (self.store, self.callbacks, self.pages, self.disk, self.probes, self.logins):
            each.shutdown()
