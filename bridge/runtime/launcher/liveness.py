"""Signs of life: a process that works touches a file in DATA_DIR, and a health check looks at how old it is.

    python -P bridge/runtime/launcher/liveness.py web|callbacks|worker|beat|connector

It exits 0 when the process works, else says why and exits 1.

What a sign means: the worker's event loop turns and has its broker, the clock's last tick reached the broker, the connector renewed its
gateways in the database. The web servers are asked for /livez instead. Run as a file, for importing Django or Celery would cost a health
check more than the work it looks at.
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

SIGN_EVERY_SECONDS = 5
OLDEST_SECONDS = 30
ANSWER_SECONDS = 5


def touch_sign(process: str) -> None:
    """Say that `process` works. Nothing where DATA_DIR is not set, as in a command started by hand; a full disk stops no work."""
    folder = os.environ.get("DATA_DIR")
    if folder:
        with contextlib.suppress(OSError):
            _file(folder, process).touch()


def forget(folder: Path) -> None:
    """Take back the signs of processes that ran here before."""
    for path in folder.glob("*.alive"):
        path.unlink(missing_ok=True)


def problem_of(process: str, env: Mapping[str, str] = os.environ) -> str:
    """What is wrong with `process`, which was started in this environment; empty when it works."""
    if process not in ("web", "callbacks"):
        return _sign_problem(process, env.get("DATA_DIR", ""))
    port = int(env.get("PORT") or 8000)
    if process == "callbacks":
        port = int(env.get("CALLBACKS_PORT") or port + 3)
    return _web_problem(env.get("HOST") or "127.0.0.1", port)


def _sign_problem(process: str, folder: str) -> str:
    try:
        age = time.time() - _file(folder, process).stat().st_mtime
    except OSError as error:
        return f"no sign of life: {error.strerror}"
    return f"the last sign of life is {age:.0f} s old" if age > OLDEST_SECONDS else ""


def _web_problem(host: str, port: int) -> str:
    address = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104 - only compared
    connection = http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/livez")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {error}"
    return "" if status == 200 else f"/livez answers {status}"


def _file(folder: str, process: str) -> Path:
    return Path(folder, f"{process}.alive")


def main(arguments: list[str]) -> int:
    """The exit code for a health check."""
    found = (
        problem_of(arguments[0])
        if len(arguments) == 1
        else "Usage: python -P bridge/runtime/launcher/liveness.py web|callbacks|worker|beat|connector"
    )
    if found:
        print(found, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
