"""What one page costs: its queries, and the time of the server for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from django.db import connection
from django.test.utils import CaptureQueriesContext

if TYPE_CHECKING:
    from django.test import Client

    from tests.million.pages import Page

MOST_QUERIES, MOST_SECONDS = 10, 0.3
# A search asks for what it found, and for the rows that belong to it.
MOST_OF_SEARCH = 13
# The page of a conversation shows its messages, their files, deliveries and people, the mapping, and ways to answer.
MOST_OF_ONE = 30
TIMES = 3


@dataclass(frozen=True)
class Cost:
    """seconds: median of the server's time for the whole answer, all middleware and the template included; slowest: a query."""

    page: Page
    status: int
    queries: int
    seconds: float
    slowest: str

    @property
    def fine(self) -> bool:
        return self.status < 400 and self.queries <= most_queries(self.page) and self.seconds <= MOST_SECONDS


def most_queries(page: Page) -> int:
    """Return how many queries a page may cost, two of which read the session and the user."""
    if not page.is_list:
        return MOST_OF_ONE
    return MOST_OF_SEARCH if "q=" in page.address else MOST_QUERIES


def cost(client: Client, page: Page, times: int = TIMES) -> Cost | None:
    """None where nothing can be read: the address takes POST only, what it does is offered to nobody, or this row has no such page."""
    with CaptureQueriesContext(connection) as caught:
        status = client.get(page.address).status_code
        queries = connection.queries[caught.initial_queries :]  # before the next request begins a new list
    if status in (403, 404, 405):
        return None
    slowest = max(queries, key=lambda query: float(query["time"]), default={"time": "0", "sql": ""})
    seconds = median(_seconds(client, page) for _time in range(times))
    return Cost(page, status, len(queries), seconds, f"{slowest['time']} s: {slowest['sql']}")


def _seconds(client: Client, page: Page) -> float:
    """From request to answer, less the time in which this thread or its database process waited for a processor that others had."""
    begin, waited = time.perf_counter(), _waited()
    client.get(page.address)
    return time.perf_counter() - begin - (_waited() - waited)


def _waited() -> float:
    """Seconds, from the second field of schedstat (Documentation/scheduler/sched-stats.rst of Linux); 0 where there is none."""
    database = f"/proc/{connection.connection.info.backend_pid}" if connection.connection else ""
    return sum(_run_delay(Path(process, "schedstat")) for process in ("/proc/thread-self", database) if process)


def _run_delay(path: Path) -> float:
    try:
        return int(path.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
