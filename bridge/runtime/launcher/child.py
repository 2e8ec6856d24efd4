"""Become another program that cannot outlive the process which started it.

Run as a script, `python -I -S child.py PARENT_PID SIGNAL USER PROGRAM ARG…`, between fork and the real program, because work of this kind
in a `preexec_fn` is unsafe once the parent has threads. Linux sends SIGNAL (prctl(2), PR_SET_PDEATHSIG) when the thread that forked us
ends, by kill -9 too, so start children from a main thread. USER says whose rights the program gets:

* `same`: ours.
* `namespace`: uid 65534 inside a user namespace in which 65534 is ourselves (user_namespaces(7)). PostgreSQL refuses to run as root; this
  way it does not see root, its files stay ours, and no user is added and no folder opened to others.
* `nobody`: uid 65534 for real, for root where user namespaces are disabled, and a group of its own: the folders are closed to other
  processes of that uid.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

NOBODY = 65534
GROUP = 65432  # has no name, so that nobody else is in it; below 65536, as containers have no more
CLONE_NEWUSER = 0x10000000  # <linux/sched.h>
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def _libc(function: str, *args: int) -> None:
    """Call a libc function that answers 0, or raise OSError with its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*args) != 0:
        raise OSError(ctypes.get_errno(), f"{function} failed")


def _enter_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _libc("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(GROUP)
    os.setuid(NOBODY)


def command(program: list[str], death_signal: int, user: str = "same") -> list[str]:
    """The command that runs `program` as `user`, and sends it `death_signal` when this process ends, however it ends."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death_signal)), user, *program]


@cache
def namespaces_work() -> bool:
    """Whether this user may make a user namespace; some systems and most containers forbid it."""
    probe = subprocess.run(command(["/bin/true"], signal.SIGKILL, "namespace"), capture_output=True, check=False)
    return probe.returncode == 0


def main(parent: int, death_signal: int, user: str, program: list[str]) -> None:
    """Never returns: executes `program`, or exits 1 when the parent is gone already."""
    if user == "namespace":
        _enter_namespace()
    elif user == "nobody":
        _become_nobody()
    _libc("prctl", PR_SET_PDEATHSIG, death_signal)  # last, for a change of user clears it
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
