"""How many callbacks a second become rows, beside psycopg alone, a plain Django view and an application that stores nothing."""

from __future__ import annotations

import contextlib
import signal
import statistics
from typing import TYPE_CHECKING, NamedTuple

from bridge.runtime.launcher.commands import WEB_WORKERS, make_command, make_python_command
from tests.bench import world
from tests.bench.table import Figure, interleaved, ratio
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.ground import Ground, Process

CONNECTIONS = 16
THREADS = 80
REQUESTS, ROWS = 3000, 9000  # of one round


class Web(NamedTuple):
    port: int
    process: Process


@contextlib.contextmanager
def web(ground: Ground) -> Iterator[Web]:
    """The process that answers callbacks, as it is always started."""
    port = free_port()
    program = make_command("callbacks", {**ground.env, "CALLBACKS_PORT": str(port)})
    with ground.process("web", program, port=port, death=signal.SIGTERM) as process:
        yield Web(port, process)


@contextlib.contextmanager
def gunicorn(ground: Ground, application: str, **env: str) -> Iterator[Web]:
    """As many processes as ours, and as many threads as such a layout has."""
    port = free_port()
    size = ("--worker-class", "gthread", "--workers", str(WEB_WORKERS), "--threads", str(THREADS), "--keep-alive", "75")
    program = make_python_command(
        "-m", "gunicorn", *size, "--bind", f"127.0.0.1:{port}", "--log-level", "error", application
    )
    with ground.process("gunicorn", program, port=port, death=signal.SIGTERM, **env) as process:
        yield Web(port, process)


def callbacks(ground: Ground, rounds: int) -> list[Figure]:
    account = world.account()
    path = f"/callbacks/{account.key}"
    with (
        web(ground) as ours,
        gunicorn(ground, "tests.bench.rivals.site:application", STORE="1", ACCOUNT=str(account.pk)) as django_view,
        gunicorn(ground, "tests.bench.rivals.flask_app:app") as flask,
    ):
        found = interleaved(
            {
                "rows": lambda: rows(ground, account.pk),
                "ours": lambda: posts(ground, ours.port, path),
                "django": lambda: posts(ground, django_view.port, path),
                "flask": lambda: posts(ground, flask.port, "/callback"),
            },
            rounds,
        )
    mine = found["ours"]
    goals = {
        "rows": ("psycopg inserting the same row", 0.5),
        "django": ("a Django view on gunicorn gthread that stores the row", 3.0),
        "flask": ("Flask on gunicorn gthread, storing nothing", 1.0),
    }
    return [
        Figure(f"callbacks/s : {label}", per_second(mine), per_second(found[name]), ratio(mine, found[name]), goal)
        for name, (label, goal) in goals.items()
    ]


def steady(ground: Ground, rounds: int) -> list[Figure]:
    """An open loop of 150 a second."""
    account = world.account()
    with web(ground) as ours:
        path, count = f"/callbacks/{account.key}", ground.many(600)
        found = interleaved(
            {"p99": lambda: float(load(ground, ours.port, path, count, rate=150)["p99"]) * 1000}, rounds
        )
    p99 = statistics.median(found["p99"])
    return [Figure("callback p99 at 150/s, ms", f"{p99:.1f}", "", p99, 25, most=True)]


def posts(ground: Ground, port: int, path: str) -> float:
    return float(load(ground, port, path, ground.many(REQUESTS))["rate"])


def rows(ground: Ground, account: int) -> float:
    return float(
        ground.run("rows", account=account, count=ground.many(ROWS), connections=CONNECTIONS, processes=WEB_WORKERS)[
            "rate"
        ]
    )


def load(ground: Ground, port: int, path: str, count: int, **more: object) -> dict[str, float]:
    return ground.run("load", port=port, path=path, count=count, **{"connections": CONNECTIONS, **more})


def per_second(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f}/s"
