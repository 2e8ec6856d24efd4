"""Which addresses an outgoing request may reach: public ones, and the private ones that a setting names."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, NamedTuple

from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERY_PORT = -1
# An entry of a list that names no port means these.
USUAL_PORTS = (80, 443)


def _networks(*names: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, names))


# Reached by nobody, whatever a setting says: link-local addresses, and those where clouds give out credentials.
NEVER = _networks(
    "169.254.0.0/16",
    "fe80::/10",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fd00:42::42/128",
)
# The special-purpose registries of IANA (both as of 2025), less what is globally reachable there, and what was given back or is reserved.
# Written out, because Python's `is_global` differs between its versions.
SPECIAL = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "2620:4f:8000::/48",
    "3fff::/20",
)
# Of IPv6 only this is given out to anybody; all else is unique local, link-local, site-local, multicast, mapped, discard-only or reserved.
UNICAST = ipaddress.IPv6Network("2000::/3")
# An IPv4 address stands in the last four bytes of these: NAT64 (RFC 6052), and mapped and translated ones (RFC 2765).
LAST_BYTES = _networks("64:ff9b::/96", "::ffff:0:0/96", "::ffff:0:0:0/96")
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
ISATAP = (0x00005EFE, 0x02005EFE)
ENTRY = re.compile(
    r"\[(?P<bracketed>[^\]]+)\](?::(?P<port1>\d+|\*))?|(?P<name>[^:]+)(?::(?P<port2>\d+|\*))?|(?P<bare>.+)"
)


class Allowed(NamedTuple):
    """One entry of a list: a host name or a network, on one port, on the usual ones (0), or on every one (-1)."""

    host: str
    network: Network | None
    port: int

    def names(self, host: str, address: Address, port: int) -> bool:
        """host: in small letters, without a dot at its end."""
        ports = {EVERY_PORT: (port,), 0: USUAL_PORTS}.get(self.port, (self.port,))
        return port in ports and (address in self.network if self.network else self.is_name(host))

    def is_name(self, host: str) -> bool:
        """`*.example.com` stands for every name below it."""
        return host == self.host or (self.host.startswith("*.") and host.endswith(self.host[1:]))


def parse_allowed(entry: str) -> Allowed:
    """`name`, `name:port`, `name:*`, `10.0.0.0/8`, `10.0.0.1:80`, `::1`, `[::1]:80`, `[fd00::/8]:80`. Raises ValueError."""
    found = ENTRY.fullmatch(entry.strip())
    if found is None:
        raise ValueError("empty")
    host, port = found["bracketed"] or found["name"] or found["bare"], found["port1"] or found["port2"]
    number = EVERY_PORT if port == "*" else int(port or 0)
    if number > 65535 or (port and number == 0):
        raise ValueError("no port")
    try:
        return Allowed("", ipaddress.ip_network(host, strict=False), number)
    except ValueError:
        return Allowed(host.lower().rstrip("."), None, number)


def inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries to (mapped, NAT64, 6to4, ISATAP), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    number = int(address)
    if any(address in network for network in LAST_BYTES) or (number >> 32) & 0xFFFFFFFF in ISATAP:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return address.sixtofour or address


def is_public(address: Address) -> bool:
    """False for private, loopback, link-local, multicast, reserved and metadata addresses, also when written inside an IPv6 one."""
    plain = inner(address)
    if any(plain in network for network in SPECIAL):
        return False
    return isinstance(plain, ipaddress.IPv4Address) or plain in UNICAST


def is_never_called(address: Address) -> bool:
    """Link-local and metadata addresses, also inside an IPv6 one; a local NAT64 and ::192.0.2.1 may lead to any of them."""
    is_compatible = address.version == 6 and 1 < int(address) < 1 << 32  # RFC 4291, 2.5.5.1: of no use any more
    named = any(each in network for each in (address, inner(address)) for network in NEVER)
    return named or is_compatible or address in LOCAL_NAT64


class Guard:
    """Resolves a name to the addresses that may be reached. The caller connects to exactly these, so that a name which
    answers differently a moment later (DNS rebinding) gains nothing.

    setting: the name of the list, for whoever is refused. open_http: whether public hosts may be called without TLS, which is so where
    no secret of ours goes along.
    """

    def __init__(
        self, allowed_private: Iterable[str] = (), *, setting: str = "ALLOWED_PRIVATE_HOSTS", open_http: bool = False
    ) -> None:
        self._allowed = tuple(parse_allowed(entry) for entry in allowed_private)
        self._setting, self._open_http = setting, open_http

    def resolve(self, host: str, port: int, *, secure: bool = True) -> list[str]:
        """secure: whether TLS is spoken. Raises OSError when the name does not resolve, ChannelError "address_…" when all are refused."""
        name = host.strip("[]").lower()
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        reasons = {each: self._refusal(name.rstrip("."), each, port, secure) for each in addresses}
        reachable = [address for address, reason in reasons.items() if not reason]
        if not reachable:
            code = next(iter(reasons.values()), "address_invalid")
            raise WIRE.error(code, detail=f"{host}:{port}", params={"setting": self._setting})
        return reachable

    def _refusal(self, name: str, address: str, port: int, secure: bool) -> str:
        """The code that says why it is not called; empty where it may be."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if is_never_called(ip):
            return "address_never"
        if any(entry.names(name, inner(ip), port) for entry in self._allowed):
            return ""
        if not is_public(ip):
            return "address_private"
        return "" if secure or self._open_http else "address_plain_http"

    @property
    def without_tls(self) -> str:
        """Why a public host is not called over http."""
        return WIRE["address_plain_http"].text({"setting": self._setting})

    def names(self, host: str, port: int) -> bool:
        """Whether the list has the name itself, whatever it resolves to."""
        name, nowhere = host.lower().rstrip("."), ipaddress.ip_address("0.0.0.0")  # noqa: S104 - of no network in use
        return any(entry.network is None and entry.names(name, nowhere, port) for entry in self._allowed)
