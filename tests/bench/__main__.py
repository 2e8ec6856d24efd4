"""python -m tests.bench [--only NAME …] [--rounds 3] [--json FILE]

Prints a table and exits with 0; a goal that was missed is printed as missed. Anything that cannot run ends it with a traceback.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.ground import ground
from tests.bench.table import Figure, say, show, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.ground import Ground

NAMES = ("callbacks", "steady", "parsing", "cost", "drain", "saturation", "latency", "waiting", "million")


def measures() -> dict[str, Callable[[Ground, int], list[Figure]]]:
    """By name; imported when Django is ready."""
    from tests.bench.callbacks import callbacks, steady
    from tests.bench.cost import cost
    from tests.bench.drain import drain
    from tests.bench.latency import latency
    from tests.bench.million import million
    from tests.bench.parsing import parsing
    from tests.bench.saturation import saturation
    from tests.bench.waiting import waiting

    found = (callbacks, steady, parsing, cost, drain, saturation, latency, waiting, million)
    return dict(zip(NAMES, found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be given several times")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="0.05: see that everything runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began, figures = time.monotonic(), []
    with ground(options.scale) as laid:
        laid.here()
        for name, measure in measures().items():
            if name in (options.only or NAMES):
                say(f"{time.monotonic() - began:5.0f} s  {name}")
                figures += measure(laid, options.rounds)
    seconds = time.monotonic() - began
    show(figures)
    say(f"{seconds:.0f} s in all")
    if options.json:
        write_json(options.json, figures, seconds)


if __name__ == "__main__":
    main()
