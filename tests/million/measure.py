"""What one page costs: its queries, and the time of the server for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from django.db import connection
from django.test.utils import CaptureQueriesContext

if TYPE_CHECKING:
    from django.test import Client

    from tests.million.pages import Page

MOST_QUERIES, MOST_SECONDS = 10, 0.3
TIMES = 3


@dataclass(frozen=True)
class Cost:
    """seconds: median of the server's time for the whole answer, all middleware and the template included."""

    page: Page
    status: int
    queries: int
    seconds: float
    slowest: str

    @property
    def fine(self) -> bool:
        return self.status < 400 and self.queries <= MOST_QUERIES and self.seconds <= MOST_SECONDS


def cost(client: Client, page: Page) -> Cost | None:
    """None where nothing can be read: the address takes POST only, or what it does is offered to nobody."""
    with CaptureQueriesContext(connection) as caught:
        status = client.get(page.address).status_code
        queries = connection.queries[caught.initial_queries :]  # before the next request begins a new list
    if status in (403, 405):
        return None
    slowest = max(queries, key=lambda query: float(query["time"]), default={"time": "0", "sql": ""})
    seconds = median(_seconds(client, page) for _time in range(TIMES))
    return Cost(page, status, len(queries), seconds, f"{slowest['time']} s: {slowest['sql']}")


def _seconds(client: Client, page: Page) -> float:
    begin = time.perf_counter()
    client.get(page.address)
    return time.perf_counter() - begin
