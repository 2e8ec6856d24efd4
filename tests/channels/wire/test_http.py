"""The guarded session: where it may go, and what it says about a request that failed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.wire.http import IDLE_SECONDS, Http, encode_json, redact_query_secrets
from channels_wechat.wire.ssrf_guard import Allowed, Guard, is_public, parse_allowed
from tests.channels.harness import Recorder, Reply
from tests.channels.wire.sessions import LOCAL, failure
from tests.support.factories import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = """127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200 0.0.0.0 224.0.0.1
239.1.1.1 240.0.0.1 255.255.255.255 192.0.0.192 64:ff9b:1::1 168.63.129.16 198.18.0.1 ::1 :: fe80::1 fc00::1 fd00:ec2::254 ff02::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a00:1::
2001:db8::1 fec0::1 2001:0:4136:e378:8000:63bf:3fff:fdd2"""


@pytest.mark.parametrize(
    "address",
    PRIVATE.split(),
)
def test_it_refuses_addresses_that_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "101.226.103.1", "2400:3200::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_it_lets_public_addresses_through(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("entry", "port", "reached"),
    [
        ("127.0.0.1", 80, True),
        ("127.0.0.1:80", 80, True),
        ("127.0.0.1:81", 80, False),
        ("127.0.0.0/8", 80, True),
        ("127.0.0.0/8:80", 80, True),
        ("127.0.0.0/8:81", 80, False),
        ("10.0.0.0/8", 80, False),
        ("localhost", 80, False),  # the name is allowed, the address alone is not
    ],
)
def test_it_reaches_only_what_the_allow_list_names(entry, port, reached):
    if reached:
        assert Guard([entry]).resolve("127.0.0.1", port) == ["127.0.0.1"]
    else:
        with pytest.raises(ChannelError) as caught:
            Guard([entry]).resolve("127.0.0.1", port)
        assert (caught.value.code, caught.value.action) == ("address_private", Action.CONFIG)


def test_it_knows_every_form_of_an_allow_list_entry():
    assert parse_allowed("Simulator.local:8701") == Allowed("simulator.local", None, 8701)
    assert parse_allowed("[::1]:80").port == 80
    assert str(parse_allowed("[fd00::/8]").network) == "fd00::/8"
    assert str(parse_allowed("::1").network) == "::1/128"
    with pytest.raises(ValueError, match="empty"):
        parse_allowed(" ")


def test_it_allows_a_name_whatever_it_resolves_to():
    assert Guard(["localhost:80"]).resolve("localhost", 80)
    assert Guard(["127.0.0.1", "::1"]).resolve("LOCALHOST", 80)


def test_it_connects_to_nothing_private_by_default(platform: Recorder):
    error = failure(Http(), "POST", platform.url + "/x?access_token=abc", json={})
    assert (error.code, error.action) == ("address_private", Action.CONFIG)
    assert error.params == {"setting": "ALLOWED_PRIVATE_HOSTS", "detail": f"127.0.0.1:{platform.port}"}
    assert "abc" not in str(error)
    assert (platform.connections, platform.requests) == (0, [])


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"])  # noqa: S104
def test_it_looks_at_the_address_and_not_at_its_spelling(platform: Recorder, host):
    assert failure(Http(), "GET", f"http://{host}:{platform.port}/").code == "address_private"
    assert platform.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://x",
        "example.com",
        "http://",
        "http://[1",
        "http://a:99999/",
        "//x",
    ],
)
def test_it_calls_only_http_addresses(http: Http, url):
    error = failure(http, "GET", url + "?key=geheim")
    assert (error.code, error.action) == ("address_invalid", Action.CONFIG)
    assert "geheim" not in f"{error} {error!r}"


def test_it_sends_json_as_raw_utf8(platform: Recorder, http: Http):
    http.request("POST", platform.url + "/a", json={"content": "你好 👋\ud83d \0"})
    assert platform.requests[0].headers["Content-Type"] == "application/json; charset=utf-8"
    assert platform.requests[0].body == '{"content": "你好 👋 "}'.encode()


@pytest.mark.parametrize(("value", "body"), [({}, b"{}"), ([], b"[]"), (0, b"0"), (False, b"false"), ("", b'""')])
def test_an_empty_json_value_is_sent_too(platform: Recorder, http: Http, value, body):
    http.request("POST", platform.url, json=value, headers={"Content-Type": "application/odd+json"})
    http.request("POST", platform.url)
    assert [request.body for request in platform.requests] == [body, b""]
    assert platform.requests[0].headers["Content-Type"] == "application/odd+json"


@given(st.text(alphabet=st.characters(codec=None, categories=["Cs", "Lo", "Cc", "So"])))
def test_no_text_breaks_json(text):
    json.loads(encode_json({text: [text]}).decode())


def test_an_upload_names_the_file_in_plain_utf8(platform: Recorder, http: Http):
    http.request("POST", platform.url, fields={"media": ('报告 "1"\n\ud83d.txt', b"abc\r\n", "text/plain")})
    sent = platform.requests[0]
    boundary = sent.headers["Content-Type"].partition("boundary=")[2].encode()
    expected = 'Content-Disposition: form-data; name="media"; filename="报告 %221%22 .txt"\r\nContent-Type: text/plain'
    assert sent.body == b"--" + boundary + b"\r\n" + expected.encode() + b"\r\n\r\nabc\r\n\r\n--" + boundary + b"--\r\n"


def test_it_reads_nothing_from_the_environment(platform: Recorder, http: Http, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert http.request("GET", platform.url).status == 200


@pytest.mark.parametrize(
    ("host", "named"),
    [("a.example.com", True), ("A.b.example.com.", True), ("example.com", False), ("evilexample.com", False)],
)
def test_a_star_stands_for_the_names_below_its_domain(host: str, named: bool):
    assert Guard(["*.example.com"]).names(host, 443) == named


@pytest.mark.parametrize("from_message", [False, True])
def test_each_list_is_for_its_own_addresses(platform: Recorder, from_message: bool):
    """Also while a connection that the other list allowed is kept."""
    both = Http([] if from_message else LOCAL, allowed_in_messages=LOCAL if from_message else [], timeout=(2, 5))
    assert both.request("GET", platform.url, from_message=from_message).status == 200
    refused = failure(both, "GET", platform.url, from_message=not from_message)
    assert (refused.code, refused.action, len(platform.requests)) == ("address_private", Action.CONFIG, 1)


def test_it_keeps_the_connection(platform: Recorder, http: Http):
    for _ in range(3):
        http.request("POST", platform.url, json={})
    assert (len(platform.requests), platform.connections) == (3, 1)


def test_a_connection_closed_meanwhile_is_replaced(platform: Recorder, http: Http):
    platform.will(Reply(closes=True))
    assert http.request("POST", platform.url, json={}).status == 200
    assert platform.hung_up.wait(10)
    assert http.request("POST", platform.url, json={}).status == 200
    assert (len(platform.requests), platform.connections) == (2, 2)


def test_an_answer_that_drips_in_is_given_up(monkeypatch):
    """Each byte comes within the read time-out; the whole does not come within the body's."""
    monkeypatch.setattr("channels_wechat.wire.http.BODY_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _address = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.02)

        thread = threading.Thread(target=drip)
        thread.start()
        error = failure(Http(LOCAL, timeout=(2, 5)), "POST", f"http://127.0.0.1:{server.getsockname()[1]}/", json={})
        thread.join(5)
    assert (error.code, error.action) == ("timeout", Action.UNKNOWN)


def test_a_connection_that_was_idle_is_not_trusted(platform: Recorder, http: Http, monkeypatch):
    assert IDLE_SECONDS < 30  # after which the first servers close one
    monkeypatch.setattr("channels_wechat.wire.http.IDLE_SECONDS", 0.0)
    for _ in range(2):
        http.request("POST", platform.url, json={})
    assert platform.connections == 2


def test_no_connection_means_not_sent(http: Http):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/cgi-bin/gettoken?corpsecret=geheim"
        error = failure(http, "POST", url, json={})
    assert (error.code, error.action) == ("connect", Action.RETRY)
    assert "/cgi-bin/gettoken" in error.detail
    assert "geheim" not in str(error)


def test_a_name_that_does_not_resolve_means_not_sent(http: Http):
    error = failure(http, "POST", "http://no-such-host.invalid/", json={})
    assert (error.code, error.action) == ("connect", Action.RETRY)


def test_tls_refused_means_not_sent(platform: Recorder, http: Http):
    error = failure(http, "POST", platform.url.replace("http:", "https:"), json={})
    assert (error.code, error.action) == ("connect", Action.RETRY)
    assert platform.requests == []


def test_a_tls_handshake_without_an_answer_means_not_sent():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        error = failure(Http(LOCAL, timeout=(0.2, 0.2)), "POST", url, json={})
    assert (error.code, error.action) == ("connect", Action.RETRY)


@pytest.mark.parametrize(("fault", "code"), [("hang", "timeout"), ("reset", "reset"), ("close", "reset")])
@pytest.mark.parametrize(
    ("method", "harmless", "action"),
    [
        ("POST", None, Action.UNKNOWN),
        ("POST", True, Action.RETRY),
        ("GET", None, Action.RETRY),
        ("GET", False, Action.UNKNOWN),
    ],
)
def test_a_lost_answer_is_unknown_unless_repeating_is_harmless(
    platform: Recorder, fault, code, method, harmless, action
):
    platform.will(Reply(fault=fault))
    error = failure(Http(LOCAL, timeout=(60, 0.3)), method, platform.url + "/?key=geheim", harmless=harmless)
    assert (error.code, error.action) == (code, action)
    assert "geheim" not in str(error)
    assert len(platform.requests) == 1


def test_a_lost_answer_on_a_kept_connection_is_unknown_and_not_repeated(platform: Recorder, http: Http):
    platform.will(Reply(), Reply(fault="reset"))
    http.request("POST", platform.url, json={})
    assert failure(http, "POST", platform.url, json={}).action == Action.UNKNOWN
    assert (len(platform.requests), platform.connections) == (2, 1)


def test_a_request_that_could_not_be_written_whole_was_not_sent(http: Http):
    """The other side resets while a large body is on its way: nobody can have carried out half a request."""
    with refusing(most=3) as (url, refused):
        error = failure(http, "POST", url, fields={"media": ("a", b"x" * 30_000_000, "text/plain")})
        eventually(lambda: len(refused) >= 2)
    assert (error.code, error.action) == ("connect", Action.RETRY)
    assert len(refused) == 2  # once more, and not for ever


def test_a_connection_that_broke_before_the_request_was_written_is_replaced(http: Http):
    with refusing(most=1) as (url, refused):
        answer = http.request("POST", url, fields={"media": ("a", b"x" * 30_000_000, "text/plain")})
    assert (answer.status, answer.body) == (200, b"ok")
    assert len(refused) == 1


@contextlib.contextmanager
def refusing(most: int) -> Iterator[tuple[str, list[int]]]:
    """A server that closes `most` connections in the middle of a request and answers those after. Address, and those closed."""
    closed: list[int] = []

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the test is over
            while True:
                connection, _address = server.accept()
                with connection:
                    connection.recv(10)
                    if len(closed) < most:
                        closed.append(1)
                        continue
                    connection.settimeout(30)
                    left = 30_000_000
                    while left > 0 and (data := connection.recv(1 << 20)):
                        left -= len(data)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 20):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", closed
        server.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    assert not thread.is_alive()


