"""What each process of the bridge did lately: its counts by the minute in Valkey, beside a sign of life every ten seconds.

A process that lives and consumes nothing looks well in any check of its life; here it does not. Valkey may lose all of it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from accounts.valkey import try_valkey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SIGN_SECONDS = 10
# Without a sign for so long a process is gone; after an hour nothing of it is kept.
LOST_SECONDS = 35
KEEP_SECONDS = 3600
RECENT_MINUTES = 5
PROCESSES = "processes"
# Counters that say what a process consumed, and the label that tells one such work from another.
CONSUMED = {"messages": "direction", "attempts": "target", "callbacks": "", "ticks": ""}


@dataclass
class ProcessWork:
    """role: worker, beat, connector, callbacks or web. done: what → how often, in the last minutes, this one included."""

    role: str
    host: str
    pid: str
    sign_at: datetime
    worked_at: datetime | None = None
    done: Counter[str] = field(default_factory=Counter)

    @property
    def is_lost(self) -> bool:
        return (datetime.now(UTC) - self.sign_at).total_seconds() > LOST_SECONDS


class _Process:
    """This process, once it has a role."""

    def __init__(self) -> None:
        self.name = ""
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def begin(self, role: str) -> None:
        with self.lock:
            if self.name:
                return
            self.name, self.ended = f"{role}:{socket.gethostname()}:{os.getpid()}", threading.Event()
        threading.Thread(target=self._give_signs, args=(self.name, self.ended), name="signs", daemon=True).start()

    def end(self) -> None:
        with self.lock:
            self.name = ""
            self.ended.set()

    def _give_signs(self, name: str, ended: threading.Event) -> None:
        while not ended.is_set():
            try_valkey(lambda client: client.zadd(PROCESSES, {name: time.time()}), None)
            ended.wait(SIGN_SECONDS)


_process = _Process()


def begin(role: str) -> None:
    """Give this process a role and begin its signs of life; what it counts is recorded as its work. The first role stays."""
    _process.begin(role)


def end() -> None:
    """Give up the role. The last sign of life stays, so that a process that has ended is seen to be gone."""
    _process.end()


def record(pipe: Any, counts: Mapping[tuple[str, tuple[tuple[str, str], ...]], int], name: str = "") -> None:
    """Add to the pipeline what these counters say of the work of a process. name: of another process than this one."""
    process = name or _process.name
    done = Counter[str]()
    for (counter, labels), count in counts.items():
        if counter in CONSUMED:
            done[_name_work(counter, dict(labels))] += count
    if not process or not done:
        return
    now = time.time()
    minute = _minute_key(process, int(now // 60))
    for what, count in done.items():
        pipe.hincrby(minute, what, count)
    pipe.expire(minute, 60 * (RECENT_MINUTES + 1))
    pipe.set(f"worked:{process}", now, ex=KEEP_SECONDS)
    pipe.zadd(PROCESSES, {process: now})


def read_work() -> list[ProcessWork] | None:
    """Return the processes that gave a sign within the last hour, by role; None while Valkey is away."""
    nothing: list[ProcessWork] | None = None
    return try_valkey(_read, nothing)


def read_sign_age(client: Any, role: str) -> float | None:
    """Return the seconds since the last sign of any process of this role; None where there was none. Raises RedisError."""
    signs = client.zrevrange(PROCESSES, 0, -1, withscores=True)
    return next((time.time() - at for name, at in signs if name.startswith(f"{role}:")), None)


def _name_work(counter: str, labels: dict[str, str]) -> str:
    label = CONSUMED[counter]
    return f"{counter}.{labels.get(label, '')}" if label else counter


def _read(client: Any) -> list[ProcessWork]:
    now = time.time()
    with client.pipeline(transaction=False) as pipe:
        pipe.zremrangebyscore(PROCESSES, 0, now - KEEP_SECONDS)
        pipe.zrange(PROCESSES, 0, -1, withscores=True)
        signs = pipe.execute()[1]
    with client.pipeline(transaction=False) as pipe:
        for name, _sign in signs:
            pipe.get(f"worked:{name}")
            for ago in range(RECENT_MINUTES):
                pipe.hgetall(_minute_key(name, int(now // 60) - ago))
        found = iter(pipe.execute())
    return sorted(
        (_build(name, sign, next(found), [next(found) for _ago in range(RECENT_MINUTES)]) for name, sign in signs),
        key=lambda process: (process.role, process.is_lost, process.host, process.pid),
    )


def _build(name: str, sign: float, worked_at: str | None, minutes: Iterable[dict[str, str]]) -> ProcessWork:
    role, host, pid = (name.split(":", 1)[0], *name.split(":", 1)[1].rsplit(":", 1))
    work = ProcessWork(role, host, pid, datetime.fromtimestamp(sign, UTC))
    if worked_at:
        work.worked_at = datetime.fromtimestamp(float(worked_at), UTC)
    for counts in minutes:
        for what, count in counts.items():
            work.done[what] += int(count)
    return work


def _minute_key(process: str, minute: int) -> str:
    """Name what a process did in one minute, counted from 1970: each minute ends by itself, so nothing of it grows."""
    return f"work:{process}:{minute}"
