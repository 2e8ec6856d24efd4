"""The whole pipe: a platform and a gateway that answer at once, and the processes between them."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from bridge.runtime.launcher import liveness
from bridge.runtime.launcher.commands import make_command, make_python_command
from tests.acceptance.stage import wait_until
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.ground import Ground, Process

TOKEN = "bench-token"
PATIENCE = 60  # seconds until everything has arrived


@dataclass
class Ends:
    """The two sides that the pipe connects."""

    platform: str
    gateway: str
    ground: Ground

    def arrived(self) -> int:
        return int(requests.get(f"{self.platform}/count", timeout=30).json())

    def record(self) -> list[tuple[float, str]]:
        """Moment and text of each message since the last look, in order of arrival."""
        return [(moment, text) for moment, text in requests.get(f"{self.platform}/record", timeout=60).json()]

    def await_all(self, count: int) -> list[tuple[float, str]]:
        if not wait_until(lambda: self.arrived() >= count, PATIENCE, pause=0.1):
            raise RuntimeError(
                f"{self.arrived()} of {count} messages arrived. The processes said:\n{self.ground.tail()}"
            )
        return self.record()


@dataclass
class Pipe:
    """The bridge's own processes."""

    port: int
    processes: list[Process] = field(default_factory=list)

    def cpu(self) -> float:
        return sum(process.cpu() for process in self.processes)

    def memory(self) -> int:
        """KiB."""
        return sum(process.memory() for process in self.processes)


@contextlib.contextmanager
def ends(ground: Ground) -> Iterator[Ends]:
    """Kept for a whole measure, with every side of it."""
    platform, gateway = free_port(), free_port()
    ground.env["ALLOWED_PRIVATE_HOSTS"] = f"127.0.0.1:{platform},127.0.0.1:{gateway}"
    stub = make_python_command("-m", "openclaw.stub", "--port", str(gateway), "--token", TOKEN, "--pace", "0")
    with (
        ground.process("platform", make_python_command("-m", "tests.bench.platform", str(platform)), port=platform),
        ground.process("gateway", stub, port=gateway),
    ):
        yield Ends(f"http://127.0.0.1:{platform}", f"http://127.0.0.1:{gateway}", ground)


@contextlib.contextmanager
def bridge(ground: Ground) -> Iterator[Pipe]:
    """Web, worker, beat and connector as they are always started. The block begins when they work, as `make run` says that they do."""
    port = free_port()
    env = {**ground.env, "PORT": str(port)}
    running = Pipe(port)
    liveness.remove_signs(Path(env["DATA_DIR"]))
    with contextlib.ExitStack() as stack:
        for name in ("web", "worker", "beat", "connector"):
            process = ground.process(
                name, make_command(name, env), port=port if name == "web" else 0, death=signal.SIGTERM
            )
            running.processes.append(stack.enter_context(process))
        working = ("web", "worker", "connector")
        if not wait_until(lambda: not any(liveness.find_problem(name, env) for name in working), PATIENCE, pause=0.05):
            raise RuntimeError(f"the bridge does not work:\n{ground.tail()}")
        yield running
