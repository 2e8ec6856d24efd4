"""`make run` and `make demo`: the servers, the migrations and every process of the bridge, from one command.

    python -m bridge.runtime.launcher.launch run
    python -m bridge.runtime.launcher.launch demo [--once]
    python -m bridge.runtime.launcher.launch manage run|demo COMMAND …     a Django command in the environment of a running bridge

`run` takes its settings from the environment and from `.env`; `demo` needs none, keeps secrets of its own in its data folder and leaves
`.env` alone, so that it never touches real accounts. PostgreSQL and Valkey are started here unless DATABASE_URL and REDIS_URL name others.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import secrets
import shlex
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import environ

from bridge.runtime.launcher import data_version, liveness
from bridge.runtime.launcher.commands import PROCESSES, WEB_SERVERS, callbacks_port, command, python
from bridge.runtime.launcher.embedded import EmbeddedError, Postgres, Server, Valkey, claim
from bridge.runtime.launcher.supervisor import Child, Supervisor, program

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE_DIR = Path(__file__).resolve().parents[3]
DOTENV = BASE_DIR / ".env"
PORT = 8000
ANSWERING = ("web", "callbacks", "worker", "connector")  # all that a message passes
PATIENCE_SECONDS = 30  # until it is said what is missing at a start
USAGE = "Usage: python -m bridge.runtime.launcher.launch run | demo [--once] | manage run|demo COMMAND …"


class LaunchError(Exception):
    """The start cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is started, and where."""

    demo: bool
    host: str
    port: int
    data_dir: Path
    env: dict[str, str]

    @property
    def web(self) -> str:
        """The address of the admin pages on this machine."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"  # noqa: S104 - only compared

    @property
    def ports(self) -> dict[str, int]:
        """Name of the process → the port it listens on."""
        more = {"simulator": self.port + 1, "gateway": self.port + 2} if self.demo else {}
        return {"web": self.port, "callbacks": self.callbacks_port, **more}

    @property
    def process_env(self) -> dict[str, str]:
        """The environment of each process of the bridge."""
        return {**self.env, "HOST": self.host, "PORT": str(self.port), "DATA_DIR": str(self.data_dir)}

    @property
    def callbacks_port(self) -> int:
        """Of the process that answers callbacks only, for a proxy."""
        return callbacks_port({**self.env, "PORT": str(self.port)})


def new_key() -> str:
    """A key for FIELD_KEYS."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def write_secrets(path: Path, text: str) -> None:
    """Write a new file that only its owner reads."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def read_dotenv(path: Path) -> None:
    """Add what the file says, if it is there, to the environment, which goes first."""
    if path.exists():
        environ.Env.read_env(str(path))


def make_dotenv(supervisor: Supervisor, path: Path) -> None:
    """At the first start: make the file, with new secrets, and read it."""
    if path.exists():
        return
    text = (BASE_DIR / ".env.example").read_text()
    text = text.replace("\nSECRET_KEY=\n", f"\nSECRET_KEY={secrets.token_urlsafe(48)}\n")
    write_secrets(path, text.replace("\nFIELD_KEYS=\n", f"\nFIELD_KEYS={new_key()}\n"))
    supervisor.say(
        f"Wrote {path} with new secrets. Keep a copy of it: no stored credential can be read without its FIELD_KEYS."
    )
    read_dotenv(path)


def demo_settings(data_dir: Path, port: int) -> dict[str, str]:
    """The demo's whole configuration. Its secrets are made once and stay in its data folder."""
    path = data_dir / "secrets.env"
    if not path.exists():
        names = ("SECRET_KEY", "ADMIN_PASSWORD", "DEMO_GATEWAY_TOKEN")
        lines = [f"{name}={secrets.token_urlsafe(48 if name == 'SECRET_KEY' else 12)}" for name in names]
        write_secrets(path, "\n".join([*lines, f"FIELD_KEYS={new_key()}", ""]))
    stored = dict(line.split("=", 1) for line in path.read_text().splitlines())
    return stored | {
        "DEMO": "1",
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DEMO_SIMULATOR_URL": f"http://127.0.0.1:{port + 1}",
        "DEMO_GATEWAY_URL": f"http://127.0.0.1:{port + 2}",
        "ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port + 1},127.0.0.1:{port + 2}",
        "ALLOWED_PRIVATE_MEDIA_HOSTS": f"127.0.0.1:{port + 1}",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL") or "WARNING",
    }


