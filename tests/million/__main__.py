"""`make million`: fill a database of its own, open every page, and say what each costs. Exits 1 where one takes too much."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from tests.million.stage import stage

if TYPE_CHECKING:
    from tests.million.measure import Cost

SHOWN = 30
INDEXES = """
    SELECT indexrelname, pg_size_pretty(pg_relation_size(indexrelid)), relname FROM pg_stat_user_indexes
    WHERE relname IN ('bridge_message', 'bridge_delivery', 'bridge_attempt', 'bridge_contact')
    ORDER BY pg_relation_size(indexrelid) DESC LIMIT 12
"""


def main(messages: int) -> bool:
    """Whether every page keeps the limits."""
    with stage():
        _fill(messages)
        costs = _measure()
        _print(costs)
        return all(cost.fine for cost in costs)


def _fill(messages: int) -> None:
    from tests.million.fill import fill  # Django is ready only now

    begin = time.monotonic()
    _say(f"Storing {messages} messages and what hangs on them …")
    fill(messages)
    _say(f"Stored in {time.monotonic() - begin:.0f} s. Counting the figures …")
    _count()


def _count() -> None:
    """Count all hours and days, as the clock does after an update, then the hour that is going on."""
    from django.utils import timezone

    from bridge.operations.figures import counting, periods

    begin = time.monotonic()
    periods_counted = counting.count_due_periods(3600)
    whole = time.monotonic() - begin
    counting.count_period(periods.hour_of(timezone.now()))
    last = time.monotonic() - begin - whole
    _say(
        f"Counted {periods_counted} hours and days in {whole:.0f} s, the last hour in {last * 1000:.0f} ms. Opening every page …"
    )


def _measure() -> list[Cost]:
    from django.contrib.auth.models import User
    from django.test import Client

    from tests.million import measure, pages

    logging.disable(logging.CRITICAL)  # addresses that take POST only, and what is offered to nobody, are tried as well
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("million"))
    found = [*pages.admin_pages(client), *pages.api_pages(client)]
    return [cost for page in found if (cost := measure.cost(client, page))]


def _print(costs: list[Cost]) -> None:
    """The slowest, all that miss a limit with their slowest query, and the largest indexes."""
    from django.db import connection

    from tests.million.measure import MOST_OF_ONE, MOST_OF_SEARCH, MOST_QUERIES, MOST_SECONDS

    ranked = sorted(costs, key=lambda cost: -cost.seconds)
    _say(f"\n{'ms':>6} {'queries':>8}  page")
    for cost in [*ranked[:SHOWN], *(cost for cost in ranked[SHOWN:] if not cost.fine)]:
        miss = "" if cost.fine else f"   <- MISSED, {cost.status}, {cost.slowest[:300]}"
        _say(f"{cost.seconds * 1000:6.0f} {cost.queries:8}  {cost.page.name}{miss}")
    with connection.cursor() as cursor:
        cursor.execute(INDEXES)
        rows = cursor.fetchall()
    _say("\nThe largest indexes: " + ", ".join(f"{name} {size}" for name, size, _table in rows))
    missed = sum(not cost.fine for cost in costs)
    bounds = f"{MOST_QUERIES} queries (searches {MOST_OF_SEARCH}, pages of one row {MOST_OF_ONE})"
    _say(f"{len(costs)} pages, {missed} over {bounds} or {MOST_SECONDS * 1000:.0f} ms.")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(0 if main(int(os.environ.get("MESSAGES") or 1_000_000)) else 1)
