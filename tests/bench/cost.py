"""CPU for one bridged message, from the callback to the answer on the platform, in all processes of each layout.

Not counted: PostgreSQL, Valkey, the platform, the gateway and the sender. Counted: web, worker, beat and connector; web and Celery
worker; web and loop.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
from typing import TYPE_CHECKING

from bridge.runtime.launcher.commands import make_python_command
from tests.bench import world
from tests.bench.callbacks import gunicorn, load
from tests.bench.drain import CELERY
from tests.bench.pipe import TOKEN, Pipe, bridge, ends
from tests.bench.table import Figure, interleaved, ratio
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.bench.ground import Ground
    from tests.bench.pipe import Ends

MESSAGES, RATE = 300, 60  # of one round; a second
WARM = 40
SETTLE_SECONDS = 1.0  # what is written after the last message has arrived belongs to it
RIVALS = "tests.bench.rivals"
GRANIAN = ("-m", "granian", "--interface", "wsgi", "--no-ws", "--workers", "2", "--blocking-threads", "16")


def cost(ground: Ground, rounds: int) -> list[Figure]:
    with ends(ground) as sides:
        found = interleaved({name: _side(ground, sides, make) for name, make in LAYOUTS.items()}, rounds)
    mine = found["ours"]
    goals = {"celery": ("a naive Celery layout", 0.8), "loop": ("a loop without Celery", 1.2)}
    return [
        Figure(
            f"CPU per bridged message : {label}",
            f"{statistics.median(mine):.1f} ms",
            f"{statistics.median(found[name]):.1f} ms",
            ratio(mine, found[name]),
            goal,
            most=True,
        )
        for name, (label, goal) in goals.items()
    ]


def _side(ground: Ground, sides: Ends, make: Callable[[Ground], AbstractContextManager[Pipe]]) -> Callable[[], float]:
    """Milliseconds of CPU for each message. Every round starts the processes anew: an idle one would cost the others something."""

    def play() -> float:
        path = mapped_path(ground, sides)
        messages = ground.many(MESSAGES)
        with make(ground) as pipe:
            for count in (WARM, messages):
                before = pipe.cpu()
                load(ground, pipe.port, path, count, rate=RATE, text="!say={number}")
                sides.await_all(count)
                time.sleep(SETTLE_SECONDS)
            return (pipe.cpu() - before) / messages * 1000

    return play


def mapped_path(ground: Ground, sides: Ends) -> str:
    """The callback path of a fresh account whose people all talk to an agent; the rivals read theirs from the environment."""
    account = world.mapped(sides.platform, sides.gateway, TOKEN)
    ground.env.update(GATEWAY=sides.gateway, PLATFORM=sides.platform, GATEWAY_TOKEN=TOKEN, ACCOUNT=str(account.pk))
    return f"/callbacks/{account.key}"


@contextlib.contextmanager
def _celery(ground: Ground) -> Iterator[Pipe]:
    with gunicorn(ground, f"{RIVALS}.site:application") as web, ground.process("celery", CELERY) as worker:
        yield Pipe(web.port, [web.process, worker])


@contextlib.contextmanager
def _loop(ground: Ground) -> Iterator[Pipe]:
    port = free_port()
    web = make_python_command(*GRANIAN, "--port", str(port), "--log-level", "error", f"{RIVALS}.site:application")
    with (
        ground.process("granian", web, port=port, death=signal.SIGTERM, STORE="1") as server,
        ground.process("loop", make_python_command("-m", f"{RIVALS}.loop")) as loop,
    ):
        yield Pipe(port, [server, loop])


LAYOUTS: dict[str, Callable[[Ground], AbstractContextManager[Pipe]]] = {
    "ours": bridge,
    "celery": _celery,
    "loop": _loop,
}
