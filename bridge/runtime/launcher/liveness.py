"""Signs of life: a process that works touches a file in DATA_DIR, and a health check reads the age of the file.

    python -P bridge/runtime/launcher/liveness.py web|callbacks|worker|beat|connector

It exits with 0 if the process works; else it prints the problem and exits with 1.

What a sign means: the worker's event loop runs and is connected to the broker, the last tick of beat reached the broker, the connector
renewed its leases in the database. The web servers are asked for /livez instead. This module is run as a file, because a health check
that imports Django or Celery would cost more than the work that it checks.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TOUCH_SECONDS = 5
MAX_AGE_SECONDS = 30
ANSWER_SECONDS = 5


def touch_sign(process: str) -> None:
    """Record that `process` works. Without DATA_DIR, as in a command started by hand, this does nothing. Errors of the disk are ignored."""
    folder = os.environ.get("DATA_DIR")
    if folder:
        with contextlib.suppress(OSError):
            _sign_path(folder, process).touch()


def remove_signs(folder: Path) -> None:
    """Remove the signs of processes that ran here before."""
    for path in folder.glob("*.alive"):
        path.unlink(missing_ok=True)


def find_problem(process: str, env: Mapping[str, str] = os.environ) -> str:
    """Return what is wrong with `process`, which was started in this environment; empty if it works."""
    if process not in ("web", "callbacks"):
        return _find_sign_problem(process, env.get("DATA_DIR", ""))
    port = int(env.get("PORT") or 8000)
    if process == "callbacks":
        port = int(env.get("CALLBACKS_PORT") or port + 3)
    return _find_web_problem(env.get("HOST") or "127.0.0.1", port)


def _find_sign_problem(process: str, folder: str) -> str:
    try:
        age = time.time() - _sign_path(folder, process).stat().st_mtime
    except OSError as error:
        return f"no sign of life: {error.strerror}"
    return f"the last sign of life is {age:.0f} s old" if age > MAX_AGE_SECONDS else ""


def _find_web_problem(host: str, port: int) -> str:
    address = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104 - only compared
    connection = http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/livez")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {error}"
    return "" if status == 200 else f"/livez answers {status}"


def _sign_path(folder: str, process: str) -> Path:
    return Path(folder, f"{process}.alive")


def main(arguments: list[str]) -> int:
    """Run a health check and return its exit code."""
    problem = (
        find_problem(arguments[0])
        if len(arguments) == 1
        else "Usage: python -P bridge/runtime/launcher/liveness.py web|callbacks|worker|beat|connector"
    )
    if problem:
        print(problem, file=sys.stderr)
    return int(bool(problem))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
