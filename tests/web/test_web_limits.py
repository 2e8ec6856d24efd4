"""What a stranger can cost: slow, many or large requests through the real web server. Callbacks go on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import resource
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import pytest
import requests
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client

from bridge.models import Message
from bridge.runtime.conf import capacity
from bridge.runtime.web import pages
from bridge.runtime.web.http import Request
from bridge.runtime.web.threads import Threads
from bridge.security import proxies
from tests.support.callbacks import call, from_app, web_server
from tests.support.factories import app, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
RIGHT = "correct horse battery"
STRANGER = "203.0.113.7"


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@pytest.fixture(autouse=True)
def _fast(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def web() -> Iterator[str]:
    with web_server() as url:
        yield url


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


# --- slow ones


@pytest.mark.parametrize("path", ["/anything", "/admin/login/", "/api/v1/messages/", "/callbacks/{key}"])
def test_slow_bodies_hold_nothing_and_are_ended(
    web: str, account: ChannelAccount, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than there are threads; each announces a body and sends nothing."""
    monkeypatch.setattr(capacity, "CALLBACK_BODY_SECONDS", 3)
    monkeypatch.setattr(capacity, "ANONYMOUS_BODY_SECONDS", 3)
    request = head("POST", path.format(key=account.key), "Content-Length: 1000")
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connect(web, request)) for _ in range(200)]
        began = time.monotonic()
        assert deliver(web, account, 1).status_code == 200
        assert time.monotonic() - began < 3  # none of them had to end for it
        statuses = {status(answered(line)) for line in lines}
    assert statuses <= {404, 408, 429, 503}
    assert Message.objects.count() == 1


def test_a_connection_that_says_nothing_is_closed_and_keeps_nobody_out(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.callbacks.HEAD_SECONDS", 3)
    with web_server() as web, contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connect(web, said)) for said in [b"", b"GET / HT"] * 300]
        began = time.monotonic()
        assert deliver(web, account, 1).status_code == 200
        assert time.monotonic() - began < 3
        assert {answered(line) for line in lines} == {b""}


# --- bodies


async def nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(("limit", "read"), [(1200, 3), (1199, 3), (400, 2), (399, 1)])
def test_a_body_without_a_length_is_read_to_its_limit(limit: int, read: int) -> None:
    """In chunks nobody declares how much is to come: what is behind the limit is not even asked for."""
    pieces = [{"type": "http.request", "body": b"x" * 400, "more_body": number < 2} for number in range(3)]
    rest = iter(pieces)

    async def receive() -> dict[str, Any]:
        return next(rest)

    request = Request({"method": "POST", "path": "/", "headers": []}, receive)
    body = asyncio.run(request.body(limit, 5))
    assert (body, len(list(rest))) == (b"x" * 1200 if limit == 1200 else None, 3 - read)


def test_a_callback_in_chunks_is_read(web: str, account: ChannelAccount) -> None:
    body, query = from_app("你好")
    reply = requests.post(f"{web}/callbacks/{account.key}", iter([body[:10], body[10:]]), params=query, timeout=20)
    assert reply.status_code == 200
    assert Message.objects.get().text == "你好"


def test_the_api_reads_chunks_too(web: str) -> None:
    reply = requests.post(
        f"{web}/api/v1/messages/",
        iter([b'{"te', b'xt": "x"}']),
        headers={"Content-Type": "application/json"},
        timeout=20,
    )
    assert reply.status_code == 401  # read whole, and asked who it is


@pytest.mark.parametrize("length", ["-1", "nonsense", "1, 2"])
def test_a_length_that_is_none_is_refused(web: str, account: ChannelAccount, length: str) -> None:
    body, query = from_app()
    path = f"/callbacks/{account.key}?{urlencode(query)}"
    with connect(web, head("POST", path, f"Content-Length: {length}") + body) as line:
        assert status(answered(line)) == 400
    assert not Message.objects.exists()


