"""How many callbacks came to each account and what became of them, counted in Valkey, which may forget them."""

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

# Counters of an account nobody calls any more go away after this. Seconds.
KEEP_SECONDS = 30 * 24 * 3600
# An account that is called a hundred times a second is noted once in it.
NOTE_SECONDS = 1.0
_last_noted: dict[str, tuple[str, float]] = {}


def note_callback(account_key: str, result: str, refused: bool) -> Callable[[Any], None] | None:
    """Count the callback of a known account in this process. result: "ok", or the refusal's code.

    Returns what is to be written to Valkey, for whoever must not wait for it; None: not now.
    """
    counters.add("callbacks", account=account_key, result=result)
    now = time.monotonic()
    last, at = _last_noted.get(account_key, ("", 0.0))
    if last == result and not refused and now - at < NOTE_SECONDS:
        return None
    _last_noted[account_key] = (result, now)

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
    """When the platform last called and with what result; from the newest message where Valkey has forgotten."""
    noted = _noted(account)
    if "at" in noted:
        return datetime.fromtimestamp(float(noted["at"]), UTC), noted.get("result", "")
    heard = Message.objects.filter(account=account, direction="in", source="channel").order_by("-id")
    newest = heard.values_list("created_at", flat=True).first()
    return (newest, "ok") if newest else None


def refused_callbacks(account: ChannelAccount) -> dict[str, int]:
    """Callbacks not taken, by code, most frequent first."""
    counts = {
        name.removeprefix("refused:"): int(n) for name, n in _noted(account).items() if name.startswith("refused:")
    }
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _noted(account: ChannelAccount) -> dict[str, str]:
    nothing: dict[str, str] = {}
    return try_valkey(lambda valkey: valkey.hgetall(f"callback:{account.key}"), nothing)
