"""Memory while many agents think: what the four processes have more for each turn that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.models import Attempt
from tests.acceptance.stage import wait_until
from tests.bench import world
from tests.bench.callbacks import load
from tests.bench.pipe import PATIENCE, TOKEN, bridge, ends
from tests.bench.table import Figure

if TYPE_CHECKING:
    from tests.bench.ground import Ground

TURNS, WARM = 500, 60
THINKING = 150  # seconds; longer than it takes to open all of them


def waiting(ground: Ground, _rounds: int) -> list[Figure]:
    """Once: memory does not depend on who else works on this machine. Some turns go before, for what is allocated but once."""
    turns = ground.many(TURNS)
    with ends(ground) as sides:
        account = world.mapped(sides.platform, sides.gateway, TOKEN)
        with bridge(ground) as pipe:
            path = f"/callbacks/{account.key}"
            load(ground, pipe.port, path, WARM, rate=60, text="!say=好")
            sides.await_all(WARM)
            before = pipe.memory()
            load(ground, pipe.port, path, turns, rate=60, text=f"!slow={THINKING}")
            if not wait_until(lambda: _open() >= turns, PATIENCE):
                raise RuntimeError(f"{_open()} of {turns} turns are open")
            each = (pipe.memory() - before) / 1024 / turns
    return [Figure(f"memory with {turns} turns waiting, MiB each", f"{each:.3f}", "", each, 1.0, most=True)]


def _open() -> int:
    return Attempt.objects.filter(finished_at=None, delivery__target="agent").count()
