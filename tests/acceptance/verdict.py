"""The table that a run ends with."""

from __future__ import annotations

import sys


class Verdict:
    """Figures with their limits; `print` tells whether all were kept."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[tuple[str, str, str, bool]] = []

    def check(self, name: str, figure: object, limit: str, kept: bool) -> None:
        self.lines.append((name, str(figure), limit, kept))

    def exactly(self, name: str, figure: object, wanted: object) -> None:
        self.check(name, figure, f"= {wanted}", figure == wanted)

    def note(self, name: str, figure: object) -> None:
        """A figure without a limit."""
        self.check(name, figure, "", True)

    def print(self) -> bool:
        kept = all(line[3] for line in self.lines)
        say(f"\n{self.title}: {'passed' if kept else 'FAILED'}")
        for name, figure, limit, good in self.lines:
            mark = " " if not limit else "✓" if good else "✗"
            say(f"  {mark} {name:<60} {figure:>18}   {limit}")
        return kept


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def percentile(seconds: list[float], share: float) -> float:
    """The value that `share` of all do not exceed; 0.0 for none."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
