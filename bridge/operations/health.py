"""Answers monitoring: does the process answer, can it work, and what are its figures. Without login, cookies or redirects.

/livez    this process answers. For the container's restart: it asks nobody, so that a database's night off restarts nothing.
/readyz   database, broker and sweep work; else 503 and what is missing. For whoever is called at night.
/metrics  the figures, for whoever has METRICS_TOKEN.

None waits longer than a few seconds, however its database or Valkey hangs.
"""

from __future__ import annotations

import json
import secrets
import time
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import psycopg
import redis
from django.conf import settings
from django.db import connection
from prometheus_client import CONTENT_TYPE_LATEST
from redis.backoff import NoBackoff
from redis.retry import Retry

from bridge.operations.prometheus import exposition, sweep_age
from bridge.runtime.db.threads import execute_on
from bridge.runtime.spool import journal
from bridge.runtime.web.batches import Batches
from bridge.runtime.web.http import Refused, Request, Response

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

# libpq takes no less than 2 for its own.
DATABASE_SECONDS = 2
BROKER_SECONDS = 1.0
READY_SECONDS = 1.0
# The sweep comes each second. A restart of worker or beat takes some.
OLDEST_SWEEP_SECONDS = 30


VIEWS = frozenset({"/livez", "/readyz", "/metrics"})


class Probes:
    """Answers the probes of one web process. Requests for /readyz within a second share an answer, because a check opens a connection."""

    def __init__(self, threads: Executor) -> None:
        self.threads = threads
        self.ready = Batches[None, tuple[int, bytes]](self._look, max_batch=1000)
        self.seen: tuple[float, tuple[int, bytes]] = (0.0, (503, b""))

    async def answer(self, request: Request) -> Response:
        """Raises Refused."""
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, "Only GET and HEAD.", allow="GET, HEAD")
        if request.path == "/livez":
            return Response(200, b"ok\n", "text/plain")
        if request.path == "/metrics":
            return await self._metrics(request.headers.get("authorization", ""))
        until, answer = self.seen
        status, body = answer if until > time.monotonic() else await self.ready(None)
        return Response(status, body, "application/json")

    async def _look(self, askers: Sequence[None]) -> list[tuple[int, bytes]]:
        answer = await execute_on(self.threads, readyz)
        self.seen = time.monotonic() + READY_SECONDS, answer
        return [answer] * len(askers)

    async def _metrics(self, authorization: str) -> Response:
        """Answer /metrics: 404 where no token is set, 401 for a wrong one."""
        if not settings.METRICS_TOKEN:
            return Response(404)
        if not secrets.compare_digest(authorization.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
            return Response(401, headers={"www-authenticate": "Bearer"})
        return Response(200, await execute_on(self.threads, _figures), CONTENT_TYPE_LATEST)


def readyz() -> tuple[int, bytes]:
    """Return 200 or 503. The body says of each check "ok", or what is wrong in a word without an address or a secret.

    spool: how many callbacks wait on disk for the database.
    """
    waiting = journal.read_status()
    checks = {"database": database_problem(), **broker_problems(), "spool": _spool_problem(waiting)}
    missing = [name for name, trouble in checks.items() if trouble]
    told = {name: checks[name] or "ok" for name in checks}
    body = {"ready": not missing, "missing": missing, "checks": told, "spool": waiting.messages}
    return 503 if missing else 200, json.dumps(body).encode()


def _figures() -> bytes:
    return exposition(database=not database_problem())


def database_problem() -> str:
    """Return what is wrong with the database; empty where it lets us in.

    On a connection of its own, for only the making of one has a time limit that holds even where the server is frozen; and past
    the log-in a database that lets nobody in at its limit of connections is not ready either.
    """
    params: dict[str, Any] = {**connection.get_connection_params(), "connect_timeout": DATABASE_SECONDS}
    try:
        psycopg.connect(**params).close()
    except psycopg.Error as error:
        return f"the database does not answer: {type(error).__name__}"
    return ""


def broker_problems() -> dict[str, str]:
    """Return what is wrong with the broker, and with the sweep, which stores its time there."""
    try:
        age = sweep_age(cast("str | None", _valkey().get("swept")))
    except (redis.RedisError, OSError) as error:
        trouble = f"Valkey does not answer: {type(error).__name__}"
        return {"broker": trouble, "sweep": "unknown while Valkey is away"}
    return {"broker": "", "sweep": _sweep_problem(age)}


def _spool_problem(waiting: journal.SpoolStatus) -> str:
    """Return what is wrong with the spool. Rows that only wait are no problem of their own: the database is."""
    if not waiting.unreadable:
        return ""
    return f"{waiting.unreadable} callbacks on disk cannot be read: was a key of FIELD_KEYS removed?"


def _sweep_problem(age: float | None) -> str:
    if age is None:
        return "there was no sweep yet: do worker and beat run?"
    return f"the last sweep was {age:.0f} s ago: do worker and beat run?" if age > OLDEST_SWEEP_SECONDS else ""


@cache
def _valkey() -> redis.Redis:
    """Return a client with longer time-outs than `accounts.valkey`, because a busy server is no reason for an alarm."""
    wait = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    return redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), decode_responses=True, **wait)