@pytest.mark.parametrize(("length", "declared"), [("12", 12), ("", 0), ("-1", 0), ("\u00b2", 0), ("nonsense", 0)])
def test_a_length_that_cannot_be_read_declares_nothing(length: str, declared: int) -> None:
    headers = [(b"content-length", length.encode("latin-1"))]
    assert Request({"method": "POST", "path": "/", "headers": headers}, nothing).declared_length == declared


def temporary() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("*.upload*")) | set(Path(tempfile.gettempdir()).glob("tmp*"))


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/admin/login/", "/admin/nowhere/", "/api/v1/messages/", "/api/nowhere"]
)
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_nobody_unknown_uploads(
    web: str, path: str, chunked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the machine's own is used by others too
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {30 * capacity.MIB}"
    piece = b"x" * 65536
    before = temporary()
    with connect(web, head("POST", path, how, "Content-Type: multipart/form-data; boundary=x")) as line:
        with contextlib.suppress(OSError):
            for _ in range(30 * 16):
                line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        reply = answered(line)
    assert not reply or status(reply) in (404, 413)  # the server may have closed before the answer was read
    assert temporary() <= before


def logged_in() -> dict[str, str]:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password=RIGHT))
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}


@pytest.mark.parametrize(
    ("path", "expected"), [("/api/v1/messages/", {400, 403}), ("/api/nowhere", {413}), ("/admin/nowhere/", {413})]
)
def test_who_is_logged_in_uploads_to_pages_that_exist(web: str, path: str, expected: set[int]) -> None:
    files = {"file": ("a.bin", b"x" * 3 * capacity.MIB)}
    assert requests.post(f"{web}{path}", files=files, headers=logged_in(), timeout=20).status_code in expected


# --- addresses and heads


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), 200),
        (("X-Forwarded-For: " + STRANGER,), 200),
    ],
)
def test_a_page_is_served(web: str, lines: tuple[str, ...], expected: int) -> None:
    with connect(web, head("GET", "/admin/login/", "Connection: close", *lines)) as line:
        reply = answered(line)
    assert status(reply) == expected
    assert b"csrfmiddlewaretoken" in reply


def test_static_files_are_served_whole(web: str) -> None:
    page = requests.get(f"{web}/admin/login/", timeout=20, headers={"Host": "bridge.example"}).text
    paths = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert paths
    for path in paths:
        reply = requests.get(f"{web}{path}", timeout=20)
        assert (reply.status_code, len(reply.content) > 0) in ((200, True), (404, True))  # tests collect no files