def make_plan(mode: str) -> Plan:
    """Everything that follows from the environment; secrets that are not there yet are written. Raises LaunchError."""
    place = make_place(mode)
    env = {**place.env, **(demo_settings(place.data_dir, place.port) if place.demo else {})}
    for variable, value in _defaults(place.data_dir).items():
        env[variable] = env.get(variable) or value
    env["DATABASE_URL"] = env.get("DATABASE_URL") or Postgres(place.data_dir).url  # which makes its password
    return replace(place, env=env)


def make_place(mode: str) -> Plan:
    """A plan without what the data folder provides: nothing is written. Raises LaunchError."""
    demo, text = mode == "demo", os.environ.get("PORT") or str(PORT)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65533):
        raise LaunchError("PORT is not a number from 1 to 65532. Set one like PORT=8100.")
    port = int(text)
    return Plan(demo, os.environ.get("HOST") or "127.0.0.1", port, data_folder(mode, port), dict(os.environ))


def data_folder(mode: str, port: int) -> Path:
    """A second demo beside the first has data of its own; for real accounts another port is still the same bridge."""
    name = f"demo-{port}" if mode == "demo" and port != PORT else mode
    return (BASE_DIR / (os.environ.get("DATA_DIR") or f".data/{name}")).resolve()


def _defaults(data_dir: Path) -> dict[str, str]:
    """What the data folder provides where nothing else is named."""
    return {
        "REDIS_URL": Valkey(data_dir).url,
        "MEDIA_ROOT": str(data_dir / "media"),
        "SPOOL_DIR": str(data_dir / "spool"),
        "STATIC_ROOT": str(data_dir / "static"),
    }


def check_ports(plan: Plan) -> None:
    """See that every port is free. Raises LaunchError."""
    for name, port in plan.ports.items():
        host = plan.host if name in WEB_SERVERS else "127.0.0.1"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
                example = f"make {'demo' if plan.demo else 'run'} PORT={plan.port + 100}"
                raise LaunchError(f"Port {port} (for: {name}) {taken}. Choose another: {example}") from None


def check_data_version(place: Plan) -> None:
    """See that the data folder is none from before the first release. Touches nothing in it. Raises LaunchError."""
    if data_version.is_before_first_release(place.data_dir):
        typed = [f"{name}={shlex.quote(place.env[name])}" for name in ("PORT", "DATA_DIR") if place.env.get(name)]
        command = " ".join(["make", "demo" if place.demo else "run", *typed])
        raise LaunchError(data_version.explain_old_folder(place.data_dir, command, demo=place.demo))


def listening(plan: Plan) -> bool:
    """Whether every port answers."""
    for name, port in plan.ports.items():
        host = plan.web.removeprefix("http://").rpartition(":")[0] if name in WEB_SERVERS else "127.0.0.1"
        try:
            socket.create_connection((host, port), timeout=0.5).close()
        except OSError:
            return False
    return True


def waits_for(plan: Plan) -> list[str]:
    """Names of what does not work yet: a port that does not answer, a process without a sign of life. Empty: messages are answered."""
    if not listening(plan):
        return list(plan.ports)
    return [name for name in ANSWERING if liveness.problem_of(name, plan.process_env)]


def start_processes(plan: Plan, supervisor: Supervisor, children: Iterable[Child]) -> bool:
    """Returns when they work. False where told to stop before."""
    liveness.forget(plan.data_dir)
    for child in children:
        supervisor.add(child)
    return supervisor.run(_Patience(plan, supervisor).is_over)


class _Patience:
    """Waits until everything works, and says once what keeps it."""

    def __init__(self, plan: Plan, supervisor: Supervisor) -> None:
        self.plan, self.supervisor = plan, supervisor
        self.began, self.has_said = time.monotonic(), False

    def is_over(self) -> bool:
        missing = waits_for(self.plan)
        if missing and not self.has_said and time.monotonic() - self.began > PATIENCE_SECONDS:
            self.has_said = True
            self.supervisor.say(f"Still waiting for: {', '.join(missing)}. What keeps them stands in the lines above.")
        return not missing


def processes(plan: Plan) -> list[Child]:
    """The processes of the bridge, and in the demo what stands in for the world, in the order in which they are started."""
    env = plan.process_env
    children = [
        program(name, command(name, env), env, death=signal.SIGTERM if name in WEB_SERVERS else signal.SIGKILL)
        for name in PROCESSES
    ]
    return [*children, *(program(name, line, env) for name, line in _stand_ins(plan).items())]


def _stand_ins(plan: Plan) -> dict[str, list[str]]:
    """The gateway takes its token from the environment: a command line can be read by everybody on the machine."""
    modules = {"gateway": "openclaw.stub", "simulator": "channels_wechat.simulator"}
    return {
        name: python("-m", modules[name], "--port", str(port)) for name, port in plan.ports.items() if name in modules
    }


