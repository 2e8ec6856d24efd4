"""What the bridge adds to one answer: from the callback to the platform's message, with a gateway that answers at once.

The gateway's own milliseconds are in it.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from accounts.health import Health
from openclaw.models import Gateway
from tests.acceptance.stage import wait_until
from tests.bench import world
from tests.bench.callbacks import load
from tests.bench.load import percentile
from tests.bench.pipe import PATIENCE, TOKEN, bridge, ends
from tests.bench.table import Figure, say

if TYPE_CHECKING:
    from tests.bench.ground import Ground
    from tests.bench.pipe import Ends

MESSAGES, RATE = 80, 20  # of one round; a second


def latency(ground: Ground, rounds: int) -> list[Figure]:
    with ends(ground) as sides:
        account = world.mapped(sides.platform, sides.gateway, TOKEN)
        with bridge(ground) as pipe:
            path = f"/callbacks/{account.key}"
            _await_gateway()
            first, *seconds = [_round(ground, sides, pipe.port, path) for _ in range(rounds + 1)]
    p50, p95 = (statistics.median(percentile(one, share) for one in seconds) * 1000 for share in (0.5, 0.95))
    beginning = percentile(first, 0.95) * 1000
    return [
        Figure("added to one answer, p50, ms", f"{p50:.1f}", "", p50, 20, most=True),
        Figure("added to one answer, p95, ms", f"{p95:.1f}", "", p95, 50, most=True),
        # The first round begins when all processes say that they work and the gateway is connected.
        Figure(
            "the same of the first answers after a start, p95, ms",
            f"{beginning:.1f}",
            "",
            beginning,
            3 * p95,
            most=True,
        ),
    ]


def _await_gateway() -> None:
    began = time.monotonic()
    if not wait_until(lambda: Gateway.objects.filter(state=Health.OK).exists(), PATIENCE, pause=0.02):
        raise RuntimeError("the connector did not reach the gateway")
    say(f"    everything worked {time.monotonic() - began:.1f} s before the gateway was connected")


def _round(ground: Ground, sides: Ends, port: int, path: str) -> list[float]:
    count = ground.many(MESSAGES)
    sent = load(ground, port, path, count, rate=RATE, text="!say={number}")["began"]
    came = {text: moment for moment, text in sides.await_all(count)}
    seconds = [came[number] - moment for number, moment in sent.items()]
    say(f"    round: p50 {percentile(seconds, 0.5) * 1000:.1f} ms, p95 {percentile(seconds, 0.95) * 1000:.1f} ms")
    return seconds
