"""A callback receiver on loopback whose crypto is wechatpy's, so that the simulator is checked by a third party."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import xmltodict
from wechatpy.utils import check_signature
from wechatpy.work.crypto import PrpCrypto, WeChatCrypto

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
TOKEN = "QDG6eK"
CORP = "wwsimulator"


@dataclass
class Received:
    query: dict[str, str]
    plain: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.plain)

    @property
    def xml(self) -> dict[str, Any]:
        return xmltodict.parse(self.plain)["xml"]

    @property
    def is_poll(self) -> bool:
        return self.plain.startswith("{") and self.json.get("msgtype") == "stream"


def nothing(received: Received) -> Any:
    return None


class Receiver:
    """`answer(received)` returns None (empty 200), a status, an object (encrypted) or raw bytes.

    `reads` opens a callback's body; WeCom's by default.
    """

    def __init__(self, reads: Callable[[str, dict[str, str]], str] | None = None) -> None:
        self.reads = reads or opened
        self.received: list[Received] = []
        self.answer: Callable[[Received], Any] = nothing
        self.echo: Callable[[str], tuple[int, str]] = lambda plain: (200, plain)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"

    @property
    def messages(self) -> list[Received]:
        return [received for received in self.received if not received.is_poll]

    @property
    def polls(self) -> list[Received]:
        return [received for received in self.received if received.is_poll]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, True).items()}
                status, text = receiver.echo(echoed(query))
                self._respond(status, text.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                received = Received(query, receiver.reads(body, query), dict(self.headers))
                receiver.received.append(received)
                answer = receiver.answer(received)
                if isinstance(answer, int):
                    self._respond(answer, b"refused")
                elif isinstance(answer, bytes):
                    self._respond(200, answer)
                else:
                    self._respond(200, sealed(answer, query) if answer else b"")

            def _respond(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                with contextlib.suppress(ConnectionError):  # who was kept waiting has hung up
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler


def echoed(query: dict[str, str]) -> str:
    """WeCom's echostr is encrypted, WeChat's is clear."""
    if "msg_signature" not in query:
        check_signature(TOKEN, query["signature"], query["timestamp"], query["nonce"])
        return query["echostr"]
    crypto = WeChatCrypto(TOKEN, KEY, query.get("as", CORP))
    return crypto.check_signature(query["msg_signature"], query["timestamp"], query["nonce"], query["echostr"])


def opened(body: str, query: dict[str, str]) -> str:
    """The plaintext as wechatpy reads it: XML of an app, JSON of an AI bot with the empty receiveid."""
    signed = query["msg_signature"], query["timestamp"], query["nonce"]
    if body.startswith("{"):
        return WeChatCrypto(TOKEN, KEY, "").decrypt_message({"Encrypt": json.loads(body)["encrypt"]}, *signed)
    return WeChatCrypto(TOKEN, KEY, CORP).decrypt_message(body, *signed)


def sealed(answer: Any, query: dict[str, str], **changes: Any) -> bytes:
    """A passive reply: a text is XML of an app, anything else JSON of an AI bot."""
    nonce, timestamp = query["nonce"], int(time.time())
    if isinstance(answer, str):
        return WeChatCrypto(TOKEN, KEY, CORP).encrypt_message(answer, nonce, str(timestamp)).encode()
    crypto = WeChatCrypto(TOKEN, KEY, "")
    encrypted = PrpCrypto(crypto.key).encrypt(json.dumps(answer, ensure_ascii=False), "").decode()
    parts = sorted((TOKEN, str(timestamp), nonce, encrypted))
    given = hashlib.sha1("".join(parts).encode()).hexdigest()
    reply = {"encrypt": encrypted, "msgsignature": given, "timestamp": timestamp, "nonce": nonce} | changes
    return json.dumps(reply).encode()
