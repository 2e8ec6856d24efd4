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
from bridge.runtime.launcher.commands import (
    PROCESSES,
    WEB_SERVERS,
    make_command,
    make_python_command,
    read_callbacks_port,
)
from bridge.runtime.launcher.embedded import EmbeddedError, Postgres, Server, Valkey, lock_folder
from bridge.runtime.launcher.supervisor import Child, Supervisor, make_child

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE_DIR = Path(__file__).resolve().parents[3]
DOTENV = BASE_DIR / ".env"
PORT = 8000
NEEDED_FOR_ANSWERS = ("web", "callbacks", "worker", "connector")  # a question is answered only if these work
REPORT_AFTER_SECONDS = 30  # after this, what is still missing at a start is printed
USAGE = "Usage: python -m bridge.runtime.launcher.launch run | demo [--once] | manage run|demo COMMAND …"


class LaunchError(Exception):
    """The start cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is started, with which address, folder and environment."""

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
        """The port of each process that listens on one, by its name."""
        more = {"simulator": self.port + 1, "gateway": self.port + 2} if self.demo else {}
        return {"web": self.port, "callbacks": self.callbacks_port, **more}

    @property
    def later_ports(self) -> dict[str, int]:
        """The ports that must be free too, and are opened when everything runs: the demo has the simulator play a puppet service."""
        return {"puppet service": self.port + 4} if self.demo else {}

    @property
    def process_env(self) -> dict[str, str]:
        """The environment of each process of the bridge."""
        return {**self.env, "HOST": self.host, "PORT": str(self.port), "DATA_DIR": str(self.data_dir)}

    @property
    def callbacks_port(self) -> int:
        """The port of the process that answers callbacks only, for a proxy."""
        return read_callbacks_port({**self.env, "PORT": str(self.port)})


def make_key() -> str:
    """Make a key for FIELD_KEYS."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def write_secrets(path: Path, text: str) -> None:
    """Write a new file that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def read_dotenv(path: Path) -> None:
    """Add the variables of the file, if it exists, to the environment. Variables that are set already stay as they are."""
    if path.exists():
        environ.Env.read_env(str(path))


def make_dotenv(supervisor: Supervisor, path: Path) -> None:
    """At the first start, write the file with new secrets and read it."""
    if path.exists():
        return
    text = (BASE_DIR / ".env.example").read_text()
    text = text.replace("\nSECRET_KEY=\n", f"\nSECRET_KEY={secrets.token_urlsafe(48)}\n")
    write_secrets(path, text.replace("\nFIELD_KEYS=\n", f"\nFIELD_KEYS={make_key()}\n"))
    supervisor.print_line(
        f"Wrote {path} with new secrets. Keep a copy of it: no stored credential can be read without its FIELD_KEYS."
    )
    read_dotenv(path)


def make_demo_settings(data_dir: Path, port: int) -> dict[str, str]:
    """Make the whole configuration of the demo. Its secrets are made once and kept in its data folder."""
    path = data_dir / "secrets.env"
    if not path.exists():
        names = ("SECRET_KEY", "ADMIN_PASSWORD", "DEMO_GATEWAY_TOKEN")
        lines = [f"{name}={secrets.token_urlsafe(48 if name == 'SECRET_KEY' else 12)}" for name in names]
        write_secrets(path, "\n".join([*lines, f"FIELD_KEYS={make_key()}", ""]))
    stored = dict(line.split("=", 1) for line in path.read_text().splitlines())
    return stored | {
        "DEMO": "1",
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DEMO_SIMULATOR_URL": f"http://127.0.0.1:{port + 1}",
        "DEMO_GATEWAY_URL": f"http://127.0.0.1:{port + 2}",
        "DEMO_PUPPET_PORT": str(port + 4),
        "ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port + 1},127.0.0.1:{port + 2},127.0.0.1:{port + 4}",
        "ALLOWED_PRIVATE_MEDIA_HOSTS": f"127.0.0.1:{port + 1}",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL") or "WARNING",
    }


def make_plan(mode: str) -> Plan:
    """Make the plan from the environment, and write secrets that do not exist yet. Raises LaunchError."""
    plan = make_bare_plan(mode)
    env = {**plan.env, **(make_demo_settings(plan.data_dir, plan.port) if plan.demo else {})}
    for variable, value in _make_defaults(plan.data_dir).items():
        env[variable] = env.get(variable) or value
    env["DATABASE_URL"] = env.get("DATABASE_URL") or Postgres(plan.data_dir).url  # writes a password the first time
    return replace(plan, env=env)


