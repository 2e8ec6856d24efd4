"""So many requests a minute for each token or person, and fewer for each address that sends no valid one.

Counted in Valkey by whole minutes; while it is away every request passes, for the rows need no protection from a working client.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from rest_framework.exceptions import Throttled

from accounts.valkey import try_valkey

if TYPE_CHECKING:
    from rest_framework.request import Request

# Without a valid token there is nothing to do here but to try another one.
ANONYMOUS_RATE = 60
WINDOW_SECONDS = 60


def count(request: Request) -> None:
    """Count an authenticated request. Raises Throttled."""
    who = f"token:{request.auth.pk[:32]}" if request.auth else f"user:{request.user.pk}"
    _take(who, settings.API_RATE)


def count_unauthenticated(request: Request) -> None:
    """Count a request without valid credentials. Raises Throttled."""
    _take(f"address:{request.META.get('REMOTE_ADDR', '')}", ANONYMOUS_RATE)


def _take(who: str, rate: int) -> None:
    now = time.time()
    key = f"api:{who}:{int(now // WINDOW_SECONDS)}"

    def add(valkey: Any) -> int:
        with valkey.pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, WINDOW_SECONDS)
            return int(pipe.execute()[0])

    if try_valkey(add, 0) > rate:
        raise Throttled(wait=WINDOW_SECONDS - now % WINDOW_SECONDS + 1)
