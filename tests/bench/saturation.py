"""Bridged messages a second where they come faster than they go: from the first callback to the last answer on the platform.

All processes of a layout share the machine with the sender, the gateway and the platform, as in `cost`; whoever batches gains here.
"""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING

from tests.bench.callbacks import load
from tests.bench.cost import LAYOUTS, mapped_path
from tests.bench.ground import ground as laid_ground
from tests.bench.pipe import TOKEN, bridge, ends
from tests.bench.table import Figure, interleaved, ratio, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.bench.ground import Ground
    from tests.bench.pipe import Ends, Pipe

MESSAGES, WARM = 1500, 100
STORED = 1_000_000
GOALS = {"celery": ("a naive Celery layout", 2.0), "loop": ("a loop without Celery", 1.0)}


def saturation(ground: Ground, rounds: int) -> list[Figure]:
    """Ours beside both rivals, and beside ourselves over a million stored messages."""
    with contextlib.ExitStack() as stack:
        sides = stack.enter_context(ends(ground))
        full = stack.enter_context(laid_ground(ground.scale))
        say("    filling …")
        wiring = {"platform": sides.platform, "gateway": sides.gateway, "token": TOKEN}
        key = full.run("filled", messages=ground.many(STORED), **wiring)["key"]
        measures = {name: _measure(ground, sides, make) for name, make in LAYOUTS.items()}
        measures["full"] = _measure(full, sides, bridge, f"/callbacks/{key}")
        found = interleaved(measures, rounds)
    mine = found["ours"]
    figures = [
        Figure(
            f"bridged messages/s at saturation : {label}",
            _rate(mine),
            _rate(found[name]),
            ratio(mine, found[name]),
            goal,
        )
        for name, (label, goal) in GOALS.items()
    ]
    stored = ratio(found["full"], mine)
    return [*figures, Figure("the same with 1 000 000 messages : none", _rate(found["full"]), _rate(mine), stored, 0.9)]


def _measure(
    ground: Ground, sides: Ends, make: Callable[[Ground], AbstractContextManager[Pipe]], kept: str = ""
) -> Callable[[], float]:
    """Every round starts the processes anew: an idle one would cost the others something. kept: the path of an account that stays."""

    def play() -> float:
        path = kept or mapped_path(ground, sides)
        with make(ground) as pipe:
            load(ground, pipe.port, path, WARM, rate=30, text="!say={number}")
            sides.await_all(WARM)
            count = ground.many(MESSAGES)
            began = min(load(ground, pipe.port, path, count, text="!say={number}")["began"].values())
            moments = [moment for moment, _text in sides.await_all(count)]
            return count / (max(moments) - began)

    return play


def _rate(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f}/s"
