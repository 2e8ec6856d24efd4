"""How soon waiting messages are gone: our worker's drain, beside one Celery task for each message."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bridge.models import Delivery
from bridge.runtime.launcher.commands import make_command, make_python_command
from tests.bench import world
from tests.bench.pipe import ends
from tests.bench.table import Figure, interleaved, ratio
from tests.support import factories

if TYPE_CHECKING:
    from tests.bench.ground import Ground
    from tests.bench.pipe import Ends

MESSAGES = 600
CELERY = make_python_command(
    "-m", "celery", "--quiet", "-A", "tests.bench.rivals.naive", "worker", "--loglevel", "WARNING"
)


def drain(ground: Ground, rounds: int) -> list[Figure]:
    with ends(ground) as sides:
        found = interleaved({"ours": lambda: _ours(ground, sides), "celery": lambda: _tasks(ground, sides)}, rounds)
    mine, other = found["ours"], found["celery"]
    figures = (f"{statistics.median(side):.0f}/s" for side in (mine, other))
    return [Figure("drain : one Celery task per message", *figures, ratio(mine, other), 8)]


def _wait(ground: Ground, sides: Ends) -> list[int]:
    """Deliveries to as many members, so that neither lanes nor the platform's limits hold anything back."""
    account = world.account(sides.platform)
    for number in range(ground.many(MESSAGES)):
        factories.send(account, f"第{number}条", f"member{number}")
    return list(Delivery.objects.order_by("pk").values_list("pk", flat=True))


def _ours(ground: Ground, sides: Ends) -> float:
    count = len(_wait(ground, sides))
    with ground.process("worker", make_command("worker", ground.env)):
        return _rate(sides, count)


def _tasks(ground: Ground, sides: Ends) -> float:
    from tests.bench.rivals.naive import send

    waiting = _wait(ground, sides)
    for pk in waiting:
        send.delay(pk)
    with ground.process("celery", CELERY):
        return _rate(sides, len(waiting))


def _rate(sides: Ends, count: int) -> float:
    """From the first arrival to the last: how long a worker takes to start is no part of it."""
    moments = [moment for moment, _text in sides.await_all(count)]
    return (len(moments) - 1) / (moments[-1] - moments[0])
