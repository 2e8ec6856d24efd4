"""One list of command lines for the launcher and the containers, and the signs of life that health checks read."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.celery import app
from bridge.runtime.conf import capacity
from bridge.runtime.launcher import commands, launch, liveness
from bridge.runtime.launcher.launch import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def check(process: str, **env: str) -> tuple[int, str]:
    """Exit code and words of the health check, run as a container runs it."""
    command = [sys.executable, "-P", "bridge/runtime/launcher/liveness.py", process]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True)
    return done.returncode, done.stderr.strip()


def test_the_launcher_starts_what_the_containers_become(tmp_path: Path) -> None:
    plan = Plan(demo=False, host="127.0.0.1", port=8123, data_dir=tmp_path, env={"LOG_LEVEL": "WARNING"})
    env = {"HOST": "127.0.0.1", "PORT": "8123", "DATA_DIR": str(tmp_path), "LOG_LEVEL": "WARNING"}
    for child, name in zip(launch.make_children(plan), commands.PROCESSES, strict=True):
        with child.spawn() as started:
            started.kill()
        assert isinstance(started.args, list)
        line = commands.make_command(name, env)
        assert (child.name, started.args[-len(line) :]) == (name, line)


def test_a_name_becomes_the_process_itself(tmp_path: Path) -> None:
    """The same process id: a signal to it reaches the program, and nobody stands between."""
    environ = {**os.environ, "DATA_DIR": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "bridge.runtime.launcher.commands", "beat"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wanted = "\0".join(commands.make_command("beat", environ)).encode()
        while wanted not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["web", "worker"]])
def test_another_name_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        commands.main(arguments)
    assert left.value.code == 2
    assert "web|callbacks|worker|beat|connector" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(commands.WEB_SERVERS))
def test_a_web_server_waits_for_no_slow_head_and_takes_no_more_than_its_files_allow(name: str) -> None:
    line = commands.make_command(name, {})
    values = dict(itertools.pairwise(line))
    assert values["--http1-header-read-timeout"] == str(capacity.HEAD_SECONDS * 1000)
    assert 256 <= int(values["--backpressure"]) == commands.find_max_connections() <= capacity.MAX_CONNECTIONS
    assert values["--http"] == "1"  # while granian finds out which HTTP is spoken, no deadline counts
    assert (
        subprocess.run([*line, "--help"], cwd=ROOT, capture_output=True, check=False).returncode == 0
    )  # it knows them all


@pytest.mark.parametrize("name", commands.PROCESSES)
def test_no_secret_stands_on_a_command_line(name: str) -> None:
    secrets = {
        name: f"canary-{name}" for name in ("SECRET_KEY", "FIELD_KEYS", "DATABASE_URL", "REDIS_URL", "EMAIL_URL")
    }
    assert "canary" not in " ".join(commands.make_command(name, secrets))


def test_a_fresh_sign_is_good_and_an_old_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"DATA_DIR": str(tmp_path)}
    assert check("worker", **data) == (1, "no sign of life: No such file or directory")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    liveness.touch_sign("worker")
    assert check("worker", **data) == (0, "")
    assert check("beat", **data)[0] == 1
    past = (tmp_path / "worker.alive").stat().st_mtime - liveness.MAX_AGE_SECONDS - 5
    os.utime(tmp_path / "worker.alive", (past, past))
    code, words = check("worker", **data)
    assert code == 1
    assert words.startswith("the last sign of life is")


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_DIR", raising=False)
    liveness.touch_sign("worker")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "gone"))
    liveness.touch_sign("worker")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def answering() -> Iterator[HTTPServer]:
    """A server that answers with its `status`, and knows what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked = self.path  # type: ignore[attr-defined]
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "expected"), [(200, (0, "")), (503, (1, "/livez answers 503"))])
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])  # noqa: S104 - as a container has it
def test_the_web_server_is_asked(answering: HTTPServer, host: str, status: int, expected: tuple[int, str]) -> None:
    answering.status = status  # type: ignore[attr-defined]
    assert check("web", HOST=host, PORT=str(answering.server_port)) == expected
    assert check("callbacks", HOST=host, PORT="1", CALLBACKS_PORT=str(answering.server_port)) == expected
    assert check("callbacks", HOST=host, PORT=str(answering.server_port - 3)) == expected
    assert answering.asked == "/livez"  # type: ignore[attr-defined]


def test_a_web_server_that_is_not_there_is_said() -> None:
    code, words = check("web", PORT="1")
    assert (code, words.partition(":")[0]) == (1, "no answer")


def test_a_check_of_nothing_shows_the_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "bridge/runtime/launcher/liveness.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Usage" in done.stderr


def test_the_worker_has_the_step_that_signs() -> None:
    assert any(step.__name__ == "SignsOfLife" for step in app.steps["worker"])


def test_a_tick_that_reached_the_broker_is_the_clocks_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: object
) -> None:
    from bridge.runtime.worker.tasks import look_up_names, sweep

    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    look_up_names.apply_async()
    assert not (tmp_path / "beat.alive").exists()
    sweep.apply_async()
    assert (tmp_path / "beat.alive").exists()
    shutil.rmtree(tmp_path)
