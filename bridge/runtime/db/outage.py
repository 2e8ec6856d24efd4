"""What a database raises that is away, how long work waits for it, and whether a connection still has a server."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import psycopg
from django.db import InterfaceError, OperationalError, connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Given = ParamSpec("Given")
Found = TypeVar("Found")
# What a database raises that ends, starts, or has no room: nothing is wrong with the work itself.
DB_UNAVAILABLE = (OperationalError, InterfaceError)
# As long as a delivery's lease: after it somebody else decides. Seconds.
PATIENCE_SECONDS = 30
PAUSE_SECONDS = 0.5


def check_connection(kept: psycopg.Connection[Any]) -> None:
    """What the pool asks before it gives a connection out. Raises psycopg.OperationalError for one whose server has gone.

    An idle connection has nothing to say: what can be read from it is its end. To look takes a microsecond; the statement that
    psycopg's own check sends takes a round trip, and with it a fifth of the callbacks that a web server takes in a second.
    """
    poll = select.poll()
    poll.register(kept.fileno(), select.POLLIN)
    if poll.poll(0):
        kept.close()  # or the pool would take it back
        raise psycopg.OperationalError("the server has ended this connection")


def install_pool_check(database: Any) -> None:
    """database: Django's connection. Its pool takes a check from CONN_HEALTH_CHECKS alone, and has no public way to change it."""
    if database.pool is not None:
        database.pool._check = check_connection


def check_pooled(kept: Any) -> None:
    """kept: Django's connection, held between two uses. Closed where its server has gone, so that the next use opens another."""
    if kept.connection is not None and not kept.in_atomic_block:
        try:
            check_connection(kept.connection)
        except psycopg.OperationalError:
            kept.close()


class Line:
    """Lets another thread hang up on a server that accepts a statement and never answers it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Around this thread's statements. Raises OperationalError where there is no connection."""
        connection.ensure_connection()
        self._socket = socket.socket(fileno=os.dup(connection.connection.fileno()))
        try:
            yield
        finally:
            with self._lock:
                self._socket.close()
                self._socket = None

    def hang_up(self) -> None:
        """What is waited for raises OperationalError at once. Nothing where nothing is under way."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def answered_within(seconds: float) -> Iterator[None]:
    """Statements in this thread raise OperationalError where the server does not answer in time, even where it is frozen."""
    line = Line()
    with line.in_use():
        timer = threading.Timer(seconds, line.hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def retry_while_db_down(work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
    """Again while the database is away: for what came from outside and would otherwise be forgotten.

    Whether a commit that failed counted is unknown, so `work` must be safe to repeat: fenced, or stored by a key. Outside transactions.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work(*args, **kwargs)
        except DB_UNAVAILABLE:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
