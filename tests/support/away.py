"""A database that is away, as while it is restarted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


@contextlib.contextmanager
def database_away() -> Iterator[None]:
    """Every session is ended and no new one let in until the block ends. For tests with `transaction=True`."""
    values = connection.get_connection_params()
    name = values["dbname"]
    connection.close()
    other = {key: values[key] for key in ("host", "port", "user", "password") if values.get(key)}
    with psycopg.connect(dbname="postgres", autocommit=True, **other) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            server.execute(_END, [name])
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    connection.close()
