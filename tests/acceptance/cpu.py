"""Who spent the processor's time."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

TICKS = os.sysconf("SC_CLK_TCK")


class Spent:
    """CPU seconds by the name of a process and all it started, sampled: what is killed takes its count along."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._ticks: dict[tuple[str, int, int], int] = {}

    def sample(self) -> None:
        running = _running()
        names = {
            child.process.pid: child.name.removesuffix("-2")
            for child in self.stage.supervisor.children
            if child.process
        }
        names[os.getpid()] = "this run"
        for pid, (_parent, began, ticks) in running.items():
            above = pid
            while above in running and above not in names:
                above = running[above][0]
            if above in names:
                self._ticks[names[above], pid, began] = ticks

    def seconds(self) -> dict[str, float]:
        """The largest first."""
        found: Counter[str] = Counter()
        for (name, _pid, _began), ticks in self._ticks.items():
            found[name] += ticks
        return {name: round(ticks / TICKS, 1) for name, ticks in found.most_common()}


def _running() -> dict[int, tuple[int, int, int]]:
    """pid → parent, start and CPU time in ticks (proc_pid_stat(5): fields 4, 22, 14 and 15)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found[int(path.parent.name)] = int(fields[1]), int(fields[19]), int(fields[11]) + int(fields[12])
    return found
