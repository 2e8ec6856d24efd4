"""Handles a database that is away: its errors, retries, time limits, and connections whose server has gone."""

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

Params = ParamSpec("Params")
Result = TypeVar("Result")
# What Django raises while the database stops, starts or has no connection left. The work itself is not wrong.
DB_UNAVAILABLE = (OperationalError, InterfaceError)
# Seconds; as long as the lease of a delivery. After that another process takes the delivery.
MAX_RETRY_SECONDS = 30
PAUSE_SECONDS = 0.5


def check_connection(pooled: psycopg.Connection[Any]) -> None:
    """Check a connection before the pool gives it out. Raises psycopg.OperationalError if its server has gone.

    The server sends nothing on an idle connection, so if there is something to read it is the end of the connection. This check takes a
    microsecond. The check of psycopg sends a statement; with that round trip a web server accepts a fifth fewer callbacks in a second.
    """
    poll = select.poll()
    poll.register(pooled.fileno(), select.POLLIN)
    if poll.poll(0):
        pooled.close()  # else the pool would use it again
        raise psycopg.OperationalError("the server has ended this connection")


def install_pool_check(database: Any) -> None:
    """Make the pool use `check_connection`. database: Django's connection. It has no public way to set another check than Django's own."""
    if database.pool is not None:
        database.pool._check = check_connection


def close_if_lost(pooled: Any) -> None:
    """Close a connection whose server has gone, so that the next use opens another. pooled: Django's connection, which a thread keeps."""
    if pooled.connection is not None and not pooled.in_atomic_block:
        try:
            check_connection(pooled.connection)
        except psycopg.OperationalError:
            pooled.close()


class AbortableConnection:
    """Lets another thread abort the statements of this one, for a server that accepts a statement and never answers it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @contextlib.contextmanager
    def track(self) -> Iterator[None]:
        """Allow `abort` for the statements of the block. Raises OperationalError if there is no connection."""
        connection.ensure_connection()
        self._socket = socket.socket(fileno=os.dup(connection.connection.fileno()))
        try:
            yield
        finally:
            with self._lock:
                self._socket.close()
                self._socket = None

    def abort(self) -> None:
        """Make the statement that runs in the block raise OperationalError at once. Does nothing outside the block."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def limit_answer_time(seconds: float) -> Iterator[None]:
    """Make statements of the block raise OperationalError if the server does not answer in time, even if it has stopped responding."""
    abortable = AbortableConnection()
    with abortable.track():
        timer = threading.Timer(seconds, abortable.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def retry_while_db_down(work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
    """Do the work, and try again while the database is away: for data from outside that would be lost otherwise.

    A commit that failed may have been made, so `work` must be safe to repeat: it compares the lease, or stores by a key. Use it outside
    transactions.
    """
    deadline = time.monotonic() + MAX_RETRY_SECONDS
    while True:
        try:
            return work(*args, **kwargs)
        except DB_UNAVAILABLE:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
