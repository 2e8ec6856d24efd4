"""What a stranger can cost: slow, large or odd requests through the real web server. Nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import requests
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.test import Client

from bridge.models import Message
from bridge.runtime.conf import capacity
from bridge.runtime.web.http import Request
from bridge.security import proxies
from tests.support.callbacks import call, from_app, web_server
from tests.web.raw_requests import RIGHT, STRANGER, answered, connect, deliver, guess, head, nothing, status

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
# Seconds that a client may take: soon over, or longer than any test waits for an answer.
SHORT, ENDLESS = 0.2, 600


# --- slow ones


@pytest.mark.parametrize("path", ["/anything", "/admin/login/", "/api/v1/messages/", "/callbacks/{key}"])
def test_slow_bodies_hold_nothing_and_are_ended(
    web: str, account: ChannelAccount, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each announces a body and sends nothing. First a few, to see them end; then more than there are threads, which do not end."""
    request = head("POST", path.format(key=account.key), "Content-Length: 1000")
    for name in ("CALLBACK_BODY_SECONDS", "ANONYMOUS_BODY_SECONDS"):
        monkeypatch.setattr(capacity, name, SHORT)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connect(web, request)) for _ in range(20)]
        assert {status(answered(line)) for line in lines} <= {404, 408, 429, 503}
    for name in ("CALLBACK_BODY_SECONDS", "ANONYMOUS_BODY_SECONDS"):
        monkeypatch.setattr(capacity, name, ENDLESS)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(web, request))
        assert deliver(web, account, 1).status_code == 200
    assert Message.objects.count() == 1


def test_a_connection_that_says_nothing_is_closed_and_keeps_nobody_out(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.callbacks.HEAD_SECONDS", 1)
    with web_server() as web, contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connect(web, said)) for said in [b"", b"GET / HT"] * 10]
        assert {answered(line) for line in lines} == {b""}
    monkeypatch.setattr("tests.support.callbacks.HEAD_SECONDS", ENDLESS)
    with web_server() as web, contextlib.ExitStack() as stack:
        for said in [b"", b"GET / HT"] * 300:
            stack.enter_context(connect(web, said))
        assert deliver(web, account, 1).status_code == 200


# --- bodies


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


@pytest.mark.parametrize(
    ("path", "line", "said"),
    [
        ("/admin/bridge/route/add/", "Accept-Language: zh-CN", "请求正文太大，或您尚未登录。"),
        ("/admin/bridge/route/add/", "Cookie: language=zh-hans", "请求正文太大，或您尚未登录。"),
        ("/admin/bridge/route/add/", "Accept-Language: en", "The body is too large, or you are not logged in."),
        ("/api/v1/messages/", "Accept-Language: zh-CN", "The body is too large, or you are not logged in."),
    ],
)
def test_a_browser_is_refused_in_its_language_and_a_script_in_english(
    web: str, path: str, line: str, said: str
) -> None:
    with connect(web, head("POST", path, f"Content-Length: {30 * capacity.MIB}", line)) as connection:
        assert said in answered(connection).decode()


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
    assert proxies.network_of(client) == name
