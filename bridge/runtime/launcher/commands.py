"""What each process of the bridge executes: the one list, for `make run`, `make demo` and the containers.

    python -m bridge.runtime.launcher.commands web|callbacks|worker|beat|connector     becomes that process, so that signals reach it

The environment says where: HOST, PORT, LOG_LEVEL, and DATA_DIR for the little that a process keeps (the clock's memory, signs of life).
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bridge.runtime.conf.capacity import HEAD_SECONDS, MAX_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

PROCESSES = ("web", "callbacks", "worker", "beat", "connector")
WEB_SERVERS = frozenset({"web", "callbacks"})
WEB_WORKERS = CALLBACKS_WORKERS = 2
CALLBACKS_PORT_OFFSET = 3  # the demo has its stand-ins at the two ports behind PORT
WEB_STOP_SECONDS = (
    26  # for requests under way: a page that asks a platform waits 5 s to connect and 20 s for the answer
)
AS_ROOT = "ignore:You're running the worker with superuser privileges"  # in some containers that is how it is


def python(*arguments: str | Path) -> list[str]:
    """A command for this interpreter."""
    return [sys.executable, *map(str, arguments)]


def command(name: str, env: Mapping[str, str]) -> list[str]:
    """The command line of a process. Raises KeyError for a name that is none of PROCESSES."""
    return {"web": _web, "callbacks": _callbacks, "worker": _worker, "beat": _beat, "connector": _connector}[name](env)


def _web(env: Mapping[str, str]) -> list[str]:
    return _granian(env, "bridge.asgi:application", port(env), WEB_WORKERS)


def _callbacks(env: Mapping[str, str]) -> list[str]:
    return _granian(env, "bridge.asgi:callbacks", callbacks_port(env), CALLBACKS_WORKERS)


def port(env: Mapping[str, str]) -> int:
    return int(env.get("PORT") or 8000)


def callbacks_port(env: Mapping[str, str]) -> int:
    return int(env.get("CALLBACKS_PORT") or port(env) + CALLBACKS_PORT_OFFSET)


def max_connections() -> int:
    """As many as there can be open files, less what a process needs besides."""
    return max(256, min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 256))


def _granian(env: Mapping[str, str], application: str, port: int, workers: int) -> list[str]:
    """HTTP/1 alone, as proxies speak it: while granian finds out which HTTP is spoken it has no deadline for a first byte."""
    address = ("--host", env.get("HOST") or "127.0.0.1", "--port", str(port))
    size = ("--workers", str(workers), "--backlog", "2048", "--backpressure", str(max_connections()))
    limits = ("--http", "1", "--http1-header-read-timeout", str(HEAD_SECONDS * 1000), "--http1-buffer-size", "65536")
    care = ("--respawn-failed-workers", "--workers-kill-timeout", str(WEB_STOP_SECONDS))
    level = ("--log-level", "error" if env.get("DEMO") == "1" else "info")
    program = ("-m", "granian", "--interface", "asginl", "--factory", "--loop", "uvloop", "--no-ws")
    logs = (
        ("--log-config", str(Path(__file__).with_name("granian_log.json"))) if env.get("LOG_FORMAT") == "json" else ()
    )
    return python(*program, *address, *size, *limits, *care, *level, *logs, application)


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
    level = (env.get("LOG_LEVEL") or "INFO").upper()
    return "--loglevel", "INFO" if level in ("DEBUG", "NOTSET") else level  # Celery's, not ours


def main(arguments: list[str]) -> NoReturn:
    """Becomes the process; exits with 2 when there is none of that name."""
    if len(arguments) != 1 or arguments[0] not in PROCESSES:
        print(f"Usage: python -m bridge.runtime.launcher.commands {'|'.join(PROCESSES)}", file=sys.stderr)
        sys.exit(2)
    program = command(arguments[0], os.environ)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
