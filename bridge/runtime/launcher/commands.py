"""The command of each process of the bridge, for `make run`, `make demo` and the containers.

    python -m bridge.runtime.launcher.commands web|callbacks|worker|beat|connector     becomes that process, so that signals reach it

The environment gives HOST, PORT, LOG_LEVEL, and DATA_DIR for the few files of a process (the schedule of beat, the signs of life).
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
CALLBACKS_PORT_OFFSET = 3  # the two ports after PORT are those of the demo's stand-ins
WEB_STOP_SECONDS = (
    26  # for requests that are being answered: a page that asks a platform waits 5 s to connect and 20 s for the answer
)
IGNORE_ROOT_WARNING = (
    "ignore:You're running the worker with superuser privileges"  # in some containers the worker runs as root
)


def make_python_command(*arguments: str | Path) -> list[str]:
    """Make a command that runs this Python interpreter."""
    return [sys.executable, *map(str, arguments)]


def make_command(name: str, env: Mapping[str, str]) -> list[str]:
    """Make the command line of a process. Raises KeyError for a name that is not in PROCESSES."""
    return {
        "web": _make_web_command,
        "callbacks": _make_callbacks_command,
        "worker": _make_worker_command,
        "beat": _make_beat_command,
        "connector": _make_connector_command,
    }[name](env)


def _make_web_command(env: Mapping[str, str]) -> list[str]:
    return _make_granian_command(env, "bridge.asgi:application", read_port(env), WEB_WORKERS)


def _make_callbacks_command(env: Mapping[str, str]) -> list[str]:
    return _make_granian_command(env, "bridge.asgi:callbacks", read_callbacks_port(env), CALLBACKS_WORKERS)


def read_port(env: Mapping[str, str]) -> int:
    return int(env.get("PORT") or 8000)


def read_callbacks_port(env: Mapping[str, str]) -> int:
    return int(env.get("CALLBACKS_PORT") or read_port(env) + CALLBACKS_PORT_OFFSET)


def find_max_connections() -> int:
    """Return how many connections a process may have: as many as it can open files, without those that it needs for other things."""
    return max(256, min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 256))


def _make_granian_command(env: Mapping[str, str], application: str, port: int, workers: int) -> list[str]:
    """Make the command of a web server. It speaks HTTP/1 only, as proxies do: granian has no time limit while it detects the version."""
    address = ("--host", env.get("HOST") or "127.0.0.1", "--port", str(port))
    size = ("--workers", str(workers), "--backlog", "2048", "--backpressure", str(find_max_connections()))
    limits = ("--http", "1", "--http1-header-read-timeout", str(HEAD_SECONDS * 1000), "--http1-buffer-size", "65536")
    restarts = ("--respawn-failed-workers", "--workers-kill-timeout", str(WEB_STOP_SECONDS))
    level = ("--log-level", "error" if env.get("DEMO") == "1" else "info")
    granian = ("-m", "granian", "--interface", "asginl", "--factory", "--loop", "uvloop", "--no-ws")
    logs = (
        ("--log-config", str(Path(__file__).with_name("granian_log.json"))) if env.get("LOG_FORMAT") == "json" else ()
    )
    return make_python_command(*granian, *address, *size, *limits, *restarts, *level, *logs, application)


def _make_worker_command(env: Mapping[str, str]) -> list[str]:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return [*_make_celery_command(), "worker", "--pool", "threads", *quiet, *_make_level_option(env)]


def _make_beat_command(env: Mapping[str, str]) -> list[str]:
    schedule = Path(env.get("DATA_DIR") or tempfile.gettempdir()) / "beat-schedule"
    return [*_make_celery_command(), "beat", "--schedule", str(schedule), "--pidfile", "", *_make_level_option(env)]


def _make_connector_command(_env: Mapping[str, str]) -> list[str]:
    return make_python_command("manage.py", "connector")


def _make_celery_command() -> list[str]:
    return make_python_command("-W", IGNORE_ROOT_WARNING, "-m", "celery", "--quiet", "-A", "bridge")


def _make_level_option(env: Mapping[str, str]) -> tuple[str, str]:
    level = (env.get("LOG_LEVEL") or "INFO").upper()
    return "--loglevel", "INFO" if level in ("DEBUG", "NOTSET") else level  # the level of Celery's own log


def main(arguments: list[str]) -> NoReturn:
    """Replace this process by the named one. Exits with 2 if there is no process of that name."""
    if len(arguments) != 1 or arguments[0] not in PROCESSES:
        print(f"Usage: python -m bridge.runtime.launcher.commands {'|'.join(PROCESSES)}", file=sys.stderr)
        sys.exit(2)
    program = make_command(arguments[0], os.environ)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
