"""The platform's side of a callback: bodies sealed by wechatpy, sent through the real WSGI application."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import threading
import time
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from wechatpy.crypto import PrpCrypto, WeChatCrypto

from tests.factories import BOT, CORP, KEY, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount


def application(environ: Any, start_response: Any) -> Any:
    """Imported when first called: it sets Django up."""
    from bridge.wsgi import application as real

    return real(environ, start_response)


class Reply:
    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = int(status.split()[0]), dict(headers), body


def call(account: ChannelAccount, body: bytes = b"", query: dict[str, str] | None = None, **environ: Any) -> Reply:
    """One request through `bridge.wsgi.application`, as the web server makes it."""
    started: list[Any] = []
    path = environ.pop("path", f"/callbacks/{account.key}")
    length = environ.pop("length", str(len(body)))
    request = {
        "REQUEST_METHOD": "POST" if body else "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": urlencode(query or {}),
        "SERVER_NAME": "bridge.example",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": length,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **environ,
    }
    with _within_the_test():
        result = application(request, lambda status, headers, _info=None: started.append((status, headers)))
        try:
            content = b"".join(result)
        finally:
            getattr(result, "close", lambda: None)()
    return Reply(*started[0], content)


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


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 128


class _Quiet(WSGIRequestHandler):
    def log_message(self, *words: Any) -> None:
        """Quiet."""

    def log_error(self, *words: Any) -> None:
        """A client that went away is part of some tests."""


@contextmanager
def web_server() -> Iterator[str]:
    """`bridge.wsgi.application` on a free port, a thread for each request."""
    with make_server("127.0.0.1", 0, application, _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)
