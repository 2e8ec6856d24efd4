"""The proxy examples of docs/proxy, started: with ports of their own, and without the certificates that nobody has here."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "proxy"
HOST = "bridge.example.com"
START_SECONDS = 20


def needed(program: str) -> None:
    """Skips the test where the program is not installed; in CI that is a failure."""
    if shutil.which(program) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"{program} is not installed (Debian: apt-get install {program})"
        )


def _nginx(text: str, port: int, folder: Path) -> tuple[str, list[str]]:
    text = re.sub(r"listen 443 ssl http2;", f"listen 127.0.0.1:{port};", text)
    text = re.sub(r"\n *ssl_certificate.*;", "", text)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = (
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log stderr; worker_rlimit_nofile 8192;\n"
        f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; {places}\n{text}\n}}\n"
    )
    return whole, ["nginx", "-p", str(folder), "-c", str(folder / "config")]


def _caddy(text: str, port: int, folder: Path) -> tuple[str, list[str]]:
    text = text.replace("{\n\tservers {", "{\n\tadmin off\n\tauto_https off\n\tservers {", 1)
    text = re.sub(rf"^{re.escape(HOST)} {{", f"http://{HOST}:{port} {{", text, flags=re.MULTILINE)
    return text, ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "config")]


def _haproxy(text: str, port: int, folder: Path) -> tuple[str, list[str]]:
    text = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", text)
    return text, ["haproxy", "-db", "-f", str(folder / "config")]


PROXIES: dict[str, tuple[str, Callable[[str, int, Path], tuple[str, list[str]]]]] = {
    "nginx": ("nginx.conf", _nginx),
    "caddy": ("Caddyfile", _caddy),
    "haproxy": ("haproxy.cfg", _haproxy),
}


# What a client may take to send a body, in each example: a tenth of it in the tests.
BODY_LIMITS = {
    "nginx": r"(client_body_timeout )(\d+)s;",
    "caddy": r"(read_body )(\d+)s",
    "haproxy": r"(timeout http-request )(\d+)s",
}
# What the bridge may take to answer a callback: so much less than in the example.
REPLY_DIVISOR = 2.5
REPLY_LIMITS = {
    "nginx": r"(location /callbacks/ \{[^}]*proxy_read_timeout )(\d+)s;",
    "caddy": r"(handle /callbacks/\* \{.*?response_header_timeout )(\d+)s",
    "haproxy": r"(backend bridge_callbacks\n.*?timeout server )(\d+)s",
}


def _shorten(text: str, pattern: str, divisor: float) -> str:
    """The example with this limit shortened. Fails where the example does not have it."""
    found = re.search(pattern, text, re.DOTALL)
    assert found, f"the example has no limit like {pattern}"
    return f"{text[: found.start(2)]}{round(int(found[2]) * 1000 / divisor)}ms{text[found.end(2) + 1 :]}"


@contextlib.contextmanager
def proxy(name: str, web: int, callbacks: int, folder: Path) -> Iterator[int]:
    """The example before these two ports. Gives the port where it listens."""
    file, adapt = PROXIES[name]
    port = free_port()
    text = (
        (EXAMPLES / file)
        .read_text()
        .replace("127.0.0.1:8000", f"127.0.0.1:{web}")
        .replace("127.0.0.1:8003", f"127.0.0.1:{callbacks}")
    )
    text = _shorten(_shorten(text, BODY_LIMITS[name], 10), REPLY_LIMITS[name], REPLY_DIVISOR)
    config, command = adapt(text, port, folder)
    (folder / "config").write_text(config)
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=env) as process:
        try:
            _await(port, process, folder / "log")
            yield port
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the proxy did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
