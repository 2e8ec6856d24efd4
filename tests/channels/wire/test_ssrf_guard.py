"""Every special-purpose network is private, in whichever form an address of it is written; and metadata is never called."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ValidationError

from channels_wechat.contract.errors import ChannelError
from channels_wechat.wire.addresses import check_address
from channels_wechat.wire.ssrf_guard import Allowed, Guard, is_never_called, is_public, parse_allowed

if TYPE_CHECKING:
    from collections.abc import Callable

# IANA's special-purpose registries (2025), with multicast and what was given back or is reserved.
SPECIAL_V4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.170/31",
    "192.0.2.0/24",
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "168.63.129.16/32",  # a cloud's metadata
)
SPECIAL_V6 = (
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",  # local NAT64
    "100::/64",  # discard only
    "100:0:0:1::/64",  # dummy
    "2001::/23",
    "2001::/32",  # Teredo
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fd00:ec2::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
# Link-local addresses, and where clouds give out credentials.
NEVER = (
    "169.254.0.0/16",
    "fe80::/10",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fd00:42::42/128",
)
# Public ones beside them: the table refuses no more than it must.
PUBLIC = """1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255 172.15.255.255
172.32.0.0 192.0.1.1 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
2001:200::1 2400:3200::1 2606:4700::1111 3ffe:ffff::1 2620:4f:7fff::1 2001:db7::1"""


def edges(networks: tuple[str, ...]) -> list[str]:
    """The first and the last address of each, and one between."""
    found = []
    for network in map(ipaddress.ip_network, networks):
        found += [network[0], network[network.num_addresses // 2], network[-1]]
    return list(dict.fromkeys(map(str, found)))


def written(address: str) -> dict[str, str]:
    """The IPv6 forms that lead to an IPv4 address: mapped, compatible, translated, NAT64, 6to4, ISATAP, and Teredo's server and client."""
    number = int(ipaddress.IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    return {
        "mapped": f"::ffff:{address}",
        "compatible": f"::{high:x}:{low:x}",
        "translated": f"::ffff:0:{high:x}:{low:x}",
        "NAT64": f"64:ff9b::{high:x}:{low:x}",
        "local NAT64": f"64:ff9b:1::{high:x}:{low:x}",
        "6to4": f"2002:{high:x}:{low:x}::1",
        "ISATAP": f"2400:3200::5efe:{high:x}:{low:x}",
        "global ISATAP": f"2400:3200::200:5efe:{high:x}:{low:x}",
        "Teredo server": f"2001:0:{high:x}:{low:x}::1",
        "Teredo client": f"2001:0:808:808::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
    }


def refused(address: str) -> bool:
    """By the whole guard, as a request asks it: without a list, over TLS."""
    try:
        Guard().resolve(address, 443)
    except ChannelError as error:
        return error.code in ("address_never", "address_private")
    return False


@pytest.mark.parametrize("address", edges(SPECIAL_V4 + SPECIAL_V6))
def test_no_special_purpose_address_is_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert refused(address)


@pytest.mark.parametrize("address", edges(SPECIAL_V4))
def test_nor_is_one_inside_an_ipv6_address(address: str) -> None:
    assert [form for form, text in written(address).items() if not refused(text)] == []


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_lies_beside_them_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    assert Guard().resolve(address, 443) == [address]


@pytest.mark.parametrize("form", ["mapped", "NAT64", "6to4", "ISATAP"])
def test_a_public_address_inside_another_stays_public(form: str) -> None:
    assert is_public(ipaddress.ip_address(written("8.8.8.8")[form]))


@pytest.mark.parametrize("address", ["169.254.169.254", *edges(NEVER)])
def test_metadata_is_never_called_whatever_a_list_says(address: str) -> None:
    inside = list(written(address).items()) if "." in address else []
    forms = [address, *(text for form, text in inside if not form.startswith("Teredo"))]
    for text in forms:
        assert is_never_called(ipaddress.ip_address(text)), text
        with pytest.raises(ChannelError, match="never called"):
            Guard(["0.0.0.0/0:*", "[::/0]:*"]).resolve(text, 80)


@pytest.mark.parametrize("name", ["one.gateways.internal", "two.one.gateways.internal", "ONE.Gateways.internal."])
def test_a_star_stands_for_every_name_below_it(name: str) -> None:
    assert Guard(["*.gateways.internal:18789"]).names(name, 18789)
    assert not Guard(["*.gateways.internal:18789"]).names(name, 18790)


@pytest.mark.parametrize("name", ["gateways.internal", "evilgateways.internal", "one.gateways.internal.example.com"])
def test_and_for_no_other(name: str) -> None:
    assert not Guard(["*.gateways.internal:18789"]).names(name, 18789)


def test_a_name_that_does_not_resolve_just_now_may_be_entered() -> None:
    """With https, or where the list has it: the guard is asked again before each call."""
    guard = Guard(["gateway.invalid:18789"])
    check_address("http://gateway.invalid:18789", guard)
    check_address("https://other.invalid", guard)
    for address in ("http://gateway.invalid:18790", "http://other.invalid:18789"):
        with pytest.raises(ValidationError, match="Without https"):
            check_address(address, guard)


# --- what a list lets through


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has every name resolve to these addresses."""

    def resolve_to(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **how: found)

    return resolve_to


@pytest.mark.parametrize(
    ("entry", "address", "port", "reached"),
    [
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3", "10.1.2.3", 8080, False),
        ("10.1.2.3", "10.1.2.3", 0, False),
        ("10.1.2.3:*", "10.1.2.3", 8080, True),
        ("10.1.2.3:65535", "10.1.2.3", 65535, True),
        ("10.1.2.3/8", "10.9.9.9", 80, True),
        ("10.1.2.3/32", "10.1.2.4", 80, False),
        ("10.1.2.3", "::ffff:10.1.2.3", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:8080", "::1", 8080, True),
        ("[::1]:8080", "::1", 80, False),
        ("[fd00::/8]:*", "fd00::7", 8080, True),
        ("Gateway.internal.:80", "10.1.2.3", 80, True),
        ("*.internal", "10.1.2.3", 443, True),
        ("*.internal", "10.1.2.3", 8080, False),
        ("internal", "10.1.2.3", 80, False),
        ("8.8.8.8", "8.8.8.8", 80, True),
    ],
)
@pytest.mark.parametrize("host", ["gateway.internal", "GATEWAY.internal."])
def test_an_entry_lets_through_what_it_names(
    names: Callable[..., None], host: str, entry: str, address: str, port: int, reached: bool
) -> None:
    names(address)
    if reached:
        assert Guard([entry]).resolve(host, port, secure=False) == [address]
    else:
        with pytest.raises(ChannelError):
            Guard([entry]).resolve(host, port, secure=False)


@pytest.mark.parametrize("entry", ["h:0", "h:65536", "[::1]:0", "10.0.0.0/8:70000", "h:00"])
def test_an_entry_with_a_port_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="no port"):
        parse_allowed(entry)


def test_a_name_in_a_list_may_end_with_a_dot() -> None:
    assert parse_allowed("Gateway.internal.:80") == Allowed("gateway.internal", None, 80)


def test_of_several_addresses_only_the_public_ones_are_called(names: Callable[..., None]) -> None:
    names("10.0.0.1", "8.8.8.8", "169.254.169.254", "8.8.8.8")
    assert Guard().resolve("both.example", 443) == ["8.8.8.8"]
    names("10.0.0.1", "169.254.169.254")
    with pytest.raises(ChannelError, match="private network"):
        Guard().resolve("neither.example", 443)


def test_an_address_with_a_zone_is_refused_like_one_without(names: Callable[..., None]) -> None:
    names("fe80::1%eth0")
    with pytest.raises(ChannelError, match="never called"):
        Guard(["[::/0]:*"]).resolve("zone.example", 443)


def test_a_public_host_is_called_without_tls_only_where_no_secret_goes_along() -> None:
    assert Guard(open_http=True).resolve("8.8.8.8", 80, secure=False) == ["8.8.8.8"]
    for guard in (Guard(), Guard(["8.8.8.8:8080"])):
        assert guard.resolve("8.8.8.8", 80) == ["8.8.8.8"]
        with pytest.raises(ChannelError, match="Without https.*ALLOWED_PRIVATE_HOSTS"):
            guard.resolve("8.8.8.8", 80, secure=False)
    with pytest.raises(ChannelError, match="private network.*OTHER"):
        Guard(open_http=True, setting="OTHER").resolve("10.0.0.1", 80, secure=False)
