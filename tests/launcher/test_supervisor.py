"""The supervisor with small programs: their lines, their restarts, and how everything ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bridge.runtime.launcher import launch
from bridge.runtime.launcher.supervisor import Supervisor, make_child
from tests.launcher.supervising import ROOT, said
from tests.launcher.test_embedded import ended, eventually

if TYPE_CHECKING:
    from pathlib import Path

# Says its pid and stays; with "child" as an argument it first starts another like itself.
SLEEPER = """
import os, subprocess, sys, time
if sys.argv[1:] == ["child"]: subprocess.Popen([sys.executable, __file__])
print("pid", os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> str:
    path = tmp_path / "sleeper.py"
    path.write_text(SLEEPER)
    return str(path)


def pids(supervisor: Supervisor) -> list[int]:
    return [int(found) for found in re.findall(r"pid (\d+)", said(supervisor))]


def wait_for(supervisor: Supervisor, pattern: str, count: int = 1) -> None:
    deadline = time.monotonic() + 30
    assert supervisor.run(lambda: len(re.findall(pattern, said(supervisor))) >= count or time.monotonic() > deadline)
    assert len(re.findall(pattern, said(supervisor))) >= count, said(supervisor)


def shell(name: str, script: str, *, restart: bool = False) -> launch.Child:
    return make_child(name, ["/bin/sh", "-c", script], os.environ, restart=restart)


def test_lines_are_passed_on_behind_the_name(supervisor: Supervisor) -> None:
    code = supervisor.run_to_end(shell("greeter", r"printf 'one\n你好\nno end'; printf 'bad \377\n' >&2; exit 3"))
    assert code == 3
    assert said(supervisor) == "greeter   | one\ngreeter   | 你好\ngreeter   | no endbad \N{REPLACEMENT CHARACTER}\n"


def test_the_last_line_needs_no_end_and_a_long_one_is_cut(supervisor: Supervisor) -> None:
    supervisor.run_to_end(shell("writer", "head -c 200000 /dev/zero | tr '\\0' x; printf '\nrest'"))
    wait_for(supervisor, "rest")
    lines = [line.removeprefix("writer    | ") for line in said(supervisor).splitlines()]
    assert "".join(lines) == "x" * 200_000 + "rest"
    assert len(lines) > 2


def test_a_killed_child_is_started_again(supervisor: Supervisor, sleeper: str) -> None:
    child = supervisor.add(make_child("web", [sys.executable, sleeper], os.environ))
    wait_for(supervisor, r"pid \d+")
    assert child.process
    child.process.kill()
    wait_for(supervisor, r"pid \d+", 2)
    assert "web ended (SIGKILL); starting it again in 0.5 s" in said(supervisor)


def test_the_pause_grows_while_a_child_keeps_failing(supervisor: Supervisor) -> None:
    supervisor.add(shell("worker", "exit 1", restart=True))
    wait_for(supervisor, "starting it again", 3)
    assert re.findall(r"exit code 1.; starting it again in ([\d.]+) s", said(supervisor)) == ["0.5", "1", "2"]


def test_what_a_killed_child_leaves_behind_is_ended(supervisor: Supervisor, sleeper: str) -> None:
    child = supervisor.add(make_child("web", [sys.executable, sleeper, "child"], os.environ, restart=False))
    wait_for(supervisor, r"pid \d+", 2)
    assert child.process
    child.process.kill()
    supervisor.run(lambda: child.exit_code is not None)
    eventually(lambda: all(ended(pid) for pid in pids(supervisor)))


def test_stop_ends_children_and_then_servers(supervisor: Supervisor, sleeper: str) -> None:
    server = supervisor.add(make_child("server", [sys.executable, sleeper], os.environ))
    server.server = True
    supervisor.add(make_child("web", [sys.executable, sleeper, "child"], os.environ))
    wait_for(supervisor, r"pid \d+", 3)
    supervisor.stop()
    eventually(lambda: all(ended(pid) for pid in pids(supervisor)))
    assert said(supervisor).index("Stopping web") < said(supervisor).index("Stopping server")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_loop(supervisor: Supervisor, number: int) -> None:
    before = signal.getsignal(number)
    with supervisor.handle_signals():
        assert supervisor.run_to_end(shell("sender", f"kill -{number} {os.getpid()}; sleep 600")) == 130
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_wait_for_a_deaf_child(supervisor: Supervisor) -> None:
    with supervisor.handle_signals():
        supervisor.add(shell("deaf", "trap '' TERM; echo ready; sleep 600 & wait; wait"))
        wait_for(supervisor, "ready")
        sender = subprocess.Popen(["/bin/sh", "-c", f"kill -2 {os.getpid()}; sleep 1; kill -2 {os.getpid()}"])
        assert not supervisor.run()
        started = time.monotonic()
        supervisor.stop()
        assert time.monotonic() - started < 15
        sender.wait()


def test_a_reader_who_went_away_stops_everything() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    out = os.fdopen(writing, "w")
    supervisor = Supervisor(out)
    supervisor.print_line("nobody hears this")
    assert supervisor.stopping
    assert not supervisor.run()
    with pytest.raises(BrokenPipeError):
        out.close()


def test_children_end_when_the_supervisor_is_killed(sleeper: str) -> None:
    script = f"""
import os, sys
from bridge.runtime.launcher.supervisor import Supervisor, make_child
supervisor = Supervisor()
for name in ("web", "worker"):
    supervisor.add(make_child(name, [sys.executable, {sleeper!r}], os.environ))
supervisor.run()
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        children = [int(killed.stdout.readline().split()[-1]) for _child in range(2)]
        killed.kill()
    eventually(lambda: all(ended(pid) for pid in children))


MAKEFILE = "run:\n\t@exec {python} -c '{code}'\n"
WAITS_FOR_MAKE = (
    "from bridge.runtime.launcher.supervisor import Supervisor; s = Supervisor(); "
    'print("up", flush=True); s.run(); print("down", flush=True)'
)


# A shell starts what runs in its background deaf to SIGINT, and every child inherits that.
HEARS_INTERRUPTS = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)


def test_an_interrupt_of_make_alone_ends_the_loop(tmp_path: Path) -> None:
    """make passes SIGINT to nobody: it waits for its child, which has to notice."""
    (tmp_path / "Makefile").write_text(MAKEFILE.format(python=sys.executable, code=WAITS_FOR_MAKE))
    made = subprocess.Popen(
        [sys.executable, "-c", HEARS_INTERRUPTS, "make", "-C", str(tmp_path), "run"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(launch.BASE_DIR)},
        start_new_session=True,
    )
    with made:
        assert made.stdout
        lines = iter(made.stdout.readline, "")
        assert any(line.strip() == "up" for line in lines)
        made.send_signal(signal.SIGINT)
        try:
            assert any(line.strip() == "down" for line in lines)
        finally:
            os.killpg(made.pid, signal.SIGKILL)
