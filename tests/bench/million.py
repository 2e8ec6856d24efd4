"""The callback's rate over a database of a million messages, beside an empty one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import world
from tests.bench.callbacks import per_second, posts, web
from tests.bench.ground import ground as laid_ground
from tests.bench.table import Figure, interleaved, ratio, say

if TYPE_CHECKING:
    from tests.bench.ground import Ground

MESSAGES = 1_000_000


def million(ground: Ground, rounds: int) -> list[Figure]:
    empty_path = f"/callbacks/{world.account().key}"
    with laid_ground(ground.scale) as full:
        say("    filling …")
        full_path = f"/callbacks/{full.run('filled', messages=ground.many(MESSAGES))['key']}"
        with web(ground) as empty_web, web(full) as full_web:
            found = interleaved(
                {
                    "full": lambda: posts(full, full_web.port, full_path),
                    "empty": lambda: posts(ground, empty_web.port, empty_path),
                },
                rounds,
            )
    mine, other = found["full"], found["empty"]
    label = "callbacks/s with 1 000 000 messages : none"
    return [Figure(label, per_second(mine), per_second(other), ratio(mine, other), 0.9)]
