"""Who is calling: what a client writes into its headers is believed only as far as trusted proxies vouch for it."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from bridge.security.proxies import TrustedProxies, apply_forwarded_headers, axes_client_address, parse_address

FORGED = "198.51.100.66"


@pytest.fixture(autouse=True)
def _proxies(settings: object) -> None:
    settings.TRUSTED_PROXIES = ["127.0.0.0/8", "::1", "10.0.0.0/8"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", f"{FORGED}, 203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", f"{FORGED}, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("127.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("127.0.0.1", f"{FORGED}, unknown", "127.0.0.1"),
        ("127.0.0.1", "10.1.2.3, 10.1.2.4", "10.1.2.3"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("203.0.113.7", FORGED, "203.0.113.7"),
        ("", FORGED, None),
        ("somewhere", FORGED, None),
    ],
)
def test_the_client_is_the_last_whom_nobody_vouches_for(peer: str, forwarded: str, client: str | None) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    apply_forwarded_headers(request.META)
    assert axes_client_address(request) == client
    assert "HTTP_X_FORWARDED_FOR" not in request.META


@pytest.mark.parametrize(
    ("peer", "secure"), [("127.0.0.1", True), ("10.9.9.9", True), ("203.0.113.7", False), ("", False)]
)
def test_only_a_trusted_proxy_says_that_it_was_https(settings: object, peer: str, secure: bool) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # type: ignore[attr-defined]
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_PROTO="https", HTTP_FORWARDED="proto=https")
    answer = TrustedProxies(lambda seen: HttpResponse(str(seen.is_secure())))(request)
    assert answer.getvalue() == str(secure).encode()
    assert "HTTP_FORWARDED" not in request.META


@pytest.mark.parametrize("text", ["", "unknown", "203.0.113", "1.2.3.4.5", "[::g]", "_hidden", "203.0.113.7, ", "::g"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None