def start_servers(plan: Plan, supervisor: Supervisor) -> None:
    """The embedded servers that are needed. Raises EmbeddedError."""
    servers: dict[str, Server] = {"DATABASE_URL": Postgres(plan.data_dir), "REDIS_URL": Valkey(plan.data_dir)}
    for variable, server in servers.items():
        if os.environ.get(variable):
            supervisor.say(f"{variable} is set; not starting {server.name}.")
            continue
        supervisor.say(f"Starting {server.name} …")
        server.start()
        supervisor.add(
            Child(server.name, server.spawn, server=True, stop_signal=server.stop_signal, process=server.process)
        )


def launch(plan: Plan, supervisor: Supervisor, *, once: bool) -> int:
    """Start everything and stay until told to stop. Gives the exit code; raises LaunchError, EmbeddedError."""
    check_ports(plan)
    data_version.write_version(plan.data_dir)
    start_servers(plan, supervisor)
    supervisor.say("Preparing the database and the pages …")
    login = FirstLogin(plan)
    if code := supervisor.complete(program("prepare", python("manage.py", "prepare"), login.env, restart=False)):
        supervisor.say("The bridge did not start. What is wrong, and what to do, stands in the lines above.")
        return code
    supervisor.say("Starting the processes …")
    if not start_processes(plan, supervisor, processes(plan)):
        return 130
    if plan.demo:
        arguments = ["manage.py", "demo", *(["--once"] if once else [])]
        code = supervisor.complete(program("demo", python(*arguments), plan.env, restart=False))
        if once or code:
            return code
    tell(plan, supervisor, login.text())
    supervisor.run()
    return 0


class FirstLogin:
    """The password of an administrator that `prepare` creates: made here, so that the last lines can show it; stored nowhere."""

    def __init__(self, plan: Plan) -> None:
        self.given = bool(plan.env.get("ADMIN_PASSWORD"))
        self.password = plan.env.get("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
        self.demo = plan.demo
        self.created = plan.data_dir / ".admin-created"
        self.created.unlink(missing_ok=True)
        self.env = {**plan.env, "ADMIN_PASSWORD": self.password, "ADMIN_CREATED_FILE": str(self.created)}

    def text(self) -> str:
        """How to log in, as far as this start knows."""
        if self.demo:
            return f"admin / {self.password} (until you change it)"
        if not self.created.exists():
            return 'as before (forgotten: make manage CMD="changepassword admin")'
        self.created.unlink()
        return "admin / as ADMIN_PASSWORD says" if self.given else f"admin / {self.password} (shown only now)"


def tell(plan: Plan, supervisor: Supervisor, login: str) -> None:
    """Where everything is."""
    lines = [f"Running. Admin: {plan.web}/admin/", f"  Login:      {login}"]
    if plan.demo:
        lines += [
            f"  Simulator:  {plan.env['DEMO_SIMULATOR_URL']}/  type as a member of a WeCom group, a follower or a Mini Program's user",
            f"  Gateway:    {plan.env['DEMO_GATEWAY_URL']}  the stand-in for OpenClaw",
        ]
    for line in [*lines, f"  Data is kept in {plan.data_dir}. Ctrl-C ends everything."]:
        supervisor.say(line)


def manage(mode: str, arguments: list[str]) -> None:
    """Become `manage.py`. Never returns."""
    line = python("manage.py", *arguments)
    os.execve(line[0], line, make_plan(mode).env)  # noqa: S606 - no shell is the point


def main(arguments: list[str]) -> int:
    """Gives the exit code."""
    os.chdir(BASE_DIR)
    os.umask(0o077)  # for every process started here: nothing it writes is for other users of the machine
    mode = arguments[1] if arguments[:1] == ["manage"] and len(arguments) > 2 else "".join(arguments[:1])
    if mode not in {"run", "demo"}:
        print(USAGE, file=sys.stderr)
        return 2
    supervisor = Supervisor()
    try:
        if mode == "run":
            read_dotenv(DOTENV)
        place = make_place(mode)
        check_data_version(place)
        if (
            arguments[0] != "manage" and not place.data_dir.exists()
        ):  # else who holds it says more than a port that is taken
            check_ports(place)
        if mode == "run":
            make_dotenv(supervisor, DOTENV)  # only now: a start that cannot be leaves no file
        if arguments[0] == "manage":
            manage(mode, arguments[2:])
        plan = make_plan(mode)
        with claim(plan.data_dir), supervisor.signals(), contextlib.ExitStack() as stack:
            stack.callback(supervisor.stop)
            return launch(plan, supervisor, once="--once" in arguments)
    except (LaunchError, EmbeddedError) as error:
        supervisor.say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
