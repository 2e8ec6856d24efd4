"""Addresses that staff enter: what is one, and when a secret would go elsewhere."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from channels_wechat.wire.addresses import Origin, check_address, leads_elsewhere, parse_address
from channels_wechat.wire.ssrf_guard import Guard

LABEL, LONG = "a" * 63, ".".join(["a" * 63] * 3 + ["a" * 61])


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://example.com", ("https", "example.com", 443)),
        ("http://example.com/a/b", ("http", "example.com", 80)),
        ("HTTPS://Example.COM:8443/a", ("https", "example.com", 8443)),
        ("http://10.0.0.1:65535", ("http", "10.0.0.1", 65535)),
        ("http://[fd00::1]:1/", ("http", "fd00::1", 1)),
        ("https://a_b.c-d.example", ("https", "a_b.c-d.example", 443)),
        ("https://1.example", ("https", "1.example", 443)),
        (f"https://{LABEL}.cn", ("https", f"{LABEL}.cn", 443)),
        (f"https://{LONG}", ("https", LONG, 443)),
    ],
)
def test_an_address_leads_somewhere(address: str, origin: tuple[str, str, int]) -> None:
    assert parse_address(address) == Origin(*origin)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "example.com",
        "https://",
        "ftp://example.com",
        "https://example.com/?a=b",
        "https://example.com/#a",
        "https://u@example.com",
        "https://example.com:",
        "https://example.com:0",
        "https://example.com:65536",
        "https://example.com.",
        "https://exa mple.com",
        "https://例子.cn",
        "https://a..b",
        "https://-a.cn",
        "https://a-.cn",
        "http://1.2.3",
        "http://2130706433",
        "http://a.0x7f",
        "https://[fe80::1%25eth0]/",
        f"https://{LABEL}a.cn",
        f"https://{LONG}a",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        parse_address(address)


def test_where_a_query_may_follow_the_path_nothing_else_may() -> None:
    assert parse_address("https://example.com/x?a=b", query=True) == Origin("https", "example.com", 443)
    for address in ("https://example.com/x?a=b#c", "https://u@example.com/?a=b"):
        with pytest.raises(ValidationError):
            parse_address(address, query=True)


def test_an_address_that_may_not_be_called_is_not_taken() -> None:
    check_address("https://8.8.8.8", Guard())
    check_address("http://8.8.8.8/?a=b", Guard(open_http=True), query=True)
    check_address("http://10.0.0.1:81", Guard(["10.0.0.1:81"]))
    for address in ("http://8.8.8.8", "https://10.0.0.1", "https://8.8.8.8/?a=b", "http://10.0.0.1:82"):
        with pytest.raises(ValidationError):
            check_address(address, Guard(["10.0.0.1:81"]))


@pytest.mark.parametrize(
    ("before", "after", "elsewhere"),
    [
        ("https://a.cn", "https://a.cn/x?y=z", False),
        ("https://a.cn", "https://A.cn:443", False),
        ("http://a.cn/", "http://a.cn:80", False),
        ("", "", False),
        ("odd", "odd", False),
        ("https://a.cn", "http://a.cn", True),
        ("https://a.cn", "https://a.cn:8443", True),
        ("https://a.cn", "https://b.a.cn", True),
        ("", "https://a.cn", True),
        ("https://a.cn", "", True),
        ("https://a.cn", "odd", True),
        ("odd", "https://a.cn", True),
    ],
)
def test_a_secret_stays_with_scheme_host_and_port(before: str, after: str, elsewhere: bool) -> None:
    assert leads_elsewhere(before, after) == elsewhere
