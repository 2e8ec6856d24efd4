"""The platform's side of a callback: bodies sealed by wechatpy, sent through the real ASGI application."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import queue
import secrets
import socket
import threading
import time
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.utils.datastructures import CaseInsensitiveMapping
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from wechatpy.crypto import PrpCrypto, WeChatCrypto

from bridge.runtime.conf.capacity import HEAD_SECONDS
from tests.support.factories import BOT, CORP, KEY, TOKEN
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accounts.models import ChannelAccount


class CallerThread(Executor):
    """Does the work of the web process's threads in the thread that asks: there the test's transaction is."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self.work.put(do)
        return future

    def serve(self) -> None:
        """Until None comes."""
        while (work := self.work.get()) is not None:
            work()


class Reply:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start, *parts = messages or [{"status": 0, "headers": []}]
        self.status: int = start["status"]
        names = (tuple(each.decode("latin-1") for each in line) for line in start["headers"])
        self.headers = CaseInsensitiveMapping(dict(names))
        self.body = b"".join(part.get("body", b"") for part in parts)


def call(account: ChannelAccount, body: bytes = b"", query: dict[str, str] | None = None, **environ: Any) -> Reply:
    """One request through `bridge.asgi.Application`. environ: HTTP_*, REQUEST_METHOD, REMOTE_ADDR, path, length,
    pieces of the body, headers whose names are as they stand; breaks: the connection ends before the reply's body is
    sent; gone: before there is a reply."""
    pieces, more = environ.pop("pieces", [body]), environ.pop("headers", {})
    length = environ.pop("length", str(len(body)) if body else "")
    path = environ.pop("path", f"/callbacks/{account.key}")
    headers = {"host": "bridge.example", **({"content-length": length} if length else {})}
    headers |= {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name[:5] == "HTTP_"}
    if "CONTENT_TYPE" in environ:
        headers["content-type"] = environ["CONTENT_TYPE"]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": environ.get("REQUEST_METHOD") or ("POST" if any(pieces) else "GET"),
        "scheme": environ.get("wsgi.url_scheme", "https"),
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query or {}).encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in {**headers, **more}.items()],
        "client": (environ.get("REMOTE_ADDR", "127.0.0.1"), 1),
        "server": ("bridge.example", 443),
    }
    return Reply(_exchange(scope, pieces, breaks=environ.get("breaks", False), gone=environ.get("gone", False)))


def _exchange(scope: dict[str, Any], pieces: list[bytes], *, breaks: bool, gone: bool) -> list[dict[str, Any]]:
    """The event loop has a thread of its own; what it leaves to threads is done in this one."""
    from bridge.asgi import Application
    from bridge.runtime.web.threads import Threads

    here, sent = CallerThread(), []
    waiting = deque(pieces)

    async def receive() -> dict[str, Any]:
        if gone and not waiting:
            for _turn in range(10):  # a web server tells it in its own time
                await asyncio.sleep(0)
            return {"type": "http.disconnect"}
        piece = waiting.popleft() if waiting else b""
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        if breaks and message["type"] == "http.response.body":
            raise ConnectionResetError
        sent.append(message)

    async def exchange() -> None:
        application = Application(pages=True, threads=Threads(here, here, here, here, here, here))
        try:
            with contextlib.suppress(ConnectionResetError):
                await application(scope, receive, send)
            await application.callbacks.settle()
        finally:
            application.callbacks.slots.close()
            here.work.put(None)

    loop = threading.Thread(target=asyncio.run, args=[exchange()])
    with _within_the_test():
        loop.start()
        here.serve()
        loop.join()
    return sent


@contextmanager
def _within_the_test() -> Iterator[None]:
    """As Django's own test client: the end of a request must not end the connection that holds the test's transaction."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in signals:
            signal.connect(close_old_connections)


def signed(ciphertext: str, nonce: str = "", timestamp: str = "") -> dict[str, str]:
    nonce, timestamp = nonce or secrets.token_hex(5), timestamp or str(int(time.time()))
    signature = hashlib.sha1("".join(sorted((TOKEN, timestamp, nonce, ciphertext))).encode()).hexdigest()
    return {"msg_signature": signature, "timestamp": timestamp, "nonce": nonce}


def from_app(
    text: str = "hello", msgid: int = 1, sender: str = "zhangsan", xml: str = ""
) -> tuple[bytes, dict[str, str]]:
    """Body and query of an app's callback."""
    plain = xml or (
        f"<xml><ToUserName>{CORP}</ToUserName><FromUserName>{sender}</FromUserName><CreateTime>{int(time.time())}</CreateTime>"
        f"<MsgType>text</MsgType><Content>{text}</Content><MsgId>{msgid}</MsgId><AgentID>1000002</AgentID></xml>"
    )
    sealed = WeChatCrypto(TOKEN, KEY, CORP).encrypt_message(plain, "nonce", str(int(time.time())))
    ciphertext = sealed.partition("<Encrypt><![CDATA[")[2].partition("]]>")[0]
    body = f"<xml><ToUserName>{CORP}</ToUserName><AgentID>1000002</AgentID><Encrypt>{ciphertext}</Encrypt></xml>"
    return body.encode(), signed(ciphertext)


def from_bot(**fields: Any) -> tuple[bytes, dict[str, str]]:
    """Body and query of a bot's callback: by default a text in a group."""
    message: dict[str, Any] = {
        "msgid": "CAIQ1", "aibotid": BOT, "chatid": "wrGroup", "chattype": "group", "from": {"userid": "zhangsan"},
        "msgtype": "text", "text": {"content": "@Robot A hello"}, "response_url": "https://reply/?response_code=secret", **fields,
    }  # fmt: skip
    ciphertext = PrpCrypto(base64.b64decode(KEY + "=")).encrypt(json.dumps(message), "").decode()
    return json.dumps({"encrypt": ciphertext}).encode(), signed(ciphertext)


def poll(stream: str) -> tuple[bytes, dict[str, str]]:
    body = {"msgtype": "stream", "stream": {"id": stream}, "msgid": secrets.token_hex(8)}
    return from_bot(**{**body, "text": None, "response_url": None})


def opened(body: bytes) -> dict[str, Any]:
    """A bot's passive reply in the clear."""
    found: dict[str, Any] = json.loads(PrpCrypto(base64.b64decode(KEY + "=")).decrypt(json.loads(body)["encrypt"], ""))
    return found


@contextmanager
def web_server(*, pages: bool = True) -> Iterator[str]:
    """The application behind the real web server, on a free port and in a thread of this process."""
    from bridge.asgi import Application

    application = Application(pages=pages)
    port = free_port()
    started: Future[tuple[asyncio.AbstractEventLoop, Server]] = Future()

    async def serve() -> None:
        server = Server(
            application,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            backpressure=4096,
            http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000),
        )
        started.set_result((asyncio.get_running_loop(), server))
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
    thread.start()
    loop, server = started.result(10)
    try:
        _await(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join(15)
        application.close()


def _await(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
