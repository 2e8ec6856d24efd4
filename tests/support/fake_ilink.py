"""iLink on loopback, as far as one account needs it: the login, messages behind a cursor, sending, and a storage for files (facts 8).

Written after the facts, with its own AES. `script` answers the next calls of a path otherwise; everything is recorded.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import secrets
import threading
import time
from collections import defaultdict, deque
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from Crypto.Cipher import AES

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN, BOT, TOKEN = "o9cq80ann@im.wechat", "b1f2@im.bot", "CANARY-bot-token"
Node = dict[str, Any]
WAIT_SECONDS = 20.0


class Request(NamedTuple):
    """headers: as they stood on the wire."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Node:
        return dict(json.loads(self.body or b"{}"))


class Scripted(NamedTuple):
    """answer: instead of what would be answered; done: whether the call is carried out all the same. seconds: before the answer."""

    answer: Node | bytes | None = None
    status: int = 200
    seconds: float = 0.0
    done: bool = False


class FakeIlink(ThreadingHTTPServer):
    """messages: what people wrote, for ever. hold: seconds for which getupdates waits. token: the one that is taken.

    names_full: whether uploads and files get a whole address, else only a parameter for the usual one.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token, self.hold = TOKEN, 0.4
        self.messages: list[Node] = []
        self.sent: list[Node] = []
        self.files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.scripts: dict[str, deque[Scripted]] = defaultdict(deque)
        self.news = threading.Condition()
        self.ids = itertools.count(9223372036854775901)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def script(self, path: str, *answers: Scripted) -> None:
        self.scripts[path].extend(answers)

    def calls(self, path: str) -> list[Request]:
        """Those of a path behind `ilink/bot/`."""
        return [request for request in self.requests if request.path == f"/ilink/bot/{path}"]

    def items(self) -> list[Node]:
        """The items of all that was sent, in order."""
        return [item for message in self.sent for item in message["item_list"]]

    def say(self, text: str = "", *items: Node, from_: str = ANN, context: str = "", **fields: Any) -> Node:
        """Somebody writes. context: the token of an answer; made up where it is not given."""
        number = next(self.ids)
        parts = [{"type": 1, "text_item": {"text": text}}] if text else []
        message = {
            "seq": len(self.messages) + 1, "message_id": number, "from_user_id": from_, "to_user_id": BOT,
            "create_time_ms": int(time.time() * 1000), "message_type": 1, "message_state": 2,
            "context_token": context or f"context-{number}", "item_list": [*parts, *items], **fields,
        }  # fmt: skip
        with self.news:
            self.messages.append(message)
            self.news.notify_all()
        return message

    def keep(self, content: bytes, form: str = "raw") -> Node:
        """Keep a file, encrypted, and return the `media` that names it. form: of its key: "raw", "hex" or "" for no encryption."""
        key, param = secrets.token_bytes(16), secrets.token_urlsafe(12)
        self.files[param] = encrypt(key, content) if form else content
        media: Node = {
            "encrypt_query_param": param,
            "full_url": f"{self.url}/c2c/download?encrypted_query_param={param}",
        }
        named = {"raw": key, "hex": key.hex().encode()}
        return {**media, "aes_key": base64.b64encode(named[form]).decode(), "encrypt_type": 1} if form else media

    def read_sent(self, item: Node) -> bytes:
        """Decrypt the file of an item that was sent, by what the item itself says."""
        media = next(value["media"] for name, value in item.items() if name.endswith("_item"))
        key = bytes.fromhex(base64.b64decode(media["aes_key"]).decode())
        return decrypt(key, self.files[media["encrypt_query_param"]])

    # --- what is asked

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        name = request.path.removeprefix("/ilink/bot/")
        scripted = self.scripts[name].popleft() if self.scripts[name] else None
        if scripted is None:
            return self._carry_out(name, request)
        done = self._carry_out(name, request) if scripted.done or scripted.answer is None else (200, {}, b"")
        time.sleep(scripted.seconds)
        if scripted.answer is None:
            return scripted.status, done[1], done[2]
        body = scripted.answer if isinstance(scripted.answer, bytes) else json.dumps(scripted.answer).encode()
        return scripted.status, {}, body

    def _carry_out(self, name: str, request: Request) -> tuple[int, dict[str, str], bytes]:
        if name.startswith("/c2c/"):
            return self._storage(request)
        is_free = name in ("get_bot_qrcode", "get_qrcode_status")
        if not is_free and request.headers.get("Authorization") != f"Bearer {self.token}":
            return (
                200,
                {},
                json.dumps({"ret": -14, "errmsg": f"session timeout {request.headers['Authorization']}"}).encode(),
            )
        found = getattr(self, name.replace("msg/", ""))(request.json if request.body else {})
        return 200, {}, json.dumps(found).encode()

    def notifystart(self, _body: Node) -> Node:
        return {"ret": 0}

    notifystop = sendtyping = notifystart

    def getupdates(self, body: Node) -> Node:
        """The cursor is the number of messages that were received, in other clothes."""
        cursor = str(body["get_updates_buf"])
        first = int(base64.b64decode(cursor).decode().partition(":")[2]) if cursor else 0
        with self.news:
            self.news.wait_for(lambda: len(self.messages) > first, self.hold)
            fresh = self.messages[first:]
        after = base64.b64encode(f"place:{first + len(fresh)}".encode()).decode()
        return {"ret": 0, "msgs": fresh, "get_updates_buf": after}

    def sendmessage(self, body: Node) -> Node:
        self.sent.append(body["msg"])
        return {"ret": 0, "errmsg": "", "message_id": next(self.ids)}

    def getconfig(self, _body: Node) -> Node:
        return {"ret": 0, "typing_ticket": "ticket-1"}

    def getuploadurl(self, body: Node) -> Node:
        return {
            "ret": 0,
            "upload_full_url": f"{self.url}/c2c/upload?filekey={body['filekey']}",
            "upload_param": "unused",
        }

    def get_bot_qrcode(self, _body: Node) -> Node:
        return {"qrcode": "qr-1", "qrcode_img_content": "https://liteapp.weixin.qq.com/q/qr-1"}

    def get_qrcode_status(self, _body: Node) -> Node:
        return {"status": "wait"}

    def _storage(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.path == "/c2c/upload":
            param = hashlib.sha256(request.body).hexdigest()
            self.files[param] = request.body
            return 200, {"x-encrypted-param": param}, b""
        content = self.files.get(request.query.get("encrypted_query_param", ""))
        return (404, {}, b"gone") if content is None else (200, {}, content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeIlink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        request = Request(parts.path, dict(parse_qsl(parts.query)), dict(self.headers), body)
        self.server.requests.append(request)
        status, headers, content = self.server.answer(request)
        with suppress(OSError):  # the client has gone
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, *words: Any) -> None:
        """Quiet."""


@contextmanager
def fake_ilink() -> Iterator[FakeIlink]:
    server = FakeIlink()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(WAIT_SECONDS)


def encrypt(key: bytes, content: bytes) -> bytes:
    count = 16 - len(content) % 16
    return bytes(AES.new(key, AES.MODE_ECB).encrypt(content + bytes([count]) * count))


def decrypt(key: bytes, content: bytes) -> bytes:
    padded = AES.new(key, AES.MODE_ECB).decrypt(content)
    count = padded[-1]
    assert 1 <= count <= 16
    assert padded.endswith(bytes([count]) * count)
    return bytes(padded[:-count])
