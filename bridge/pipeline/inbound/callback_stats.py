"""Counts the callbacks of each account by their result, in Valkey, which may lose the counts."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from accounts import counters
from accounts.valkey import try_valkey
from bridge.models import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.models import ChannelAccount

# The seconds after which the counters of an account without callbacks expire.
KEEP_SECONDS = 30 * 24 * 3600
# The last callback of an account is written at most once in so many seconds, however often it is called.
WRITE_SECONDS = 1.0
_last_written: dict[str, tuple[str, float]] = {}


def count_callback(account_key: str, result: str, refused: bool) -> Callable[[Any], None] | None:
    """Count a callback in this process. result: "ok", or the code of the refusal.

    Return a function that writes it to Valkey, which the caller runs where it may wait; None: nothing is to be written now.
    """
    counters.add("callbacks", account=account_key, result=result)
    now = time.monotonic()
    last, at = _last_written.get(account_key, ("", 0.0))
    if last == result and not refused and now - at < WRITE_SECONDS:
        return None
    _last_written[account_key] = (result, now)

    def write(valkey: Any) -> None:
        key = f"callback:{account_key}"
        with valkey.pipeline(transaction=False) as pipe:
            pipe.hset(key, mapping={"at": time.time(), "result": result})
            if refused:
                pipe.hincrby(key, f"refused:{result}", 1)
            pipe.expire(key, KEEP_SECONDS)
            pipe.execute()

    return write


def last_callback(account: ChannelAccount) -> tuple[datetime, str] | None:
    """Return when the platform last called and with what result; from the newest message where Valkey lost it."""
    stored = _read_counters(account)
    if "at" in stored:
        return datetime.fromtimestamp(float(stored["at"]), UTC), stored.get("result", "")
    received = Message.objects.filter(account=account, direction="in", source="channel").order_by("-id")
    newest = received.values_list("created_at", flat=True).first()
    return (newest, "ok") if newest else None


def refused_callbacks(account: ChannelAccount) -> dict[str, int]:
    """Return how many callbacks were refused, by code, most frequent first."""
    counts = {
        name.removeprefix("refused:"): int(n)
        for name, n in _read_counters(account).items()
        if name.startswith("refused:")
    }
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _read_counters(account: ChannelAccount) -> dict[str, str]:
    nothing: dict[str, str] = {}
    return try_valkey(lambda valkey: valkey.hgetall(f"callback:{account.key}"), nothing)
