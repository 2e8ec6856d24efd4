"""What a run ends with: a figure for each claim, beside what it is compared with."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Figure:
    """ours, other: with their unit; value: what the goal is about (a ratio where there is another); most: an upper limit."""

    name: str
    ours: str
    other: str
    value: float
    goal: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.goal if self.most else self.value >= self.goal

    @property
    def limit(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.goal:g}"


def interleaved(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """A B A B …: each side once in each round, after one round that does not count, so that caches and plans are there."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            figure = side()
            if number:
                found[name].append(figure)
                say(f"    round {number}: {name} {figure:.4g}")
    return found


def ratio(ours: list[float], other: list[float]) -> float:
    """The median of the rounds' own ratios: what disturbed a round disturbed both sides of it."""
    return statistics.median(mine / theirs for mine, theirs in zip(ours, other, strict=True))


def show(figures: list[Figure]) -> None:
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    lines = [f"\n{'':<52}{'ours':>14}{'other':>14}{'figure':>9}   goal"]
    for one in figures:
        verdict = "met" if one.met else "MISSED"
        lines.append(f"{one.name:<52}{one.ours:>14}{one.other:>14}{one.value:>9.3g}   {one.limit:<8}{verdict}")
    lines.append(f"\n{os.cpu_count()} cores; load average at the end {load}")
    sys.stdout.write("\n".join(lines) + "\n")


def write_json(path: Path, figures: list[Figure], seconds: float) -> None:
    rows = [{**dataclasses.asdict(one), "met": one.met} for one in figures]
    machine = {"cores": os.cpu_count(), "load_average": os.getloadavg()}
    path.write_text(json.dumps({"figures": rows, "seconds": seconds, "machine": machine}, ensure_ascii=False, indent=2))


def say(line: str) -> None:
    """Beside the table: how far it is."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
