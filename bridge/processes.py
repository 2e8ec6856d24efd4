"""What each process of the bridge executes: the one list, for `make run`, `make demo` and the containers.

    python -m bridge.processes web|worker|beat|connector     becomes that process, so that signals reach it

The environment says where: HOST, PORT, LOG_LEVEL, and DATA_DIR for the little that a process keeps (the clock's memory, signs of life).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bridge.checks import WEB_THREADS

if TYPE_CHECKING:
    from collections.abc import Mapping

PROCESSES = ("web", "worker", "beat", "connector")
WEB_WORKERS = 2
WEB_STOP_SECONDS = (
    26  # for requests under way: a page that asks a platform waits 5 s to connect and 20 s for the answer
)
AS_ROOT = "ignore:You're running the worker with superuser privileges"  # in some containers that is how it is


def python(*arguments: str | Path) -> list[str]:
    """A command for this interpreter."""
    return [sys.executable, *map(str, arguments)]


def command(name: str, env: Mapping[str, str]) -> list[str]:
    """The command line of a process. Raises KeyError for a name that is none of PROCESSES."""
    return {"web": _web, "worker": _worker, "beat": _beat, "connector": _connector}[name](env)


def _web(env: Mapping[str, str]) -> list[str]:
    """Threads are named explicitly, for granian would choose one; the sockets of a web page are not used."""
    address = ("--host", env.get("HOST") or "127.0.0.1", "--port", env.get("PORT") or "8000")
    size = ("--workers", str(WEB_WORKERS), "--blocking-threads", str(WEB_THREADS))
    care = ("--respawn-failed-workers", "--workers-kill-timeout", str(WEB_STOP_SECONDS))
    level = ("--log-level", "error" if env.get("DEMO") == "1" else "info")
    program = ("-m", "granian", "--interface", "wsgi", "--no-ws")
    logs = (
        ("--log-config", str(Path(__file__).with_name("granian_log.json"))) if env.get("LOG_FORMAT") == "json" else ()
    )
    return python(*program, *address, *size, *care, *level, *logs, "bridge.wsgi:application")


def _worker(env: Mapping[str, str]) -> list[str]:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return [*_celery(), "worker", "--pool", "threads", *quiet, *_level(env)]


def _beat(env: Mapping[str, str]) -> list[str]:
    memory = Path(env.get("DATA_DIR") or tempfile.gettempdir()) / "beat-schedule"
    return [*_celery(), "beat", "--schedule", str(memory), "--pidfile", "", *_level(env)]


def _connector(_env: Mapping[str, str]) -> list[str]:
    return python("manage.py", "connector")


def _celery() -> list[str]:
    return python("-W", AS_ROOT, "-m", "celery", "--quiet", "-A", "bridge")


def _level(env: Mapping[str, str]) -> tuple[str, str]:
    return "--loglevel", env.get("LOG_LEVEL") or "INFO"


def main(arguments: list[str]) -> NoReturn:
    """Becomes the process; exits with 2 when there is none of that name."""
    if len(arguments) != 1 or arguments[0] not in PROCESSES:
        print(f"Usage: python -m bridge.processes {'|'.join(PROCESSES)}", file=sys.stderr)
        sys.exit(2)
    program = command(arguments[0], os.environ)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