def make_bare_plan(mode: str) -> Plan:
    """Make a plan without the values that the data folder provides. Writes nothing. Raises LaunchError."""
    demo, text = mode == "demo", os.environ.get("PORT") or str(PORT)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65532):
        raise LaunchError("PORT is not a number from 1 to 65531. Set one like PORT=8100.")
    port = int(text)
    return Plan(demo, os.environ.get("HOST") or "127.0.0.1", port, choose_data_folder(mode, port), dict(os.environ))


def choose_data_folder(mode: str, port: int) -> Path:
    """Return the data folder. A demo on another port has data of its own; with real accounts another port is still the same bridge."""
    name = f"demo-{port}" if mode == "demo" and port != PORT else mode
    return (BASE_DIR / (os.environ.get("DATA_DIR") or f".data/{name}")).resolve()


def _make_defaults(data_dir: Path) -> dict[str, str]:
    """Make the values that the data folder provides for variables that are not set."""
    return {
        "REDIS_URL": Valkey(data_dir).url,
        "MEDIA_ROOT": str(data_dir / "media"),
        "SPOOL_DIR": str(data_dir / "spool"),
        "STATIC_ROOT": str(data_dir / "static"),
    }


def check_ports(plan: Plan) -> None:
    """Check that every port is free. Raises LaunchError."""
    for name, port in (plan.ports | plan.later_ports).items():
        host = plan.host if name in WEB_SERVERS else "127.0.0.1"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                problem = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
                example = f"make {'demo' if plan.demo else 'run'} PORT={plan.port + 100}"
                raise LaunchError(f"Port {port} (for: {name}) {problem}. Choose another: {example}") from None


def check_data_version(plan: Plan) -> None:
    """Check that the data folder is not from before the first release. Changes nothing in it. Raises LaunchError."""
    if data_version.is_before_first_release(plan.data_dir):
        variables = [f"{name}={shlex.quote(plan.env[name])}" for name in ("PORT", "DATA_DIR") if plan.env.get(name)]
        command = " ".join(["make", "demo" if plan.demo else "run", *variables])
        raise LaunchError(data_version.explain_old_folder(plan.data_dir, command, demo=plan.demo))


def all_ports_answer(plan: Plan) -> bool:
    """Whether every port answers."""
    for name, port in plan.ports.items():
        host = plan.web.removeprefix("http://").rpartition(":")[0] if name in WEB_SERVERS else "127.0.0.1"
        try:
            socket.create_connection((host, port), timeout=0.5).close()
        except OSError:
            return False
    return True


def find_missing(plan: Plan) -> list[str]:
    """Return the names of processes that do not work yet: their port does not answer, or they gave no sign of life. Empty if all work."""
    if not all_ports_answer(plan):
        return list(plan.ports)
    return [name for name in NEEDED_FOR_ANSWERS if liveness.find_problem(name, plan.process_env)]


def start_processes(plan: Plan, supervisor: Supervisor, children: Iterable[Child]) -> bool:
    """Start the processes and return when they work; False if a signal stopped the start before that."""
    liveness.remove_signs(plan.data_dir)
    for child in children:
        supervisor.add(child)
    return supervisor.run(_StartWatch(plan, supervisor).is_started)


class _StartWatch:
    """Watches a start until everything works, and prints once what is missing if it takes long."""

    def __init__(self, plan: Plan, supervisor: Supervisor) -> None:
        self.plan, self.supervisor = plan, supervisor
        self.began, self.has_reported = time.monotonic(), False

    def is_started(self) -> bool:
        missing = find_missing(self.plan)
        if missing and not self.has_reported and time.monotonic() - self.began > REPORT_AFTER_SECONDS:
            self.has_reported = True
            self.supervisor.print_line(
                f"Still waiting for: {', '.join(missing)}. What keeps them stands in the lines above."
            )
        return not missing


def make_children(plan: Plan) -> list[Child]:
    """Make the processes of the bridge, and in the demo the simulator and the stand-in gateway, in the order of their start."""
    env = plan.process_env
    children = [
        make_child(name, make_command(name, env), env, death=signal.SIGTERM if name in WEB_SERVERS else signal.SIGKILL)
        for name in PROCESSES
    ]
    return [*children, *(make_child(name, line, env) for name, line in _make_stand_in_commands(plan).items())]


def _make_stand_in_commands(plan: Plan) -> dict[str, list[str]]:
    """Make the commands of the demo's stand-ins. The gateway's token is in the environment, because every user can read a command line."""
    modules = {"gateway": "openclaw.stub", "simulator": "channels_wechat.simulator"}
    return {
        name: make_python_command("-m", modules[name], "--port", str(port))
        for name, port in plan.ports.items()
        if name in modules
    }


