"""What is done to the processes of a run, at random and without end: killed, paused, flushed, restarted. Every act is written down."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import redis

from tests.acceptance.stage import wait_until
from tests.acceptance.verdict import progress

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

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
# PostgreSQL is gone or stands still: callbacks go to the spool, or are refused (503) and repeated where that is full.
AWAY = (10.0, 60.0)
# One bag is emptied before the next is begun, so that everything gets its turn.
BAG = (
    *[
        Act("kill", name)
        for name in ("web", "web", "callbacks", "worker", "worker", "connector", "beat", "valkey", "gateway")
    ],
    *[Act("pause", name, SHORT) for name in ("web", "callbacks", "worker", "connector", "beat", "valkey", "gateway")],
    *[Act("pause", name, LONG) for name in ("worker", "connector")],
    Act("pause", "web", UNPOLLED),
    Act("pause", "callbacks", UNPOLLED),
    Act("flush", "valkey"),
    Act("flush", "valkey"),
    Act("restart", "postgres"),  # fast: sessions are cut, everything is written
    Act("crash", "postgres"),  # immediate: as if the power had failed; the log is replayed
    *[Act(what, "postgres", AWAY) for what in ("stop", "freeze", "stop, spool full,", "freeze, spool full,")],
)


# What was open while the database was away, by its own rows: whoever was killed or paused meanwhile had opened it before.
_OPEN_BETWEEN = """
SELECT DISTINCT d.id, d.target FROM bridge_attempt a JOIN bridge_delivery d ON d.id = a.delivery_id
WHERE a.started_at <= to_timestamp(%s) AND (a.finished_at IS NULL OR a.finished_at >= to_timestamp(%s)) ORDER BY d.id"""


@dataclass
class Disturbance:
    """open: deliveries to WeChat whose request had left from the disturbed process and was not answered yet; turns: likewise.

    taken: callbacks acknowledged while the database was away, or None where it was not.
    """

    at: float
    what: str
    name: str
    seconds: float = 0
    open: list[int] = field(default_factory=list)
    turns: int = 0
    taken: int | None = None

    def __str__(self) -> str:
        what = f"{self.what} {self.name}" + (f" {self.seconds:.0f} s" if self.seconds else "")
        if self.name == "postgres" and self.taken is not None:
            what += f", {self.taken} callbacks acknowledged"
        return f"{self.at:6.1f} s  {what:<24} open requests to WeChat: {self.open or 'none'}, turns: {self.turns}"


@dataclass(frozen=True)
class Away:
    """The database's absence. since: time of day; until: by the monotonic clock; filler: what leaves no room in the spool."""

    disturbance: Disturbance
    since: float
    until: float
    taken: int
    filler: Path


class Disturber:
    def __init__(self, stage: Stage, chance: random.Random, acknowledged: Callable[[], int], longest: float) -> None:
        """acknowledged: how many callbacks were until now; longest: seconds that the database may be away."""
        self.stage, self.chance = stage, chance
        self.acknowledged, self.longest = acknowledged, longest
        self.away: Away | None = None
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
            if self.stage.pid(name) and name not in self._paused and not (self.away and name == "postgres"):
                del self._bag[position]
                return self._do(act, name)
        return None

    def resume(self, *, everybody: bool = False) -> None:
        """Let those go on whose time is over."""
        for name, until in list(self._paused.items()):
            if everybody or time.monotonic() >= until:
                self.stage.signal_group(name, signal.SIGCONT)
                del self._paused[name]
        if self.away and (everybody or time.monotonic() >= self.away.until):
            self._come_back(self.away)

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
        elif act.seconds == AWAY:
            self._take_away(found, full="full" in act.what)
        else:
            self._restart(found, signal.SIGINT if act.what == "restart" else signal.SIGQUIT)
        return found

    def _note_open(self, found: Disturbance, pids: set[int]) -> None:
        """What a dead or paused process had open can be read at leisure: it changes nothing any more."""
        if self.away:
            return  # what was open then counts for the database
        time.sleep(0.2)
        rows = [(pk, target) for pk, pid, target in self.stage.rows(_OPEN) if pid in pids]
        found.open = [pk for pk, target in rows if target == "channel"]
        found.turns = sum(target == "agent" for _pk, target in rows)

    def _flush(self) -> None:
        with redis.Redis.from_url(self.stage.plan.env["REDIS_URL"], socket_timeout=5) as client:
            client.flushall()

    def _take_away(self, found: Disturbance, *, full: bool) -> None:
        found.seconds = self.chance.uniform(AWAY[0], self.longest)
        filler = Path(self.stage.plan.env["SPOOL_DIR"], "filler")
        if full:
            filler.parent.mkdir(mode=0o700, exist_ok=True)
            filler.touch()
            used = sum(entry.stat().st_size for entry in os.scandir(filler.parent))
            os.truncate(filler, max(0, int(self.stage.plan.env["SPOOL_MAX_MB"]) * 1024 * 1024 - used))
        since = time.time()
        if found.what.startswith("stop"):
            self.stage.hold_down("postgres", signal.SIGINT)
        else:
            self.stage.signal_tree("postgres", signal.SIGSTOP)
        self.away = Away(found, since, time.monotonic() + found.seconds, self.acknowledged(), filler)

    def _come_back(self, away: Away) -> None:
        found = away.disturbance
        found.taken = self.acknowledged() - away.taken
        if found.what.startswith("stop"):
            self.stage.let_up("postgres")
        else:
            self.stage.signal_tree("postgres", signal.SIGCONT)
        back = time.time()
        rows = self.stage.rows(_OPEN_BETWEEN, back, away.since)
        found.open = [pk for pk, target in rows if target == "channel"]
        found.turns = len(rows) - len(found.open)
        away.filler.unlink(missing_ok=True)
        self.away = None
        progress(f"{found} (over)")

    def _restart(self, found: Disturbance, how: signal.Signals) -> None:
        """A request that was open when the database went is open in its rows when it comes back: nobody could write its end."""
        old = self.stage.pid("postgres")
        self.stage.signal("postgres", how)
        wait_until(lambda: self.stage.pid("postgres") not in (0, old), RESTART_SECONDS, pause=0.05)
        rows = self.stage.rows(_OPEN)
        found.seconds = time.monotonic() - self.began - found.at
        found.open = [pk for pk, _pid, target in rows if target == "channel"]
        found.turns = len(rows) - len(found.open)
