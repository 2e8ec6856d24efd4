"""All processes of the bridge over a temporary folder, as `make demo` starts them, and a thread that plays a scenario with them."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import psycopg
import requests

from bridge.runtime.launcher.commands import make_python_command
from bridge.runtime.launcher.launch import (
    BASE_DIR,
    Plan,
    check_ports,
    make_children,
    make_plan,
    start_processes,
    start_servers,
)
from bridge.runtime.launcher.supervisor import Child, Supervisor, make_child
from tests.support.ports import free_port

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

JSON = dict[str, Any]
DATABASE_SECONDS = 60  # a restart, with what is left of a crash to be read again


class Stage:
    """The running processes. `play` must be called in the main thread, whose children they are."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self.plan, self.log = plan, log
        self.failed = False
        self._out = log.open("w")
        self.supervisor = Supervisor(self._out)
        self._database: psycopg.Connection[tuple[Any, ...]] | None = None

    def open(self, pace: float, paused: tuple[str, ...] = (), twins: tuple[str, ...] = ()) -> None:
        """Start everything but `paused`, and a second one of `twins`. pace: seconds per word of an agent's answer."""
        check_ports(self.plan)
        start_servers(self.plan, self.supervisor)
        if self.supervisor.run_to_end(
            make_child("prepare", make_python_command("manage.py", "prepare"), self.plan.env, restart=False)
        ):
            raise RuntimeError(f"the database could not be prepared: {self.log}")
        children = [child for child in _children(self.plan, pace) if child.name not in paused]
        second = [Child(f"{child.name}-2", child.spawn) for child in children if child.name in twins]
        start_processes(self.plan, self.supervisor, [*children, *second])
        self.rows("SELECT 1")

    def close(self) -> None:
        if self._database:
            self._database.close()
        self.supervisor.stop()
        self._out.close()

    def play(self, scenario: Callable[[], bool]) -> bool:
        """Run the scenario in a thread beside the supervisor; its result, or what it raised."""
        played: Future[bool] = Future()

        def run() -> None:
            try:
                played.set_result(scenario())
            except BaseException as error:
                played.set_exception(error)

        threading.Thread(target=run, name="scenario", daemon=True).start()
        if not self.supervisor.run(played.done):
            raise KeyboardInterrupt
        self.failed = not played.result()
        return played.result()

    # --- processes ------------------------------------------------------------------------------------------------------

    def pid(self, name: str) -> int:
        """0 while it is being started again."""
        process = self._child(name).process
        return process.pid if process else 0

    def _child(self, name: str) -> Child:
        return next(child for child in self.supervisor.children if child.name == name)

    def signal_group(self, name: str, number: signal.Signals) -> set[int]:
        """To the process and all it started. Returns their ids; none when it is down already."""
        leader = self.pid(name)
        members = _group(leader) if leader else set()
        with contextlib.suppress(ProcessLookupError):
            if leader:
                os.killpg(leader, number)
        return members

    def signal_tree(self, name: str, number: signal.Signals) -> None:
        """To the process and all its children: each of PostgreSQL's leads a group of its own."""
        for pid in _tree(self.pid(name)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def hold_down(self, name: str, number: signal.Signals) -> None:
        """End the process with this signal; it stays away until `let_up`."""
        child = self._child(name)
        child.restart = False
        self.signal(name, number)
        if not wait_until(lambda: not child.running, DATABASE_SECONDS, pause=0.05):
            raise RuntimeError(f"{name} did not end")

    def let_up(self, name: str) -> None:
        """The supervisor starts it again."""
        child = self._child(name)
        child.restart_at, child.restart = 0.0, True

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.pid(name), number)

    def ended(self) -> list[str]:
        """Names of those that ended by themselves, as the supervisor noticed it; a server told to stop is not meant."""
        return re.findall(r"^bridge +\| (?!postgres)(\S+) ended \(exit code", self.log.read_text(), re.MULTILINE)

    # --- looks ----------------------------------------------------------------------------------------------------------

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Waits for a database that is being started again."""
        deadline = time.monotonic() + DATABASE_SECONDS
        while True:
            try:
                if self._database is None or self._database.closed:
                    self._database = psycopg.connect(self.plan.env["DATABASE_URL"], autocommit=True)
                return self._database.execute(query, values).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def count(self, query: str, *values: Any) -> int:
        return int(self.rows(query, *values)[0][0])

    def agent_runs(self) -> list[JSON]:
        """Every run of the stand-in gateway, in the order in which they began: key, session_key, message, resumes, count."""
        found = requests.get(f"{self.plan.env['DEMO_GATEWAY_URL']}/_stub/record", timeout=30).json()["runs"]
        return list(found)


@contextlib.contextmanager
def stage(*, pace: float = 0.05, twins: tuple[str, ...] = (), **settings: object) -> Iterator[Stage]:
    """The running bridge with these settings, and Django ready in this process. After a failure the log stays."""
    os.chdir(BASE_DIR)
    with tempfile.TemporaryDirectory(prefix="bridge-acceptance-", ignore_cleanup_errors=True) as folder:
        plan = demo_plan(Path(folder), {name: str(value) for name, value in settings.items()})
        log = Path(tempfile.gettempdir()) / f"bridge-acceptance-{os.getpid()}.log"
        running = Stage(plan, log)
        try:
            with running.supervisor.handle_signals():
                running.open(pace, twins=twins)
                os.environ.update(plan.env)
                django.setup()
                yield running
        except BaseException:
            running.failed = True
            raise
        finally:
            running.close()
            if running.failed:
                sys.stdout.write(f"What the processes said: {log}\n")
            else:
                log.unlink()


def wait_until(holds: Callable[[], object], seconds: float, pause: float = 0.25) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def demo_plan(folder: Path, settings: dict[str, str]) -> Plan:
    """Of the environment of this process nothing counts that the bridge would read."""
    for name in re.findall(r"^#? ?([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE):
        os.environ.pop(name, None)
    os.environ.update(settings, DATA_DIR=str(folder), PORT=str(free_port(following=4)), LOG_LEVEL="WARNING")
    plan = make_plan("demo")
    plan.env["ALLOWED_PRIVATE_HOSTS"] = "127.0.0.1:*"  # a test's own receivers have ports of their own
    return plan


def _children(plan: Plan, pace: float) -> Iterator[Child]:
    """As the launcher makes them; the gateway with a memory, as a real one has, and the connector named in pg_stat_activity."""
    gateway = ("--port", str(plan.ports["gateway"]), "--pace", str(pace))
    changed = {
        "gateway": make_python_command("-m", "openclaw.stub", *gateway, "--state", plan.data_dir / "gateway.jsonl"),
        "connector": make_python_command("manage.py", "connector"),
    }
    for child in make_children(plan):
        command = changed.get(child.name)
        yield make_child(child.name, command, {**plan.env, "PGAPPNAME": child.name}) if command else child


def _group(leader: int) -> set[int]:
    """Everybody in the process group of `leader` (proc_pid_stat(5): the third field behind the name)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[2]) == leader:
                found.add(int(path.parent.name))
    return found


def _tree(root: int) -> list[int]:
    """The process and all below it, parents first (proc_pid_stat(5): the second field behind the name)."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            below.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    found = [root] if root else []
    for pid in found:
        found += below.get(pid, [])
    return found
