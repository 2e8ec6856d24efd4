"""Rate limits: a kind declares them, and calls are counted in Valkey before they are made. Never sleeps; without Valkey, calls wait.

A window is cut into 60 slices; the sum over the last 61 is at least the exact count, so no more than `count` calls fall into any
window of `per` seconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from accounts.valkey import try_valkey
from channels_wechat.contract.capabilities import Uploads
from channels_wechat.contract.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Limit

SLICES = 60
# Calls wait so long while the counters cannot be read.
BLIND_SECONDS = 3.0

# KEYS: one hash per limit. ARGV: now, then count and width of a slice for each. Answers 0 after counting all, else seconds to wait.
_TAKE = """
local wait = 0
for i, key in ipairs(KEYS) do
  local count, width = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local slice, used, oldest = math.floor(ARGV[1] / width), 0, nil
  local all = redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    local at = tonumber(all[j])
    if at < slice - 60 then redis.call('HDEL', key, all[j])
    else
      used = used + tonumber(all[j + 1])
      if not oldest or at < oldest then oldest = at end
    end
  end
  if used >= count then wait = math.max(wait, (oldest + 61) * width - ARGV[1]) end
end
if wait > 0 then return tostring(wait) end
for i, key in ipairs(KEYS) do
  local width = tonumber(ARGV[2 * i + 1])
  redis.call('HINCRBY', key, math.floor(ARGV[1] / width), 1)
  redis.call('EXPIRE', key, math.ceil(width * 62))
end
return '0'
"""


def all_limits(channel: Channel) -> tuple[Limit, ...]:
    """Return the limits of what an account sends, and of what it uploads for that and reads beside."""
    uploads = channel.upload_limits if isinstance(channel, Uploads) else ()
    reads = channel.directory_limits if isinstance(channel, Directory) else ()
    return (*channel.limits, *uploads, *reads)


def select_limits(limits: Sequence[Limit], peer_kind: str) -> list[Limit]:
    """Return the limits that count a call to such a peer."""
    return [limit for limit in limits if limit.scope in ("account", peer_kind)]


def count_call(limits: Sequence[Limit], account_key: str, peer: str) -> float:
    """Count one call against every limit. Return 0.0, or the seconds to wait, when nothing is counted."""
    if not limits:
        return 0.0
    keys = [_key(limit, account_key, peer) for limit in limits]
    arguments: list[float] = [time.time()]
    for limit in limits:
        arguments += [limit.count, limit.per / SLICES]
    return float(try_valkey(lambda valkey: valkey.eval(_TAKE, len(keys), *keys, *arguments), str(BLIND_SECONDS)))


def list_remaining(limits: Sequence[Limit], account_key: str, peer: str = "") -> list[tuple[Limit, int | None]]:
    """Return each limit with the number of calls that are left, for the account's page; None while the counters cannot be read."""
    now = time.time()

    def used(valkey: Any, limit: Limit) -> int:
        first = int(now // (limit.per / SLICES)) - SLICES
        slices = valkey.hgetall(_key(limit, account_key, peer))
        return sum(int(count) for at, count in slices.items() if int(at) >= first)

    counts = [try_valkey(lambda valkey, limit=limit: used(valkey, limit), -1) for limit in limits]  # type: ignore[misc]
    return [(limit, max(0, limit.count - n) if n >= 0 else None) for limit, n in zip(limits, counts, strict=True)]


def list_remaining_of_all(accounts: Sequence[tuple[str, Sequence[Limit]]]) -> list[list[tuple[Limit, int | None]]]:
    """Return for each account, given by key and limits, the limits that all its peers share, with the calls that are left.

    One round trip to Valkey for all; None while the counters cannot be read.
    """
    shared = [(key, [limit for limit in limits if limit.scope == "account"]) for key, limits in accounts]
    flat = [(key, limit) for key, limits in shared for limit in limits]

    def read(valkey: Any) -> list[dict[str, str]]:
        with valkey.pipeline(transaction=False) as pipe:
            for key, limit in flat:
                pipe.hgetall(_key(limit, key, ""))
            found: list[dict[str, str]] = pipe.execute()
            return found

    nothing: list[dict[str, str]] | None = None
    found = try_valkey(read, nothing)
    slices = iter([None] * len(flat) if found is None else found)
    return [[(limit, _count_left(limit, next(slices))) for limit in limits] for _account, limits in shared]


def _count_left(limit: Limit, slices: dict[str, str] | None) -> int | None:
    if slices is None:
        return None
    first = int(time.time() // (limit.per / SLICES)) - SLICES
    return max(0, limit.count - sum(int(count) for at, count in slices.items() if int(at) >= first))


def _key(limit: Limit, account_key: str, peer: str) -> str:
    return f"limit:{account_key}:{limit.name}" + (f":{peer}" if limit.scope != "account" else "")
