"""A container without an engine: the compose file's command in a mount namespace (mount_namespaces(7)) made as Docker would make it.

What is the same: the files (those the Dockerfile copies, collected and compiled by its own RUN line), the command, the environment, the
user without capabilities, a read-only root, a /tmp of its own and the media volume as the only places to write. What is not: the base
image (this machine's Python and libraries stand in), the network, and process 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.production.image import ENV, ROOT, command, compose, copied, dockerfile
from tests.production.processes import Process, environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SERVICES: dict[str, Any] = compose(ENV)["services"]
# $1 tree, $2 static, $3 media, $4 sockets, $5 the interpreter's folder, $6 its virtual environment, $7 ro or rw for the image's own files
# A folder is bound before anything covers the way to it.
_MOUNTS = r"""
set -eu
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /srv/bridge /srv/static /srv/media /srv/spool /srv/sockets /srv/python /srv/venv
mount -t tmpfs -o mode=700,uid=10001,gid=10001 tmpfs /srv/spool
mount --bind "$1" /srv/bridge; mount --bind "$2" /srv/static; mount --bind "$3" /srv/media
mount --bind "$4" /srv/sockets; mount --bind "$5" /srv/python; mount --bind "$6" /srv/venv
top=/$(echo "$5" | cut -d/ -f2)
if [ "$top" != /usr ]; then  # a Python in somebody's home folder, which the user of the container may not enter
    mount -t tmpfs -o mode=755 tmpfs "$top"; mkdir -p "$5"; mount --bind /srv/python "$5"; mount -o remount,ro "$top"
fi
for part in bridge static; do mount -o "remount,bind,$7" /srv/$part; done
mount -o remount,bind,ro /srv/venv; mount -o remount,bind,ro /srv/python; mount -o remount,ro /srv
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -o remount,bind,ro /
shift 7
cd /srv/bridge
exec "$@"
"""


def _as_user(user: str) -> list[str]:
    uid, _, gid = user.partition(":")
    who = ["--reuid", uid, "--regid", gid, "--clear-groups"]
    return ["setpriv", *who, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"]


class Image:
    """Built once in `folder`; `start` makes a container of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree, self.static, self.media = (folder / name for name in ("tree", "static", "media"))
        for place in (self.tree, self.static, self.media):
            place.mkdir(mode=0o755)
        self._copy()
        os.chown(self.media, 10001, 10001)
        self._build()

    def _copy(self) -> None:
        """What COPY would take: of the named folders everything but what .dockerignore leaves out."""
        for source in copied():
            if (ROOT / source).is_dir():
                shutil.copytree(
                    ROOT / source, self.tree / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.mo")
                )
            else:
                shutil.copy2(ROOT / source, self.tree / source)

    def _build(self) -> None:
        """The Dockerfile's last RUN of its first stage, as it stands there."""
        line = ["/bin/sh", "-c", dockerfile()[0].all("RUN")[-1]]
        self._open(line, {"PATH": "/usr/bin:/bin"}, self.folder / "build.log", writable=True).stopped(300)
        built = (self.folder / "build.log").read_text()
        assert (self.static / ".stamp").exists(), built
        assert list(self.tree.rglob("*.pyc")), built

    def environment(self, service: str, **settings: str) -> dict[str, str]:
        """The image's, then .env, then the service's; the test run's servers instead of the two containers."""
        image = dict(word.split("=", 1) for text in dockerfile()[-1].all("ENV") for word in text.split())
        given = environment(self.folder)
        dotenv = {name: given[name] for name in ("SECRET_KEY", "FIELD_KEYS", "PUBLIC_URL", "ALLOWED_PRIVATE_HOSTS")}
        sockets = f"?host={'/srv/sockets'}"
        database = given["DATABASE_URL"].partition("?")[0] + sockets
        servers = {"DATABASE_URL": database, "REDIS_URL": "unix:///srv/sockets/valkey.sock?db=0"}
        here = {"HOST": "127.0.0.1", "PORT": given["PORT"], "CALLBACKS_PORT": given["CALLBACKS_PORT"]}
        return {**image, **dotenv, **SERVICES[service]["environment"], **servers, **here, **settings}

    def start(self, service: str, words: list[str] | None = None, **settings: str) -> Process:
        """The service's container, or another command in one like it."""
        line = [*_as_user(SERVICES[service]["user"]), *(words or command(SERVICES[service]))]
        return self._open(line, self.environment(service, **settings), self.folder / f"{service}.log")

    def check(self, service: str, process: Process) -> subprocess.CompletedProcess[str]:
        """The service's health check, run inside its container."""
        words = SERVICES[service]["healthcheck"]["test"][1:]
        inside = [
            "nsenter",
            "--mount",
            "--target",
            str(process.popen.pid),
            "--wd",
            *_as_user(SERVICES[service]["user"]),
        ]
        return subprocess.run([*inside, *words], env=process.env, capture_output=True, text=True, check=False)

    def _open(self, words: list[str], env: Mapping[str, str], log: Path, *, writable: bool = False) -> Process:
        sockets = parse_qs(urlsplit(os.environ["DATABASE_URL"]).query)["host"][0]
        places = [self.tree, self.static, self.media, sockets, sys.base_prefix, sys.prefix, "rw" if writable else "ro"]
        line = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            _MOUNTS,
            "container",
            *map(str, places),
        ]
        return Process(log.stem, dict(env), log, [*line, *words])