def start_servers(plan: Plan, supervisor: Supervisor) -> None:
    """Start the embedded servers that are needed. Raises EmbeddedError."""
    servers: dict[str, Server] = {"DATABASE_URL": Postgres(plan.data_dir), "REDIS_URL": Valkey(plan.data_dir)}
    for variable, server in servers.items():
        if os.environ.get(variable):
            supervisor.print_line(f"{variable} is set; not starting {server.name}.")
            continue
        supervisor.print_line(f"Starting {server.name} …")
        server.start()
        supervisor.add(
            Child(server.name, server.spawn, server=True, stop_signal=server.stop_signal, process=server.process)
        )


def launch(plan: Plan, supervisor: Supervisor, *, once: bool) -> int:
    """Start everything and run until a signal comes. Returns the exit code. Raises LaunchError, EmbeddedError."""
    check_ports(plan)
    data_version.write_version(plan.data_dir)
    start_servers(plan, supervisor)
    supervisor.print_line("Preparing the database and the pages …")
    login = FirstLogin(plan)
    if code := supervisor.run_to_end(
        make_child("prepare", make_python_command("manage.py", "prepare"), login.env, restart=False)
    ):
        supervisor.print_line("The bridge did not start. What is wrong, and what to do, stands in the lines above.")
        return code
    supervisor.print_line("Starting the processes …")
    if not start_processes(plan, supervisor, make_children(plan)):
        return 130
    if plan.demo:
        arguments = ["manage.py", "demo", *(["--once"] if once else [])]
        code = supervisor.run_to_end(make_child("demo", make_python_command(*arguments), plan.env, restart=False))
        if once or code:
            return code
    print_addresses(plan, supervisor, login.text())
    supervisor.run()
    return 0


class FirstLogin:
    """The password of the administrator that `prepare` creates. It is made here so that the last lines can show it, and stored nowhere."""

    def __init__(self, plan: Plan) -> None:
        self.is_given = bool(plan.env.get("ADMIN_PASSWORD"))
        self.password = plan.env.get("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
        self.demo = plan.demo
        self.created = plan.data_dir / ".admin-created"
        self.created.unlink(missing_ok=True)
        self.env = {**plan.env, "ADMIN_PASSWORD": self.password, "ADMIN_CREATED_FILE": str(self.created)}

    def text(self) -> str:
        """Return how to log in, as far as it is known."""
        if self.demo:
            return f"admin / {self.password} (until you change it)"
        if not self.created.exists():
            return 'as before (forgotten: make manage CMD="changepassword admin")'
        self.created.unlink()
        return "admin / as ADMIN_PASSWORD says" if self.is_given else f"admin / {self.password} (shown only now)"


def print_addresses(plan: Plan, supervisor: Supervisor, login: str) -> None:
    """Print the addresses of everything."""
    lines = [f"Running. Admin: {plan.web}/admin/", f"  Login:      {login}"]
    if plan.demo:
        lines += [
            f"  Simulator:  {plan.env['DEMO_SIMULATOR_URL']}/  type as a member of a WeCom group, a follower or a Mini Program's user",
            f"  Gateway:    {plan.env['DEMO_GATEWAY_URL']}  the stand-in for OpenClaw",
        ]
    for line in [*lines, f"  Data is kept in {plan.data_dir}. Ctrl-C ends everything."]:
        supervisor.print_line(line)


def run_manage(mode: str, arguments: list[str]) -> None:
    """Replace this process by `manage.py`. Never returns."""
    line = make_python_command("manage.py", *arguments)
    os.execve(line[0], line, make_plan(mode).env)  # noqa: S606 - no shell is the point


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    os.chdir(BASE_DIR)
    os.umask(0o077)  # so that no file of the processes started here can be read by other users
    mode = arguments[1] if arguments[:1] == ["manage"] and len(arguments) > 2 else "".join(arguments[:1])
    if mode not in {"run", "demo"}:
        print(USAGE, file=sys.stderr)
        return 2
    supervisor = Supervisor()
    try:
        if mode == "run":
            read_dotenv(DOTENV)
        plan = make_bare_plan(mode)
        check_data_version(plan)
        if (
            arguments[0] != "manage" and not plan.data_dir.exists()
        ):  # if the folder exists, a message about the process that uses it helps more than one about a port
            check_ports(plan)
        if mode == "run":
            make_dotenv(supervisor, DOTENV)  # after the checks, so that a start that fails leaves no file
        if arguments[0] == "manage":
            run_manage(mode, arguments[2:])
        full_plan = make_plan(mode)
        with lock_folder(full_plan.data_dir), supervisor.handle_signals(), contextlib.ExitStack() as stack:
            stack.callback(supervisor.stop)
            return launch(full_plan, supervisor, once="--once" in arguments)
    except (LaunchError, EmbeddedError) as error:
        supervisor.print_line(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
