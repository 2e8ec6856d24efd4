"""Redirects: which are followed, and that each is guarded like the first address."""

from __future__ import annotations

import socket

import pytest

from channels_wechat.wire.http import Http
from tests.channels.harness import Recorder, Reply
from tests.channels.wire.sessions import failure


def moved(url: str, status: int = 302) -> Reply:
    return Reply(b"", status, (("Location", url),))


@pytest.mark.parametrize(
    ("status", "seen"), [(301, 200), (302, 200), (303, 200), (307, 200), (308, 200), (300, 300), (304, 304), (201, 201)]
)
def test_every_kind_of_redirect_is_followed_and_nothing_else(platform: Recorder, http: Http, status, seen):
    platform.will(moved("/b", status))
    assert http.request("GET", platform.url + "/a", follow=1).status == seen


def test_a_redirect_to_nowhere_is_an_answer(platform: Recorder, http: Http):
    platform.will(Reply(b"x", 302))
    assert http.request("GET", platform.url, follow=3).body == b"x"


@pytest.mark.parametrize(
    ("url", "from_message", "code", "called"),
    [
        ("https://public.example/x", False, "connect", [("8.8.8.8", 443)]),
        ("https://public.example:8443/x", True, "connect", [("8.8.8.8", 8443)]),
        ("http://public.example/x", True, "connect", [("8.8.8.8", 80)]),
        ("http://public.example/x", False, "address_plain_http", []),
    ],
)
def test_a_public_host_is_called_where_its_name_led_and_with_tls(monkeypatch, url, from_message, code, called):
    """Only addresses that stand in messages, to which no secret goes, may do without TLS."""
    opened: list[object] = []

    def refuse(address: object, *options: object, **more: object) -> None:
        opened.append(address)
        raise OSError("not from a test")

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **how: found)
    monkeypatch.setattr("channels_wechat.wire.http.create_connection", refuse)
    assert failure(Http(), "GET", url, from_message=from_message).code == code
    assert opened == called


def test_redirects_are_not_followed_by_default(platform: Recorder, http: Http):
    platform.will(moved("/b"))
    assert http.request("GET", platform.url + "/a").status == 302
    assert len(platform.requests) == 1


def test_redirects_of_a_download_are_followed_and_counted(platform: Recorder, http: Http):
    platform.will(moved("/b"), moved("c"), Reply(b"file"))
    assert http.request("GET", platform.url + "/a", follow=2).body == b"file"
    assert [request.path for request in platform.requests] == ["/a", "/b", "/c"]
    platform.will(moved("/b"), moved("/c"))
    assert http.request("GET", platform.url, follow=1).status == 302


def test_a_redirect_is_guarded_like_the_first_address(platform: Recorder):
    http = Http([f"127.0.0.1:{platform.port}"])
    platform.will(
        moved("http://169.254.169.254/latest/meta-data/"), moved("file:///etc/passwd"), moved("http://127.0.0.1:1/")
    )
    codes = [failure(http, "GET", platform.url, follow=3).code for _ in range(3)]
    assert codes == ["address_never", "address_invalid", "address_private"]
    assert len(platform.requests) == 3


def test_a_post_is_never_redirected(platform: Recorder, http: Http):
    platform.will(moved("/b"))
    assert http.request("POST", platform.url, json={}, follow=3).status == 302
