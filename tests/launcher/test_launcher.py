"""What the launcher derives from its environment, and what it says. `make demo ONCE=1` in .ci/run does the whole."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.runtime.launcher import launch
from bridge.runtime.launcher.embedded import EmbeddedError
from bridge.runtime.launcher.launch import (
    LaunchError,
    Plan,
    all_ports_answer,
    check_ports,
    main,
    make_children,
    make_plan,
)
from bridge.runtime.launcher.supervisor import Supervisor
from tests.launcher.supervising import ROOT, said
from tests.launcher.test_embedded import eventually
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """A port that is free, as are the four after it; PORT and DATA_DIR are set, and no servers are named."""
    for name in ("DATABASE_URL", "REDIS_URL", "MEDIA_ROOT", "STATIC_ROOT", "HOST", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    port = free_port(following=4)
    monkeypatch.setenv("PORT", str(port))
    return port


def test_the_demo_has_ports_data_and_secrets_of_its_own(free: int, tmp_path: Path) -> None:
    plan = make_plan("demo")
    assert plan.ports == {"web": free, "callbacks": free + 3, "simulator": free + 1, "gateway": free + 2}
    assert plan.later_ports == {"puppet service": free + 4}
    assert plan.data_dir == tmp_path / "data"
    password = (tmp_path / "data" / "postgres.password").read_text()
    assert plan.env["DATABASE_URL"] == f"postgres://bridge:{password}@/bridge?host={tmp_path}/data/run"
    assert plan.env["REDIS_URL"] == f"unix://{tmp_path}/data/run/valkey.sock?db=0"
    assert plan.env["PUBLIC_URL"] == f"http://127.0.0.1:{free}"
    assert len(base64.b64decode(plan.env["FIELD_KEYS"])) == 32
    assert (tmp_path / "data" / "secrets.env").stat().st_mode & 0o777 == 0o600
    assert make_plan("demo").env == plan.env
    names = [child.name for child in make_children(plan)]
    assert names == ["web", "callbacks", "worker", "beat", "connector", "simulator", "gateway"]


def test_a_second_demo_beside_the_first_keeps_its_data_apart(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR")
    assert launch.choose_data_folder("demo", free) == ROOT / ".data" / f"demo-{free}"
    assert launch.choose_data_folder("demo", 8000) == ROOT / ".data" / "demo"
    assert launch.choose_data_folder("run", free) == ROOT / ".data" / "run"


def test_run_takes_the_servers_it_is_given(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://elsewhere/bridge")
    monkeypatch.setenv("REDIS_URL", "")
    plan = make_plan("run")
    assert plan.ports == {"web": free, "callbacks": free + 3}
    assert plan.env["DATABASE_URL"] == "postgres://elsewhere/bridge"
    assert plan.env["REDIS_URL"].startswith("unix://")
    assert not (plan.data_dir / "postgres.password").exists()
    assert [child.name for child in make_children(plan)] == ["web", "callbacks", "worker", "beat", "connector"]


@pytest.mark.parametrize("port", ["0", "65534", "eighty", "-1", "８０"])
def test_a_port_that_is_none_is_refused(free: int, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(LaunchError, match="PORT is not a number from 1 to 65531"):
        make_plan("run")


def test_a_start_waits_for_no_port_that_only_the_demo_opens(free: int) -> None:
    """Its own command has the simulator open it, when everything else runs."""
    plan = make_plan("demo")
    with contextlib.ExitStack() as stack:
        for port in (free, free + 1, free + 2, free + 3):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        assert all_ports_answer(plan)
    with socket.create_server(("127.0.0.1", free + 4)), pytest.raises(LaunchError, match="puppet service"):
        check_ports(plan)


def test_a_taken_port_is_named_with_a_way_out(free: int) -> None:
    plan = make_plan("run")
    check_ports(plan)
    assert not all_ports_answer(plan)
    with socket.create_server(("127.0.0.1", free)), socket.create_server(("127.0.0.1", free + 3)):
        assert all_ports_answer(plan)
        with pytest.raises(
            LaunchError, match=rf"Port {free} .for: web. is taken. Choose another: make run PORT={free + 100}"
        ):
            check_ports(plan)


@pytest.mark.parametrize("mode", ["run", "demo"])
def test_a_first_start_on_a_taken_port_leaves_no_data_folder(
    free: int, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "DOTENV", tmp_path / ".env")  # that of this copy is not ours
    with socket.create_server(("127.0.0.1", free)):
        assert main([mode]) == 1
    assert f"Port {free} (for: web) is taken" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def listing(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("found", ["postgres/PG_VERSION", "spool/1-2.spool"])
@pytest.mark.parametrize("mode", ["run", "demo"])
def test_a_folder_from_before_the_first_release_is_named_and_left_alone(  # noqa: PLR0913
    free: int,
    tmp_path: Path,
    mode: str,
    found: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(launch, "DOTENV", tmp_path / ".env")
    old = tmp_path / "data" / found
    old.parent.mkdir(parents=True)
    old.write_text("17\n")
    (tmp_path / "data.old-1").mkdir()
    before = listing(tmp_path)
    with socket.create_server(("127.0.0.1", free)):  # nothing more is started should it not be refused
        assert main([mode]) == 1
    text = capsys.readouterr().out
    assert f"{tmp_path}/data is from before the first release" in text
    assert (
        f"mv {tmp_path}/data {tmp_path}/data.old-2 && make {mode} PORT={free} DATA_DIR={tmp_path}/data\n" in text
    )  # the first name is taken
    assert ("Keep .env as it is" in text) == (mode == "run")
    assert listing(tmp_path) == before
    assert main(["manage", mode, "check"]) == 1
    assert listing(tmp_path) == before


def test_a_folder_bears_its_version_before_a_server_writes(free: int, supervisor: Supervisor) -> None:
    """So a first start that ends on its way is no reason to refuse the second."""
    plan = make_plan("demo")
    cluster = plan.data_dir / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("9\n")  # ends the start
    with pytest.raises(LaunchError, match="from before the first release"):
        launch.check_data_version(plan)
    with launch.lock_folder(plan.data_dir), pytest.raises(EmbeddedError, match="made by PostgreSQL 9"):
        launch.launch(plan, supervisor, once=True)
    launch.check_data_version(plan)


def test_what_the_launcher_starts_writes_for_its_own_user_alone(free: int, tmp_path: Path) -> None:
    """As it is typed, by a shell that lets everybody read everything."""
    asks = [
        sys.executable,
        "-m",
        "bridge.runtime.launcher.launch",
        "manage",
        "demo",
        "shell",
        "-v",
        "0",
        "-c",
        "import os; print(oct(os.umask(0)))",
    ]
    done = subprocess.run(asks, cwd=ROOT, umask=0, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["0o77"]
    made = {path.name: path.stat().st_mode & 0o77 for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]}
    assert {"data", "secrets.env", "postgres.password"} <= set(made)
    assert set(made.values()) == {0}


def test_an_address_of_another_machine_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="cannot be opened"):
        check_ports(Plan(demo=False, host="192.0.2.1", port=18000, data_dir=tmp_path, env={}))


def test_the_first_run_writes_dotenv_with_new_secrets(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SECRET_KEY", "FIELD_KEYS", "PUBLIC_URL"):
        monkeypatch.setenv(name, "from the environment")
    path = tmp_path / ".env"
    launch.make_dotenv(supervisor, path)
    text = path.read_text()
    launch.make_dotenv(supervisor, path)
    assert path.read_text() == text
    assert path.stat().st_mode & 0o777 == 0o600
    found = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert len(found["SECRET_KEY"]) >= 50
    assert len(base64.b64decode(found["FIELD_KEYS"])) == 32
    assert found["PUBLIC_URL"] == ""
    assert said(supervisor).count("Wrote") == 1
    assert found["SECRET_KEY"] not in said(supervisor)
    assert os.environ["SECRET_KEY"] == "from the environment"


def test_an_unknown_mode_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert [main([]), main(["dance"]), main(["manage"]), main(["manage", "run"])] == [2, 2, 2, 2]
    assert capsys.readouterr().err.startswith("Usage: ")


def test_a_second_copy_on_the_same_data_is_refused(
    free: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with launch.lock_folder(tmp_path / "data"):
        assert main(["demo"]) == 1
    assert "is in use by another running copy" in capsys.readouterr().out


def test_the_last_lines_show_the_login_that_was_made(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)
    plan = launch.make_plan("run")
    plan.data_dir.mkdir(parents=True, exist_ok=True)
    login = launch.FirstLogin(plan)
    assert "changepassword" in login.text()
    Path(login.env["ADMIN_CREATED_FILE"]).touch()
    assert login.text() == f"admin / {login.env['ADMIN_PASSWORD']} (shown only now)"
    assert "changepassword" in login.text()


def test_nothing_is_said_to_run_before_it_works(tmp_path: Path, free: int, supervisor: Supervisor) -> None:
    """Open ports are not enough: web and callbacks answer /livez, worker and connector gave a sign since this start."""
    plan = make_plan("run")
    plan.data_dir.mkdir(exist_ok=True)
    for name in ("worker", "connector"):
        (plan.data_dir / f"{name}.alive").touch()  # of the process before
    with answering(free, 503) as web, answering(free + 3, 200):
        assert launch.find_missing(plan) == ["web"]
        supervisor.children.clear()
        started = threading.Thread(target=launch.start_processes, args=(plan, supervisor, []))
        started.start()
        eventually(lambda: launch.find_missing(plan) == ["web", "worker", "connector"])
        web.status = 200  # type: ignore[attr-defined]
        (plan.data_dir / "worker.alive").touch()
        eventually(lambda: launch.find_missing(plan) == ["connector"])
        assert started.is_alive()
        (plan.data_dir / "connector.alive").touch()
        started.join(30)
        assert not started.is_alive()
    assert set(launch.find_missing(plan)) == {"web", "callbacks"}


def test_what_keeps_a_start_is_said_once(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "REPORT_AFTER_SECONDS", 0)
    out, plan = io.StringIO(), make_plan("run")
    patience = launch._StartWatch(plan, Supervisor(out))
    assert not patience.is_started()
    assert not patience.is_started()
    assert out.getvalue().count("Still waiting for: web, callbacks.") == 1


@contextlib.contextmanager
def answering(port: int, status: int) -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.status = status  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
