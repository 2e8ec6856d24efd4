"""Pauses between the messages of an account whose kind is `Paced`, kept in Valkey. Never sleeps; without Valkey, messages wait."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from accounts.limits import BLIND_SECONDS
from accounts.valkey import try_valkey

if TYPE_CHECKING:
    from channels_wechat.contract.capabilities import Paced

# KEYS: when the account, and when it to this peer, may send again. ARGV: now, and the pause that follows for each.
# Answers 0 and stores both, or the seconds to wait.
_TAKE = """
local wait = 0
for _, key in ipairs(KEYS) do wait = math.max(wait, tonumber(redis.call('GET', key) or 0) - ARGV[1]) end
if wait > 0 then return tostring(wait) end
for i, key in ipairs(KEYS) do
  local pause = tonumber(ARGV[i + 1])
  if pause > 0 then redis.call('SET', key, tostring(ARGV[1] + pause), 'PX', math.ceil(pause * 1000)) end
end
return '0'
"""


def take_turn(channel: Paced, peer_id: str) -> float:
    """Begin the pauses that follow a message to this peer, and return 0.0; or the seconds to wait, and then nothing begins."""
    pauses = [random.uniform(pace.least, pace.most) if pace else 0.0 for pace in channel.paces]  # noqa: S311 - not a secret
    if not any(pauses):
        return 0.0
    key = f"pace:{channel.identity.key}"
    keys = [key, f"{key}:{peer_id}"]
    return float(try_valkey(lambda valkey: valkey.eval(_TAKE, 2, *keys, time.time(), *pauses), str(BLIND_SECONDS)))
