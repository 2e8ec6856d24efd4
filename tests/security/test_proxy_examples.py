"""docs/proxy: each example passes messages, keeps slow clients from the bridge, forges no address, and holds no answer back."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest
from axes.models import AccessAttempt

from accounts import capabilities
from bridge.models import Message
from channels_wechat.weixin.official_account import OfficialAccount
from tests.replies.passive import pushed
from tests.support.callbacks import from_app, web_server
from tests.support.factories import app, official
from tests.support.proxy import HOST, PROXIES, REPLY_DIVISOR, needed, proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
# The five seconds of WeChat, in the time of the proxies of these tests.
HELD_SECONDS = 5 / REPLY_DIVISOR


@pytest.fixture
def _open_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the server: a stranger gets the form's token by loading the page once."""
    monkeypatch.setattr("django.middleware.csrf.CsrfViewMiddleware.process_view", lambda *_: None)


@pytest.fixture(params=PROXIES)
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    needed(request.param)
    with web_server() as web, web_server(pages=False) as callbacks:
        ports = (urlsplit(web).port or 0, urlsplit(callbacks).port or 0)
        with proxy(request.param, *ports, tmp_path) as found:
            yield found


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode()


def exchange(port: int, request: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(request)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := line.recv(65536):
                found += piece
    return int(found.split(b" ", 2)[1]) if found else 0, found


def post(port: int, path: str, body: bytes, *lines: str) -> tuple[int, bytes]:
    return exchange(port, head("POST", path, f"Content-Length: {len(body)}", "Connection: close", *lines) + body)


def deliver(port: int, key: Any, msgid: int) -> int:
    body, query = from_app(msgid=msgid)
    return post(port, f"/callbacks/{key}?{urlencode(query)}", body)[0]


def test_messages_and_pages_pass(port: int) -> None:
    account = app()
    assert deliver(port, account.key, 1) == 200
    body, query = from_app(msgid=2)
    path = f"/callbacks/{account.key}?{urlencode(query)}"
    chunked = head("POST", path, "Transfer-Encoding: chunked", "Connection: close") + b"%x\r\n%s\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    assert exchange(port, chunked)[0] == 200
    assert Message.objects.count() == 2
    assert exchange(port, head("GET", "/admin/login/", "Connection: close"))[0] == 200
    for inside in ("/metrics", "/readyz"):
        assert exchange(port, head("GET", inside, "Connection: close"))[0] == 404


@pytest.mark.parametrize("path", ["/anything", "/callbacks/{key}"])
def test_slow_bodies_cost_the_bridge_nothing(port: int, path: str) -> None:
    """A hundred that announce a body and send nothing: the example's proxy ends each, and a message passes meanwhile."""
    account = app()
    request = head("POST", path.format(key=account.key), "Content-Length: 1000")
    for number in range(1, 6):  # again where a busy machine needed so long for the message that the others were over
        with contextlib.ExitStack() as stack:
            lines = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(90)]
            for line in lines:
                line.sendall(request)
            assert deliver(port, account.key, number) == 200
            passed_meanwhile = not select.select(lines[-1:], [], [], 0)[0]
            for line in lines:  # until the server closes, within the time of the socket
                with contextlib.suppress(ConnectionResetError):
                    while line.recv(65536):
                        pass
        assert Message.objects.count() == number
        if passed_meanwhile:
            break
    assert passed_meanwhile


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X_Forwarded_For", "x_forwarded-for", "Forwarded"])
@pytest.mark.usefixtures("_open_login")
def test_nobody_forges_an_address(port: int, name: str) -> None:
    form = urlencode({"username": "li", "password": "wrong"}).encode()
    kind = "Content-Type: application/x-www-form-urlencoded"
    assert post(port, "/admin/login/", form, kind, f"{name}: 198.51.100.66")[0] == 200
    # The proxy's own word counts: it heard the client on this machine.
    assert AccessAttempt.objects.get().ip_address == "127.0.0.1"


def test_an_answer_in_the_reply_is_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as WeChat waits, and it comes when it is there."""
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 60.0)
    monkeypatch.setattr(OfficialAccount, "last_seconds", HELD_SECONDS)
    monkeypatch.setattr(OfficialAccount, "deliveries", 1)
    capabilities._known.clear()
    account = official(answers="passive")
    body, query = pushed("hello", 1)
    began = time.monotonic()
    status, reply = post(port, f"/callbacks/{account.key}?{urlencode(query)}", body)
    assert status == 200
    assert b"<Encrypt>" in reply
    assert HELD_SECONDS <= time.monotonic() - began < HELD_SECONDS + 20
