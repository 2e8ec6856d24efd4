"""What is done to the processes of a run, at random and without end: killed, paused, flushed, restarted. Every act is written down."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import redis

from tests.acceptance.stage import wait_until

if TYPE_CHECKING:
    import random

    from tests.acceptance.stage import Stage

TWINS = ("worker", "connector")  # of these there are two: what one loses its lease of, the other takes over
RESTART_SECONDS = 60

_OPEN = """
SELECT d.id, split_part(d.holder, ':', 2)::int, d.target FROM bridge_attempt a JOIN bridge_delivery d ON d.id = a.delivery_id
WHERE a.finished_at IS NULL AND d.state = 'sending' ORDER BY d.id"""


class Act(NamedTuple):
    """seconds: how long a pause lasts, from and to."""

    what: str
    name: str
    seconds: tuple[float, float] = (0, 0)


SHORT = (2.0, 8.0)
# Longer than a delivery's lease of 30 s: who comes back believes to hold what the other one has now.
LONG = (33.0, 40.0)
# Longer than an answer waits for a poll (20 s): it goes by its address instead.
UNPOLLED = (22.0, 27.0)
# One bag is emptied before the next is begun, so that everything gets its turn.
BAG = (
    *[Act("kill", name) for name in ("web", "web", "worker", "worker", "connector", "beat", "valkey", "gateway")],
    *[Act("pause", name, SHORT) for name in ("web", "worker", "connector", "beat", "valkey", "gateway")],
    *[Act("pause", name, LONG) for name in ("worker", "connector")],
    Act("pause", "web", UNPOLLED),
    Act("flush", "valkey"),
    Act("flush", "valkey"),
    Act("restart", "postgres"),  # fast: sessions are cut, everything is written
    Act("crash", "postgres"),  # immediate: as if the power had failed; the log is replayed
)


@dataclass
class Disturbance:
    """open: deliveries to WeChat whose request had left from the disturbed process and was not answered yet; turns: likewise."""

    at: float
    what: str
    name: str
    seconds: float = 0
    open: list[int] = field(default_factory=list)
    turns: int = 0

    def __str__(self) -> str:
        what = f"{self.what} {self.name}" + (f" {self.seconds:.0f} s" if self.seconds else "")
        return f"{self.at:6.1f} s  {what:<24} open requests to WeChat: {self.open or 'none'}, turns: {self.turns}"


class Disturber:
    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.stage, self.chance = stage, chance
        self.began = time.monotonic()
        self.done: list[Disturbance] = []
        self._bag: list[Act] = []
        self._paused: dict[str, float] = {}  # name → when it goes on

    def act(self) -> Disturbance | None:
        """The next thing that can be done now; what cannot (it is down, or stands still) gets its turn later."""
        if not self._bag:
            self._bag = self.chance.sample(BAG, len(BAG))
        for position, act in enumerate(self._bag):
            name = act.name + self.chance.choice(("", "-2")) if act.name in TWINS else act.name
            if self.stage.pid(name) and name not in self._paused:
                del self._bag[position]
                return self._do(act, name)
        return None

    def resume(self, *, everybody: bool = False) -> None:
        """Let those go on whose time is over."""
        for name, until in list(self._paused.items()):
            if everybody or time.monotonic() >= until:
                self.stage.signal_group(name, signal.SIGCONT)
                del self._paused[name]

    def _do(self, act: Act, name: str) -> Disturbance:
        found = Disturbance(time.monotonic() - self.began, act.what, name)
        self.done.append(found)
        if act.what == "kill":
            self._note_open(found, self.stage.signal_group(name, signal.SIGKILL))
        elif act.what == "pause":
            found.seconds = self.chance.uniform(*act.seconds)
            self._paused[name] = time.monotonic() + found.seconds
            self._note_open(found, self.stage.signal_group(name, signal.SIGSTOP))
        elif act.what == "flush":
            self._flush()
        else:
            self._restart(found, signal.SIGINT if act.what == "restart" else signal.SIGQUIT)
        return found

    def _note_open(self, found: Disturbance, pids: set[int]) -> None:
        """What a dead or paused process had open can be read at leisure: it changes nothing any more."""
        time.sleep(0.2)
        rows = [(pk, target) for pk, pid, target in self.stage.rows(_OPEN) if pid in pids]
        found.open = [pk for pk, target in rows if target == "channel"]
        found.turns = sum(target == "agent" for _pk, target in rows)

    def _flush(self) -> None:
        with redis.Redis.from_url(self.stage.plan.env["REDIS_URL"], socket_timeout=5) as client:
            client.flushall()

    def _restart(self, found: Disturbance, how: signal.Signals) -> None:
        """A request that was open when the database went is open in its rows when it comes back: nobody could write its end."""
        old = self.stage.pid("postgres")
        self.stage.signal("postgres", how)
        wait_until(lambda: self.stage.pid("postgres") not in (0, old), RESTART_SECONDS, pause=0.05)
        rows = self.stage.rows(_OPEN)
        found.seconds = time.monotonic() - self.began - found.at
        found.open = [pk for pk, _pid, target in rows if target == "channel"]
        found.turns = len(rows) - len(found.open)
