"""Answers monitoring: does the process answer, can it work, and what are its figures. Without login, cookies or redirects.

/livez    this process answers. For the container's restart: it asks no other server, so that an outage of the database restarts nothing.
/readyz   database, broker, sweep and connector work; else 503 and what is missing. For alarms.
/metrics  the figures, for requests with METRICS_TOKEN.

None of them waits longer than a few seconds, even where the database or Valkey hangs.
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

from accounts import work
from bridge.operations.prometheus import render_metrics, sweep_age
from bridge.runtime.db.threads import execute_on
from bridge.runtime.spool import journal
from bridge.runtime.web.batches import Batches
from bridge.runtime.web.http import Refused, Request, Response

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

# libpq takes no shorter time limit for a connection than 2 seconds.
DATABASE_SECONDS = 2
BROKER_SECONDS = 1.0
READY_SECONDS = 1.0
# The sweep runs once a second, but a restart of worker or beat takes several seconds.
OLDEST_SWEEP_SECONDS = 30


VIEWS = frozenset({"/livez", "/readyz", "/metrics"})


class Probes:
    """Answers the probes of one web process. Requests for /readyz within a second share an answer, because a check opens a connection."""

    def __init__(self, threads: Executor) -> None:
        self.threads = threads
        self.ready = Batches[None, tuple[int, bytes]](self._check_once, max_batch=1000)
        self.last_result: tuple[float, tuple[int, bytes]] = (0.0, (503, b""))

    async def answer(self, request: Request) -> Response:
        """Answer a probe. Raises Refused."""
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, "Only GET and HEAD.", allow="GET, HEAD")
        if request.path == "/livez":
            return Response(200, b"ok\n", "text/plain")
        if request.path == "/metrics":
            return await self._metrics(request.headers.get("authorization", ""))
        until, answer = self.last_result
        status, body = answer if until > time.monotonic() else await self.ready(None)
        return Response(status, body, "application/json")

    async def _check_once(self, requests: Sequence[None]) -> list[tuple[int, bytes]]:
        answer = await execute_on(self.threads, check_readiness)
        self.last_result = time.monotonic() + READY_SECONDS, answer
        return [answer] * len(requests)

    async def _metrics(self, authorization: str) -> Response:
        """Answer /metrics: 404 where no token is set, 401 for a wrong one."""
        if not settings.METRICS_TOKEN:
            return Response(404)
        if not secrets.compare_digest(authorization.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
            return Response(401, headers={"www-authenticate": "Bearer"})
        return Response(200, await execute_on(self.threads, _render_metrics), CONTENT_TYPE_LATEST)


def check_readiness() -> tuple[int, bytes]:
    """Return 200 or 503. The body says of each check "ok", or what is wrong in a word without an address or a secret.

    spool: how many callbacks wait on disk for the database.
    """
    waiting = journal.read_status()
    checks = {"database": check_database(), **check_broker(), "spool": _check_spool(waiting)}
    missing = [name for name, problem in checks.items() if problem]
    results = {name: checks[name] or "ok" for name in checks}
    body = {"ready": not missing, "missing": missing, "checks": results, "spool": waiting.messages}
    return 503 if missing else 200, json.dumps(body).encode()


def _render_metrics() -> bytes:
    return render_metrics(database=not check_database())


def check_database() -> str:
    """Return what is wrong with the database; empty where it accepts a connection.

    It opens a new connection, because only connecting has a time limit that holds even where the server is frozen, and because
    a database that has reached its limit of connections is not ready either.
    """
    params: dict[str, Any] = {**connection.get_connection_params(), "connect_timeout": DATABASE_SECONDS}
    try:
        psycopg.connect(**params).close()
    except psycopg.Error as error:
        return f"the database does not answer: {type(error).__name__}"
    return ""


def check_broker() -> dict[str, str]:
    """Return what is wrong with the broker, and with the sweep and the connectors, which store their signs there."""
    try:
        age = sweep_age(cast("str | None", _valkey_client().get("swept")))
        sign = work.read_sign_age(_valkey_client(), "connector")
    except (redis.RedisError, OSError) as error:
        problem = f"Valkey does not answer: {type(error).__name__}"
        return {"broker": problem, **dict.fromkeys(("sweep", "connector"), "unknown while Valkey is away")}
    return {"broker": "", "sweep": _check_sweep(age), "connector": _check_connector(sign)}


def _check_spool(waiting: journal.SpoolStatus) -> str:
    """Return what is wrong with the spool. Rows that only wait for the database are not a problem of the spool."""
    if not waiting.unreadable:
        return ""
    return f"callbacks on disk that cannot be read: {waiting.unreadable}. Was a key of FIELD_KEYS removed?"


def _check_sweep(age: float | None) -> str:
    if age is None:
        return "there was no sweep yet: do worker and beat run?"
    return f"the last sweep was {age:.0f} s ago: do worker and beat run?" if age > OLDEST_SWEEP_SECONDS else ""


def _check_connector(age: float | None) -> str:
    if age is None:
        return "there was no sign of a connector within the hour: does it run?"
    return f"the last sign of a connector was {age:.0f} s ago: does it run?" if age > work.LOST_SECONDS else ""


@cache
def _valkey_client() -> redis.Redis:
    """Return a client with longer time-outs than `accounts.valkey`, because a busy server is no reason for an alarm."""
    wait = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    return redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), decode_responses=True, **wait)
