"""What every channel kind is tested with: a recorder that plays the platform on the wire, and the shape of the cases.

A test lists cases (callback → message; content → exact request; answer → receipt or error) and never patches our functions.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class Recorded:
    """One request as it stood on the wire."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What the recorder answers. fault: "reset" or "close" after reading the request, "hang" until the client gives up."""

    body: bytes = b'{"errcode":0,"errmsg":"ok"}'
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json; charset=UTF-8"),)
    fault: str = ""
    closes: bool = False


def says(errcode: int = 0, errmsg: str = "ok", **more: Any) -> Reply:
    return Reply(json.dumps({"errcode": errcode, "errmsg": errmsg, **more}, ensure_ascii=False).encode())


class Recorder(ThreadingHTTPServer):
    """Keeps every request; answers with what was queued by `will`, in order, then with errcode 0."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hung_up = threading.Event()
        self.requests: list[Recorded] = []
        self.connections = 0
        self.replies: deque[Reply] = deque()
        self.released = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def will(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.hung_up.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of some tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        recorded = Recorded(self.command, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), body)
        self.server.requests.append(recorded)
        reply = self.server.replies.popleft() if self.server.replies else Reply()
        if reply.fault:
            self.fail(reply)
        else:
            self.answer(reply)

    do_GET = do_POST = handle_any

    def answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in (*reply.headers, ("Content-Length", str(len(reply.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = reply.closes

    def fail(self, reply: Reply) -> None:
        self.close_connection = True
        if reply.fault == "hang":
            self.server.released.wait(20)
        if reply.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *words: Any) -> None:
        """Quiet."""


@contextmanager
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class FixedTokens:
    """A TokenSource that counts: `token1`, then `token2` after a renewal."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def current(self) -> str:
        return f"token{len(self.refused) + 1}"

    def renew(self, refused: str) -> str:
        self.refused.append(refused)
        return self.current()


def fixture(kind: str, name: str) -> bytes:
    return next((FIXTURES / kind).glob(f"{name}.*")).read_bytes()


def fixtures(kind: str) -> list[str]:
    return sorted(path.stem for path in (FIXTURES / kind).iterdir())
