"""Starts processes again when they end, and ends them together. One loop, no threads.

A child that ends is started again, after a pause that grows while it keeps failing. Every line of a child is printed after its name.
Each child has a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone, which then ends the children in order,
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

TICK_SECONDS = 0.1  # between two checks of the children
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a child is started again
STABLE_SECONDS = 20.0  # after a run of this length the pause is the first one again
STOP_SECONDS = 30.0  # how long a child may take to end by itself; a request to a platform may take 25
MAX_LINE_BYTES = 64 * 1024


@dataclass
class Child:
    """A process to run. `spawn` starts it. If its output is a pipe, its lines are printed."""

    name: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    restart: bool = True
    server: bool = False  # it is ended last, because others need it
    stop_signal: int = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause: float = field(default=FIRST_PAUSE)

    @property
    def running(self) -> bool:
        """Whether it runs, as far as the supervisor has noticed."""
        return self.process is not None


def make_child(
    name: str, command: list[str], env: Mapping[str, str], *, restart: bool = True, death: int = signal.SIGKILL
) -> Child:
    """Make a child whose output is printed. death: the signal that it gets if this process is killed. A program with children of its own
    needs SIGTERM to end them; for all others SIGKILL is safer, because they cannot ignore it."""

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            child_program.make_command(command, death),
            env={**env, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return Child(name, spawn, restart=restart)


class MakeProcess:
    """The `make` that started this process. It does not pass SIGINT on. It waits for this process, with its SIGINT handler reset.

    So a change of its handler shows that it was interrupted. With another parent, or without /proc, this cannot be detected.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.handles_interrupt = self._name() in ("make", "gmake") and self._has_interrupt_handler() is True

    def is_interrupted(self) -> bool:
        """Whether `make` got Ctrl-C: it had a SIGINT handler when this process started, and now it has none."""
        return self.handles_interrupt and self._has_interrupt_handler() is False

    def _name(self) -> str:
        return self._status().get("Name", "")

    def _has_interrupt_handler(self) -> bool | None:
        mask = self._status().get("SigCgt")
        return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1) if mask else None

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
        self._parent = MakeProcess(os.getppid())
        self._selector = selectors.DefaultSelector()
        self._incomplete_lines: dict[int, bytes] = {}

    def print_line(self, text: str, name: str = "bridge") -> None:
        """Print a line after a name. If nobody reads the output any more, everything is stopped."""
        try:
            print(f"{name:<9} | {text}", file=self.out, flush=True)
        except (BrokenPipeError, ValueError):
            self.stopping = True

    def add(self, child: Child) -> Child:
        """Add a child, and start it unless it runs already."""
        self.children.append(child)
        if not child.running:
            self._start(child)
        return child

    def run(self, until: Callable[[], bool] | None = None) -> bool:
        """Run until `until` returns True, and return True. A signal or a closed terminal ends the loop too; then return False."""
        while not self.stopping:
            self.stopping = self._parent.is_interrupted()
            self._pass_output(TICK_SECONDS)
            self._restart_ended_children()
            if until and until():
                return True
        return False

    def run_to_end(self, child: Child) -> int:
        """Run a child to its end and return its exit code. The other children go on. 130 if a signal came meanwhile."""
        self.add(child)
        has_ended = self.run(lambda: child.exit_code is not None)
        self._pass_output(0)
        return child.exit_code if has_ended and child.exit_code is not None else 130

    def stop(self) -> None:
        """End every child, the servers last."""
        self.stopping = True
        for servers in (False, True):
            self._stop([child for child in self.children if child.running and child.server is servers])
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)

    @contextlib.contextmanager
    def handle_signals(self) -> Iterator[None]:
        """INT, TERM and HUP stop the loop. A second signal kills the children at once."""

        def handle(_number: int, _frame: object) -> None:
            if self.stopping:
                self._kill(child for child in self.children if not child.server)
            self.stopping = True

        old_handlers = {
            number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)

    def _start(self, child: Child) -> None:
        child.process, child.exit_code, child.started_at = child.spawn(), None, time.monotonic()
        if child.process.stdout:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child.name)

    def _restart_ended_children(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process and (code := child.process.poll()) is not None:
                self._handle_end(child, code, now)
            elif not child.running and child.restart and child.restart_at <= now:
                self._start(child)

    def _handle_end(self, child: Child, code: int, now: float) -> None:
        _end_group(child)
        child.process, child.exit_code = None, code
        if not child.restart:
            return
        child.pause = FIRST_PAUSE if now - child.started_at > STABLE_SECONDS else child.pause
        self.print_line(f"{child.name} ended ({_describe_exit(code)}); starting it again in {child.pause:g} s")
        child.restart_at, child.pause = now + child.pause, min(child.pause * 2, LONGEST_PAUSE)

    def _stop(self, children: list[Child]) -> None:
        if not children:
            return
        self.print_line(f"Stopping {', '.join(child.name for child in children)} …")
        for child in children:
            if child.process:
                child.process.send_signal(child.stop_signal)
        deadline = time.monotonic() + STOP_SECONDS
        while any(child.process and child.process.poll() is None for child in children):
            self._pass_output(TICK_SECONDS)
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
        """Print complete lines. An incomplete line waits for its end, unless it is too long or the last one."""
        data = os.read(pipe.fileno(), MAX_LINE_BYTES)
        *lines, rest = (self._incomplete_lines.pop(pipe.fileno(), b"") + data).split(b"\n")
        if rest and (not data or len(rest) > MAX_LINE_BYTES):
            lines, rest = [*lines, rest], b""
        for line in lines:
            self.print_line(line.decode(errors="replace").rstrip(), name)
        if data:
            self._incomplete_lines[pipe.fileno()] = rest
        else:
            self._close(pipe)

    def _close(self, pipe: Any) -> None:
        self._selector.unregister(pipe)
        pipe.close()


def _end_group(child: Child) -> None:
    """Kill what is left in the session of a child, like the workers of a web server that was killed."""
    if child.process and not child.server:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)


def _describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
