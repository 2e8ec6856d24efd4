"""Requests to the real web server."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests

from tests.support.callbacks import call, from_app

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

RIGHT = "correct horse battery"
STRANGER = "203.0.113.7"


def connect(web: str, data: bytes = b"") -> socket.socket:
    line = socket.create_connection(("127.0.0.1", urlsplit(web).port or 0), timeout=30)
    line.sendall(data)
    return line


def answered(line: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := line.recv(65536):
            found += piece
    return found


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: bridge.example", *lines, "", ""]).encode()


def deliver(web: str, account: ChannelAccount, msgid: int) -> requests.Response:
    body, query = from_app(msgid=msgid)
    return requests.post(f"{web}/callbacks/{account.key}", body, params=query, timeout=20)


async def nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def guess(account: ChannelAccount, name: str, address: str = STRANGER, password: str = "wrong", **more: Any) -> Any:
    body = urlencode({"username": name, "password": password}).encode()
    kind = "application/x-www-form-urlencoded"
    return call(account, body, path="/admin/login/", CONTENT_TYPE=kind, REMOTE_ADDR=address, **more)
