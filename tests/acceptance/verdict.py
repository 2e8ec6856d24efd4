"""The table that a run ends with."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple


class Line(NamedTuple):
    """limit: what the figure has to keep, in words; empty for a figure that is only told."""

    name: str
    figure: object
    limit: str
    kept: bool


class Verdict:
    """Figures with their limits; `kept` tells whether all were."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[Line] = []

    def check(self, name: str, figure: object, limit: str, kept: bool) -> None:
        self.lines.append(Line(name, figure, limit, kept))

    def exactly(self, name: str, figure: object, wanted: object) -> None:
        self.check(name, figure, f"= {wanted}", figure == wanted)

    def note(self, name: str, figure: object) -> None:
        """A figure without a limit."""
        self.check(name, figure, "", True)

    @property
    def kept(self) -> bool:
        return all(line.kept for line in self.lines)

    def print(self, *, as_json: bool = False) -> bool:
        if as_json:
            lines = [line._asdict() for line in self.lines]
            say(json.dumps({"title": self.title, "kept": self.kept, "lines": lines}, ensure_ascii=False, indent=1))
            return self.kept
        say(f"\n{self.title}: {'passed' if self.kept else 'FAILED'}")
        for line in self.lines:
            mark = " " if not line.limit else "✓" if line.kept else "✗"
            say(f"  {mark} {line.name:<60} {_shown(line.figure):>18}   {line.limit}".rstrip())
        return self.kept


def _shown(figure: object) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{name} {value}" for name, value in figure.items()) or "none"
    return str(figure)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def progress(line: str) -> None:
    """Beside the result, which may be read by a program."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def percentile(seconds: list[float], share: float) -> float:
    """The value that `share` of all do not exceed; 0.0 for none."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
