"""For machines that watch: does the process answer, can it work, and what are its figures. Without login, cookies or redirects.

/livez    this process answers. For the container's restart: it asks nobody, so that a database's night off restarts nothing.
/readyz   database, broker and sweep work; else 503 and what is missing. For whoever is called at night.
/metrics  the figures, for whoever has METRICS_TOKEN.

None waits longer than a few seconds, however its database or Valkey hangs.
"""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import psycopg
import redis
from django.conf import settings
from django.db import connection
from django.http import HttpResponse, HttpResponseNotFound, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST
from redis.backoff import NoBackoff
from redis.retry import Retry

from bridge.exposition import exposition, sweep_age

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

# libpq takes no less than 2 for its own.
DATABASE_SECONDS = 2
BROKER_SECONDS = 1.0
# The sweep comes each second. A restart of worker or beat takes some.
OLDEST_SWEEP_SECONDS = 30


@require_safe
def livez(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """200 or 503; the body says of each check "ok", or what is wrong in a word that holds no address and no secret."""
    checks = {"database": database_trouble(), **broker_troubles()}
    missing = [name for name, trouble in checks.items() if trouble]
    body = {"ready": not missing, "missing": missing, "checks": {name: checks[name] or "ok" for name in checks}}
    return JsonResponse(body, status=503 if missing else 200)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """404 where no token is set, 401 for a wrong one."""
    if not settings.METRICS_TOKEN:
        return HttpResponseNotFound()
    given, wanted = request.headers.get("Authorization", ""), f"Bearer {settings.METRICS_TOKEN}"
    if not secrets.compare_digest(given.encode(), wanted.encode()):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(exposition(database=not database_trouble()), content_type=CONTENT_TYPE_LATEST)


VIEWS: dict[str, Callable[[HttpRequest], HttpResponse]] = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}


def database_trouble() -> str:
    """Empty where the database lets us in.

    On a connection of its own, for only the making of one has a time limit that holds even where the server is frozen; and past
    the log-in a database that lets nobody in at its limit of connections is not ready either.
    """
    params: dict[str, Any] = {**connection.get_connection_params(), "connect_timeout": DATABASE_SECONDS}
    try:
        psycopg.connect(**params).close()
    except psycopg.Error as error:
        return f"the database does not answer: {type(error).__name__}"
    return ""


def broker_troubles() -> dict[str, str]:
    """Of the broker, and of the sweep, which leaves its time there."""
    try:
        age = sweep_age(cast("str | None", _valkey().get("swept")))
    except (redis.RedisError, OSError) as error:
        trouble = f"Valkey does not answer: {type(error).__name__}"
        return {"broker": trouble, "sweep": "unknown while Valkey is away"}
    return {"broker": "", "sweep": _sweep_trouble(age)}


def _sweep_trouble(age: float | None) -> str:
    if age is None:
        return "there was no sweep yet: do worker and beat run?"
    return f"the last sweep was {age:.0f} s ago: do worker and beat run?" if age > OLDEST_SWEEP_SECONDS else ""


@cache
def _valkey() -> redis.Redis:
    """With more patience than `accounts.valkey`: a busy server is no reason to call for help."""
    wait = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    return redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), decode_responses=True, **wait)
