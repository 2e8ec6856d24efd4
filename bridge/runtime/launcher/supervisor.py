"""Keeps processes alive and ends them together: one loop, no threads.

A child that ends is started again, after a pause that grows while it keeps failing. Every line a child prints is passed on behind its name.
Each child leads a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone, which then ends the children in order,
and so that what a killed child leaves behind (web workers) can be ended with it. See `child` for a kill -9 of the supervisor.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bridge.runtime.launcher import child as child_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

TICK = 0.1  # seconds between two looks at the children
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a child is started again
STABLE = 20.0  # a child that ran this long starts again with the first pause
STOP_TIMEOUT = 30.0  # seconds a child has to end by itself; a request to a platform may take 25
LINE_MAX = 64 * 1024


@dataclass
class Child:
    """A process to run. `spawn` starts it; its output, when it is a pipe, is passed on."""

    name: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    restart: bool = True
    server: bool = False  # others need it: it is ended last
    stop_signal: int = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    started: float = 0.0
    due: float = 0.0
    pause: float = field(default=FIRST_PAUSE)

    @property
    def running(self) -> bool:
        """As far as the supervisor has noticed."""
        return self.process is not None


def program(
    name: str, command: list[str], env: Mapping[str, str], *, restart: bool = True, death: int = signal.SIGKILL
) -> Child:
    """A child whose output is passed on. `death` is what it gets when this process is killed: a program with children of its own needs
    SIGTERM to end them; all others can stand SIGKILL, which needs no cooperation."""

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            child_program.command(command, death),
            env={**env, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return Child(name, spawn, restart=restart)


class Make:
    """The `make` that started us. On SIGINT it passes nothing on: it waits for us, with its handler of SIGINT reset to the default.

    So that change of its handler is what tells us. Any other parent says nothing, and without /proc nobody does.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.catches = self._name() in ("make", "gmake") and self._catches_interrupt() is True

    def is_interrupted(self) -> bool:
        """Whether `make` got Ctrl-C: it had a handler of SIGINT when this process started, and lives on without one."""
        return self.catches and self._catches_interrupt() is False

    def _name(self) -> str:
        return self._status().get("Name", "")

    def _catches_interrupt(self) -> bool | None:
        caught = self._status().get("SigCgt")
        return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1) if caught else None

    def _status(self) -> dict[str, str]:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        return {}


class Supervisor:
    """The children, and the loop over them."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self.out = out or sys.stdout
        self.children: list[Child] = []
        self.stopping = False
        self._parent = Make(os.getppid())
        self._selector = selectors.DefaultSelector()
        self._rests: dict[int, bytes] = {}

    def say(self, text: str, name: str = "bridge") -> None:
        """Print a line behind a name. A reader who went away stops everything."""
        try:
            print(f"{name:<9} | {text}", file=self.out, flush=True)
        except (BrokenPipeError, ValueError):
            self.stopping = True

    def add(self, child: Child) -> Child:
        """Take the child on; it is started at once unless it runs already."""
        self.children.append(child)
        if not child.running:
            self._start(child)
        return child

    def run(self, until: Callable[[], bool] | None = None) -> bool:
        """Work until `until` holds, and give True; or until a signal or a lost terminal says stop, and give False."""
        while not self.stopping:
            self.stopping = self._parent.is_interrupted()
            self._pass_output(TICK)
            self._look_after_children()
            if until and until():
                return True
        return False

    def complete(self, child: Child) -> int:
        """Run a child to its end beside the others and give its exit code; 130 when told to stop meanwhile."""
        self.add(child)
        ended = self.run(lambda: child.exit_code is not None)
        self._pass_output(0)
        return child.exit_code if ended and child.exit_code is not None else 130

    def stop(self) -> None:
        """End every child, the servers last."""
        self.stopping = True
        for servers in (False, True):
            self._stop([child for child in self.children if child.running and child.server is servers])
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """INT, TERM and HUP stop the loop; a second one ends the children without waiting for them."""

        def handle(_number: int, _frame: object) -> None:
            if self.stopping:
                self._kill(child for child in self.children if not child.server)
            self.stopping = True

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, child: Child) -> None:
        child.process, child.exit_code, child.started = child.spawn(), None, time.monotonic()
        if child.process.stdout:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child.name)

    def _look_after_children(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process and (code := child.process.poll()) is not None:
                self._ended(child, code, now)
            elif not child.running and child.restart and child.due <= now:
                self._start(child)

    def _ended(self, child: Child, code: int, now: float) -> None:
        _end_group(child)
        child.process, child.exit_code = None, code
        if not child.restart:
            return
        child.pause = FIRST_PAUSE if now - child.started > STABLE else child.pause
        self.say(f"{child.name} ended ({_reason(code)}); starting it again in {child.pause:g} s")
        child.due, child.pause = now + child.pause, min(child.pause * 2, LONGEST_PAUSE)

    def _stop(self, children: list[Child]) -> None:
        if not children:
            return
        self.say(f"Stopping {', '.join(child.name for child in children)} …")
        for child in children:
            if child.process:
                child.process.send_signal(child.stop_signal)
        deadline = time.monotonic() + STOP_TIMEOUT
        while any(child.process and child.process.poll() is None for child in children):
            self._pass_output(TICK)
            if time.monotonic() > deadline:
                self._kill(children)
        for child in children:
            _end_group(child)
            child.process = None
        self._pass_output(0)

    def _kill(self, children: Iterable[Child]) -> None:
        for child in children:
            if child.process and child.process.poll() is None:
                child.process.kill()

    def _pass_output(self, timeout: float) -> None:
        if not self._selector.get_map():
            time.sleep(timeout)
            return
        for key, _events in self._selector.select(timeout):
            self._read(key.fileobj, str(key.data))

    def _read(self, pipe: Any, name: str) -> None:
        """Pass on whole lines; a rest without its end waits, unless it is over-long or the last."""
        data = os.read(pipe.fileno(), LINE_MAX)
        *lines, rest = (self._rests.pop(pipe.fileno(), b"") + data).split(b"\n")
        if rest and (not data or len(rest) > LINE_MAX):
            lines, rest = [*lines, rest], b""
        for line in lines:
            self.say(line.decode(errors="replace").rstrip(), name)
        if data:
            self._rests[pipe.fileno()] = rest
        else:
            self._close(pipe)

    def _close(self, pipe: Any) -> None:
        self._selector.unregister(pipe)
        pipe.close()


def _end_group(child: Child) -> None:
    """End what a child left behind in its session, as the web server's workers when their parent is killed."""
    if child.process and not child.server:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
