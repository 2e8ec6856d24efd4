"""What a run stands on: PostgreSQL and Valkey of its own in a temporary folder, Django ready here, and processes that can be weighed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from bridge.runtime.launcher import child
from bridge.runtime.launcher.commands import make_python_command
from bridge.runtime.launcher.embedded import run_embedded_servers
from bridge.runtime.launcher.launch import BASE_DIR, Plan
from tests.acceptance.stage import demo_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS, STOP_SECONDS = 60, 15


class Process:
    """A program in a session of its own, so that it can be weighed and ended with all it started."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Path, death: signal.Signals) -> None:
        self.name = name
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                child.make_command(command, death),
                env=env,
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def cpu(self) -> float:
        """Seconds of user and system time of the whole session, ended children included (proc_pid_stat(5), fields 14 to 17)."""
        ticks = 0
        for path in self._members():
            with contextlib.suppress(OSError):
                ticks += sum(map(int, path.read_text().rpartition(")")[2].split()[11:15]))
        return ticks / TICKS

    def memory(self) -> int:
        """KiB that the processes of the session have for themselves alone (proc_pid_smaps(5))."""
        found = 0
        for path in self._members():
            with contextlib.suppress(OSError):
                lines = (path.parent / "smaps_rollup").read_text().splitlines()
                found += sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
        return found

    def _members(self) -> Iterator[Path]:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(path.read_text().rpartition(")")[2].split()[3]) == self.popen.pid:
                    yield path

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Ground:
    """scale: 1.0, or less to see that everything runs; the figures of a small run say nothing."""

    def __init__(self, plan: Plan, scale: float) -> None:
        self.scale = scale
        here = {"ALLOWED_PRIVATE_HOSTS": "127.0.0.1:*"}  # where the measured sides are
        self.env = {**plan.env, **here, "DJANGO_SETTINGS_MODULE": "bridge.settings"}
        self.log = plan.data_dir / "processes.log"
        self.log.touch()

    def many(self, count: int) -> int:
        return max(round(count * self.scale), 20)

    def here(self) -> None:
        """Django over these servers in this process; once in a run."""
        os.environ.update(self.env)
        django.setup()

    @contextlib.contextmanager
    def process(
        self, name: str, command: list[str], *, port: int = 0, death: signal.Signals = signal.SIGKILL, **env: str
    ) -> Iterator[Process]:
        """Run it for the time of the block, which begins when `port` answers. death: what it gets when we are killed."""
        running = Process(name, command, {**self.env, **env}, self.log, death)
        try:
            self._await(running, port)
            yield running
        finally:
            running.stop()

    def _await(self, running: Process, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while port and not _answers(port):
            if running.popen.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{running.name} did not start:\n{self.tail()}")
            time.sleep(0.05)

    def run(self, module: str, **arguments: object) -> dict[str, Any]:
        """A module of this package as a process of its own; what it prints."""
        command = make_python_command("-m", f"tests.bench.{module}", json.dumps(arguments))
        done = subprocess.run(command, env=self.env, cwd=BASE_DIR, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{module} failed: {done.stderr[-2000:]}\nThe processes said:\n{self.tail()}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextlib.contextmanager
def ground(scale: float = 1.0) -> Iterator[Ground]:
    """Real servers with full durability and a migrated database; `Ground.here` sets Django up over it in this process."""
    os.chdir(BASE_DIR)
    with tempfile.TemporaryDirectory(prefix="bridge-bench-", ignore_cleanup_errors=True) as folder:
        plan = demo_plan(Path(folder), {})
        with run_embedded_servers(plan.data_dir):
            prepared = subprocess.run(
                make_python_command("manage.py", "prepare"), env=plan.env, capture_output=True, text=True, check=False
            )
            if prepared.returncode:
                raise RuntimeError(f"the database could not be prepared:\n{prepared.stdout}{prepared.stderr}")
            yield Ground(plan, scale)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
