"""Prepares a worker or a connector before it reports that it works, so that its first answers are as quick as later ones.

Connections to PostgreSQL and Valkey are opened, the statements that every delivery passes are prepared on each, and the channels of the
enabled accounts are made. Nothing is claimed and no row is touched.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection, transaction

from accounts import channels, valkey
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.inbound import batch
from bridge.runtime.db.outage import DB_UNAVAILABLE

if TYPE_CHECKING:
    from bridge.models import Carrier

log = logging.getLogger(__name__)
CONNECTIONS = 8
# psycopg prepares a statement on the server after so many runs on a connection: DATABASES' prepare_threshold, and once more.
TIMES = 3
TOGETHER_SECONDS = 15


def warm_up(carrier: Carrier, *, gateway_id: int | None = None, most: int | None = None) -> None:
    """Blocks, for some 100 ms. gateway_id, most: as this process claims with (`claims.claim`).

    While the database is away nothing is done: the process then works without.
    """
    count = min(CONNECTIONS, settings.DB_POOL_SIZE or 1)
    together = threading.Barrier(count)

    def prepare() -> None:
        try:
            connection.ensure_connection()
            together.wait(
                TOGETHER_SECONDS
            )  # so that each has a connection of its own: none is given back before all are open
            prepare_statements(carrier, gateway_id=gateway_id, most=most)
        except BaseException:
            together.abort()  # the others must not wait for this one
            raise
        finally:
            connection.close()  # back to the pool

    valkey.try_valkey(lambda client: client.ping(), None)
    try:
        channels.remember_enabled()
        with ThreadPoolExecutor(count, thread_name_prefix="warm-up") as threads:
            for prepared in [threads.submit(prepare) for _ in range(count)]:
                prepared.result()
    except (*DB_UNAVAILABLE, threading.BrokenBarrierError) as error:
        log.warning("the database is away (%s): the first answers will be slower", type(error).__name__)
    finally:
        connection.close()


def prepare_statements(carrier: Carrier, *, gateway_id: int | None = None, most: int | None = None) -> None:
    """Run each statement on this thread's connection, with values of the types that come later, and so that it touches no row."""
    for _ in range(TIMES):
        claims.claim(carrier, "", 0, gateway_id=gateway_id, most=most)
        settle.open_attempts([])
        settle.mark_all_delivered([])
        with transaction.atomic():
            batch.load_batch([])
