"""A real OpenClaw gateway with a mock model on loopback, for the heavy tests.

Node 24 and OpenClaw come from npm into `OPENCLAW_LAB_DIR` (default `.data/openclaw-lab`, 650 MB) and stay there; the
gateway's state lives in a directory of its own, so that a killed gateway starts again where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.real.mock_model import MockModel
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE: Final = "node@24.21.0"
NEWEST: Final = "2026.9.6"
OLDER: Final = ("2026.8.2", "2026.7.35")
"""Gateways whose frames differ: no `executionSettled`; the last one has no boot id, no `terminalReply` and no run ids either."""
START_LIMIT: Final = 180  # seconds; 11 to 30 on two idle cores
logs: Final[dict[str, Path]] = {}
"""By the name of a program, the log of the one that was started last; a test that fails prints its end."""


def lab_directory() -> Path:
    default = Path(__file__).parents[2] / ".data" / "openclaw-lab"
    return Path(os.environ.get("OPENCLAW_LAB_DIR", default))


def install(version: str = NEWEST) -> Path:
    """Install both packages once and return the directory that holds `node_modules`."""
    target = lab_directory() / ("npm" if version == NEWEST else f"npm-{version}")
    if (target / "installed").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    # The package `node` fetches its binary by an install script, which npm 11 wants allowed by name.
    package = {"name": "openclaw-lab", "private": True, "allowScripts": {"node": True}}
    (target / "package.json").write_text(json.dumps(package))
    # One after the other: OpenClaw's own script refuses to be installed by another Node.
    for wanted in (NODE, f"openclaw@{version}"):
        command = ["npm", "install", "--no-audit", "--no-fund", wanted]
        subprocess.run(command, cwd=target, check=True, timeout=900, env=os.environ | {"PATH": _path(target)})
    (target / "installed").touch()
    return target


def _path(installed: Path) -> str:
    return f"{installed / 'node_modules' / 'node' / 'bin'}:{os.environ['PATH']}"


def _config(state: Path, port: int, token: str, model_port: int, version: str) -> dict[str, Any]:
    cost = {"input": 1, "output": 5, "cacheRead": 0.1, "cacheWrite": 0}  # dollars for a million tokens
    model = {"id": "mock-1", "name": "Mock", "reasoning": False, "input": ["text", "image"], "cost": cost}
    provider = {
        "baseUrl": f"http://127.0.0.1:{model_port}/v1",
        "apiKey": "mock-key",
        "api": "openai-completions",
        "models": [model | {"contextWindow": 200_000, "maxTokens": 8192}],
    }
    defaults: dict[str, Any] = {
        "workspace": str(state / "workspace"),
        "skipBootstrap": True,
        "model": {"primary": "mock/mock-1"},
        "heartbeat": {"every": "0m"},
    }
    second = str(state / "workspace-second")
    if version == "2026.7.35":
        agents: dict[str, Any] = {"defaults": defaults, "list": [{"id": "main"}, {"id": "second", "workspace": second}]}
    else:
        defaults["systemAgent"] = {"agentId": "main"}
        entries = {"main": {}, "second": {"workspace": second}}
        agents = {"ownership": "explicit", "defaults": defaults, "entries": entries}
    return {
        "gateway": {
            "mode": "local",
            "bind": "loopback",
            "port": port,
            "auth": {"mode": "token", "token": token},
            "controlUi": {"enabled": False},
            "http": {"endpoints": {"chatCompletions": {"enabled": True}}},
        },
        "update": {"checkOnStart": False, "auto": {"enabled": False}},
        "discovery": {"mdns": {"mode": "off"}},
        "agents": agents,
        "models": {"mode": "replace", "providers": {"mock": provider}},
    }


@dataclass
class OpenClawLab:
    """`with OpenClawLab(tmp_path) as lab:` gives a running gateway; `lab.model.calls` is what reached the model."""

    state: Path
    version: str = NEWEST
    token: str = "lab-gateway-token-0123456789abcdef"
    port: int = field(default_factory=free_port)
    model: MockModel = field(default_factory=MockModel)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.state / "gateway.log"

    def __enter__(self) -> Self:
        self.model.__enter__()
        self.state.mkdir(parents=True, exist_ok=True)
        logs["gateway"] = self.log
        config = _config(self.state, self.port, self.token, self.model.port, self.version)
        (self.state / "openclaw.json").write_text(json.dumps(config))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.model.__exit__()

    def start(self) -> None:
        installed = install(self.version)
        environment = {
            "PATH": _path(installed),
            "HOME": str(self.state),
            "OPENCLAW_STATE_DIR": str(self.state),
            "OPENCLAW_CONFIG_PATH": str(self.state / "openclaw.json"),
            "OPENCLAW_DISABLE_BONJOUR": "1",
            "OPENCLAW_NO_RESPAWN": "1",
            "OPENCLAW_TELEMETRY_ENDPOINT": "http://127.0.0.1:9/",
            "DO_NOT_TRACK": "1",
        }
        command = [str(installed / "node_modules" / ".bin" / "openclaw"), "gateway", "run", "--port", str(self.port)]
        with self.log.open("ab") as log:
            # A session of its own: the gateway starts children that a kill must reach too.
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self._wait_ready(self._process)

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        limit = time.monotonic() + START_LIMIT
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the gateway did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.5)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the gateway's own database, as its workers sometimes do for a while after a start."""
        database = self.state.resolve() / "state" / "openclaw.sqlite"
        name = f"state-lifecycle.{hashlib.sha256(str(database).encode()).hexdigest()[:8]}.lock.sqlite"
        file = Path("/tmp", f"openclaw-state-locks-{os.getuid()}", name)  # noqa: S108 - where the gateway has it
        if not file.exists():
            raise RuntimeError(f"this gateway has its lock elsewhere: {file}")
        with contextlib.closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            yield

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
