"""Replaces itself by another program, which ends when the process that started it ends.

Run as a script, `python -I -S child.py PARENT_PID SIGNAL USER PROGRAM ARG…`, between fork and the real program, because a `preexec_fn`
is unsafe if the parent has threads. Linux sends SIGNAL (prctl(2), PR_SET_PDEATHSIG) when the thread that forked us
ends, by kill -9 too, so start children from a main thread. USER is the user that the program runs as:

* `same`: the user of this process.
* `namespace`: uid 65534 inside a user namespace, which is the user of this process outside (user_namespaces(7)). PostgreSQL refuses to
  run as root. In the namespace it is not root, its files keep their owner, no user is added, and no folder is opened to others.
* `nobody`: the real uid 65534, if this process is root and user namespaces are disabled, with a group of its own, so that other
  processes with that uid cannot open the folders.
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
GROUP = 65432  # has no name, so that no other user is in it; below 65536, because containers have no higher ids
CLONE_NEWUSER = 0x10000000  # <linux/sched.h>
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def _call_libc(function: str, *args: int) -> None:
    """Call a libc function that returns 0 on success; else raise OSError with its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*args) != 0:
        raise OSError(ctypes.get_errno(), f"{function} failed")


def _enter_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _call_libc("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(GROUP)
    os.setuid(NOBODY)


def make_command(program: list[str], death_signal: int, user: str = "same") -> list[str]:
    """Make the command that runs `program` as `user`. The program gets `death_signal` when this process ends, even by kill -9."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death_signal)), user, *program]


@cache
def can_use_namespaces() -> bool:
    """Whether this user may create a user namespace; some systems and most containers forbid it."""
    probe = subprocess.run(make_command(["/bin/true"], signal.SIGKILL, "namespace"), capture_output=True, check=False)
    return probe.returncode == 0


def main(parent: int, death_signal: int, user: str, program: list[str]) -> None:
    """Execute `program`, or exit with 1 if the parent has ended already. Never returns."""
    if user == "namespace":
        _enter_namespace()
    elif user == "nobody":
        _become_nobody()
    _call_libc("prctl", PR_SET_PDEATHSIG, death_signal)  # last, because a change of the user clears it
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