def test_a_long_address_is_refused_and_written_nowhere(web: str, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/" + "a" * 60_000, "/admin/?q=" + "a" * 60_000, "/callbacks/" + "a" * 60_000):
        with connect(web, head("GET", path, "Connection: close")) as line:
            assert status(answered(line)) == 414
    assert sum(len(record.getMessage()) for record in caplog.records) < 2000


@pytest.mark.parametrize("host", ["a b", "evil.example/", "[::1", "a" * 5000, "\xff"])
def test_a_bad_host_is_refused_without_a_traceback(
    web: str, host: str, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["bridge.example"]
    request = f"GET /admin/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
    with connect(web, request) as line:
        assert status(answered(line)) == 400
    assert [record for record in caplog.records if record.exc_info] == []


def test_two_hosts_are_refused_without_a_traceback(web: str, caplog: pytest.LogCaptureFixture) -> None:
    request = b"GET /admin/ HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connect(web, request) as line:
        assert status(answered(line)) == 400
    assert [record for record in caplog.records if record.name.startswith("django")] == []


def test_a_path_that_nobody_knows_never_comes_to_django(web: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for path in ("/wp-login.php", "/.env", "/adminx", "/API/v1"):
        assert requests.get(f"{web}{path}", timeout=20).status_code == 404
    assert [record for record in caplog.records if record.name.startswith("django")] == []


# --- who is calling


@pytest.mark.usefixtures("_without_csrf")
@pytest.mark.parametrize("name", ["x_forwarded_for", "x_forwarded-for", "x-forwarded_for"])
def test_header_names_with_underscores_are_dropped(account: ChannelAccount, settings: Any, name: str) -> None:
    """`X_Forwarded_For` is `HTTP_X_FORWARDED_FOR` to whatever speaks CGI, and proxies let it pass."""
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    guess(account, "li", "127.0.0.1", headers={name: "198.51.100.66"})
    assert AccessAttempt.objects.get().ip_address == "127.0.0.1"
    guess(account, "li", "127.0.0.1", headers={name: "198.51.100.66", "x-forwarded-for": STRANGER})
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {"127.0.0.1", STRANGER}


@pytest.mark.parametrize("name", ["x_forwarded_proto", "x_forwarded-proto", "x-forwarded_proto"])
def test_nobody_forges_https_by_an_underscore(account: ChannelAccount, settings: Any, name: str) -> None:
    """A proxy that sets X-Forwarded-Proto itself lets the other spelling pass."""
    settings.TRUSTED_PROXIES, settings.HTTPS_REDIRECT = ["127.0.0.1"], True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    plain: Any = {"path": "/admin/login/", "wsgi.url_scheme": "http"}
    assert call(account, **plain, headers={"x-forwarded-proto": "https"}).status == 200
    assert call(account, **plain, headers={name: "https"}).status == 302
    assert call(account, **plain, headers={name: "https", "x-forwarded-proto": "http"}).status == 302


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
    ],
)
def test_an_ipv6_caller_counts_by_its_network(client: str, name: str) -> None:
    assert proxies.network(client) == name


# --- many


def guess(account: ChannelAccount, name: str, address: str = STRANGER, password: str = "wrong", **more: Any) -> Any:
    body = urlencode({"username": name, "password": password}).encode()
    kind = "application/x-www-form-urlencoded"
    return call(account, body, path="/admin/login/", CONTENT_TYPE=kind, REMOTE_ADDR=address, **more)


@pytest.fixture
def _without_csrf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger gets a token by loading the page once."""
    monkeypatch.setattr("django.middleware.csrf.CsrfViewMiddleware.process_view", lambda *_: None)


@pytest.mark.usefixtures("_without_csrf")
def test_one_password_on_many_names_meets_a_limit_that_says_when_to_come_again(account: ChannelAccount) -> None:
    replies = [guess(account, f"name-{number}") for number in range(66)]
    statuses = [reply.status for reply in replies]
    assert statuses == [200] * 30 + [429] * 36
    assert AccessAttempt.objects.count() == 30
    assert "Try again in 15 minutes" in replies[-1].body.decode()
    assert int(replies[-1].headers["retry-after"]) > 0
    assert guess(account, "other", "203.0.113.8").status == 200


@pytest.mark.usefixtures("_without_csrf")
def test_the_limit_holds_in_the_whole_network_of_an_ipv6_caller(account: ChannelAccount) -> None:
    statuses = [guess(account, f"n{number}", f"2001:db8::{number + 1:x}").status for number in range(31)]
    assert statuses[-2:] == [200, 429]


@pytest.mark.usefixtures("_without_csrf")
def test_logins_that_succeed_are_not_counted(account: ChannelAccount) -> None:
    User.objects.create_user("li", password=RIGHT, is_staff=True)
    assert {guess(account, "li", password=RIGHT).status for _ in range(40)} == {302}
    assert guess(account, "li").status == 200


def test_where_too_many_requests_wait_others_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = pages.Slots(3, 2)
    with slots.slot("a"), slots.slot("a"):
        with pytest.raises(pages.Refused, match="busy"), slots.slot("a"):
            pass
        with slots.slot("b"), pytest.raises(pages.Refused), slots.slot("c"):
            pass
    assert slots.used == {}


def test_logins_that_waited_in_vain_for_a_thread_leave_their_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "PAGE_WAIT_SECONDS", 0.01)
    login = Request({"method": "POST", "path": "/admin/login/", "headers": []}, nothing)

    async def wait_in_vain() -> bool:
        busy = pages.Pages(Threads())
        for _thread in range(capacity.PAGE_THREADS):
            await busy.running.acquire()
        for _login in range(capacity.MAX_LOGINS):
            with pytest.raises(pages.Refused, match="busy"):
                await busy._run_in_thread(login, BytesIO(), busy.logins)
        return busy.logins.locked()

    assert not asyncio.run(wait_in_vain())


def test_callbacks_go_on_while_all_page_threads_are_taken(
    web: str, account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by logins that compare passwords."""
    answer = WSGIHandler.get_response

    def slowly(self: WSGIHandler, request: Any) -> Any:
        time.sleep(3)
        return answer(self, request)

    monkeypatch.setattr(WSGIHandler, "get_response", slowly)
    with ThreadPoolExecutor(40) as pool:
        logins = [pool.submit(requests.get, f"{web}/admin/login/", timeout=60) for _ in range(40)]
        time.sleep(0.5)
        began = time.monotonic()
        assert deliver(web, account, 1).status_code == 200
        assert time.monotonic() - began < 2.5
        assert {login.result().status_code for login in logins} == {200, 503}
    assert eventually(lambda: Message.objects.count() == 1)


def test_few_logins_are_compared_at_once_and_pages_go_on(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs half a second of a core: more at a time than MAX_LOGINS wait, and take no thread from the pages."""
    answer, lock = WSGIHandler.get_response, threading.Lock()
    under_way: set[int] = set()
    most: list[int] = []
    go_on = threading.Event()

    def slowly(self: WSGIHandler, request: Any) -> Any:
        if request.method != "POST":
            return answer(self, request)
        with lock:
            under_way.add(id(request))
            most.append(len(under_way))
        go_on.wait(30)
        with lock:
            under_way.discard(id(request))
        return answer(self, request)

    monkeypatch.setattr(WSGIHandler, "get_response", slowly)
    with ThreadPoolExecutor(12) as pool:
        logins = [
            pool.submit(requests.post, f"{web}/admin/login{end}", data={"username": "x"}, timeout=60)
            for end in "/" * 12
        ]
        try:
            eventually(lambda: len(most) >= capacity.MAX_LOGINS)
            for _page in range(10):  # one login too many would come meanwhile
                assert requests.get(f"{web}/admin/login/", timeout=20).status_code == 200
        finally:
            go_on.set()
        assert {login.result().status_code for login in logins} <= {200, 403}
    assert (max(most), len(most)) == (capacity.MAX_LOGINS, 12)


def test_the_callbacks_process_serves_nothing_else(account: ChannelAccount) -> None:
    with web_server(pages=False) as web:
        assert deliver(web, account, 1).status_code == 200
        assert requests.get(f"{web}/livez", timeout=20).text == "ok\n"
        for path in ("/", "/admin/", "/admin/login/", "/api/v1/messages/", "/static/x.css"):
            assert requests.get(f"{web}{path}", timeout=20).status_code == 404


def test_a_flood_of_guessed_addresses_leaves_callbacks_alone(
    web: str, account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked up together, and count in no bound of those that have an account."""
    monkeypatch.setattr(capacity, "MAX_CALLBACKS", 1)
    with contextlib.ExitStack() as stack:
        requests_ = [head("POST", f"/callbacks/{uuid4()}", "Connection: close") for _ in range(400)]
        lines = [stack.enter_context(connect(web, request)) for request in requests_]
        assert deliver(web, account, 1).status_code == 200
        assert {status(answered(line)) for line in lines} == {404}


def test_more_than_so_many_callbacks_at_once_are_sent_away(
    web: str, account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "MAX_CALLBACKS", 2)
    slow = head("POST", f"/callbacks/{account.key}", "Content-Length: 100")
    with connect(web, slow), connect(web, slow):
        eventually(lambda: deliver(web, account, 1).status_code == 503)
    eventually(lambda: deliver(web, account, 1).status_code == 200)


def test_a_web_server_may_open_as_many_files_as_the_system_lets_it() -> None:
    from bridge import asgi
    from bridge.runtime.launcher import commands

    before = sys.getswitchinterval()
    try:
        assert [asgi.application().has_pages, asgi.callbacks().has_pages] == [True, False]
    finally:
        sys.setswitchinterval(before)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
    assert commands.find_max_connections() < hard