def test_half_an_answer_is_lost(platform: Recorder, http: Http):
    headers = (("Content-Encoding", "gzip"),)
    platform.will(Reply(b"not gzip", headers=headers))
    assert failure(http, "POST", platform.url, json={}).action == Action.UNKNOWN


@pytest.mark.parametrize(("method", "action"), [("GET", Action.PERMANENT), ("POST", Action.UNKNOWN)])
def test_an_answer_may_not_be_larger_than_asked(platform: Recorder, http: Http, method, action):
    platform.will(Reply(b"x" * 101), Reply(b"x" * 100))
    error = failure(http, method, platform.url, max_bytes=100)
    assert (error.code, error.action) == ("too_large", action)
    assert http.request(method, platform.url, max_bytes=100).body == b"x" * 100


def test_the_whole_answer_counts_and_not_its_pieces(platform: Recorder, http: Http):
    platform.will(Reply(b"x" * 200_001), Reply(b"x" * 200_000))
    assert failure(http, "GET", platform.url, max_bytes=200_000).code == "too_large"
    assert len(http.request("GET", platform.url, max_bytes=200_000).body) == 200_000


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/p?access_token=a.b-c&x=1", "https://h/p?access_token=***&x=1"),
        ("https://h/p?x=1&corpsecret=abc#f", "https://h/p?x=1&corpsecret=***#f"),
        ("get https://h/p?key=abc failed", "get https://h/p?key=*** failed"),
        ("https://h/p?response_code=abc", "https://h/p?response_code=***"),
        (
            "https://cos/x?q-sign-time=1&sign=abc&Q-SIGNATURE=d",
            "https://cos/x?q-sign-time=***&sign=***&Q-SIGNATURE=***",
        ),
        ("https://h/p?jsapi_ticket=abc&Ticket=d", "https://h/p?jsapi_ticket=***&Ticket=***"),
        ("https://h/p?userid=abc", "https://h/p?userid=abc"),
    ],
)
def test_secrets_are_hidden_in_addresses(url, shown):
    assert redact_query_secrets(url) == shown


def test_many_threads_share_a_session(platform: Recorder, http: Http):
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(5):
            platform_answer = http.request("POST", f"{platform.url}/{number}", json={"turn": turn})
            if platform_answer.status != 200:
                wrong.append(platform_answer)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    assert len(platform.requests) == 80
    assert platform.connections <= 16
