"""The bridge's own processes, one at a time, on the servers and the database of the test run; started as the launcher starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from django.db import connection

from bridge.runtime.launcher import commands
from tests.support.factories import eventually
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 60.0
# What suits the tests and not the processes: they run as they do outside, warnings ignored and connections pooled.
OWN = ("PYTHONDEVMODE", "PYTHONWARNINGS", "DB_POOL_SIZE", "EMAIL_URL")


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """For a process that shares this test's database; what it keeps and writes is in `folder`."""
    env = {name: value for name, value in os.environ.items() if name not in OWN}
    database = os.environ["DATABASE_URL"].replace("/bridge?", f"/{connection.settings_dict['NAME']}?")
    own = {
        "DATABASE_URL": database,
        "DATA_DIR": str(folder),
        "PORT": str(free_port()),
        "CALLBACKS_PORT": str(free_port()),
        "PYTHONUNBUFFERED": "1",
    }
    return env | own | settings


class Process:
    """One process and what it said."""

    def __init__(self, name: str, env: dict[str, str], log: Path, command: list[str] | None = None) -> None:
        self.name, self.env, self.log = name, env, log
        with log.open("ab") as out:
            line = command or commands.make_command(name, env)
            self.popen = subprocess.Popen(
                line, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        self.popen.terminate()

    def stopped(self, seconds: float) -> int:
        """The exit code, within the time a container would get. subprocess.TimeoutExpired after it."""
        return self.popen.wait(seconds)

    def end(self) -> None:
        """By force, with what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    @property
    def port(self) -> int:
        """Of a web server."""
        return commands.read_callbacks_port(self.env) if self.name == "callbacks" else commands.read_port(self.env)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running(name: str, folder: Path, **settings: str) -> Iterator[Process]:
    """The process, until it ends by itself or the block ends."""
    process = Process(name, environment(folder, **settings), folder / f"{name}.log")
    try:
        yield process
    finally:
        process.end()


def signed(process: Process, folder: Path) -> None:
    """Wait for a first sign of life, or for the port of the web server."""

    def there() -> bool:
        assert process.running, process.said()
        return (
            process.listens() if process.name in commands.WEB_SERVERS else (folder / f"{process.name}.alive").exists()
        )

    eventually(there, START_SECONDS)
