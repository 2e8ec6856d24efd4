"""Which addresses an outgoing request may reach: public ones, and the private ones that a setting names."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext_lazy as _

from channels_wechat.errors import Action, ChannelError

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# NAT64 writes an IPv4 address into the last four bytes of these (RFC 6052).
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Public by their number, reachable from inside only: Azure's metadata service, Oracle's (Python before 3.12.4 takes the whole
# block for public), and the NAT64 addresses of a network's own.
SPECIAL = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b:1::/48")))
ENTRY = re.compile(r"\[(?P<bracketed>[^\]]+)\](?::(?P<port1>\d+))?|(?P<name>[^:]+)(?::(?P<port2>\d+))?|(?P<bare>.+)")


class Allowed(NamedTuple):
    """One entry of the allow-list: a host name or a network, on one port or on all (0)."""

    host: str
    network: Network | None
    port: int


def parse_allowed(entry: str) -> Allowed:
    """`name`, `name:port`, `10.0.0.0/8`, `10.0.0.1:80`, `::1`, `[::1]:80`, `[fd00::/8]:80`. Raises ValueError when empty."""
    found = ENTRY.fullmatch(entry.strip())
    if found is None:
        raise ValueError("empty")
    host = found["bracketed"] or found["name"] or found["bare"]
    port = int(found["port1"] or found["port2"] or 0)
    try:
        return Allowed("", ipaddress.ip_network(host, strict=False), port)
    except ValueError:
        return Allowed(host.lower().rstrip("."), None, port)


def is_public(address: Address) -> bool:
    """False for private, loopback, link-local, multicast, reserved and metadata addresses, also when written inside an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo or address.is_site_local:
            return False
    special = any(address in network for network in SPECIAL)
    return address.is_global and not (address.is_multicast or address.is_reserved or special)


class Guard:
    """Resolves a name to the addresses that may be reached. The caller connects to exactly these, so that a name which
    answers differently a moment later (DNS rebinding) gains nothing."""

    def __init__(self, allowed_private: Iterable[str] = ()) -> None:
        self._allowed = tuple(parse_allowed(entry) for entry in allowed_private)

    def resolve(self, host: str, port: int) -> list[str]:
        """Raises OSError when the name does not resolve, ChannelError "address" when all its addresses are refused."""
        name = host.strip("[]").lower()
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        reachable = [address for address in addresses if self._may_reach(name.rstrip("."), address, port)]
        if not reachable:
            text = _("The address is on a private network. Name the host in ALLOWED_PRIVATE_HOSTS if that is meant.")
            raise ChannelError("address", Action.CONFIG, text, detail=f"{host}:{port}")
        return reachable

    def _may_reach(self, name: str, address: str, port: int) -> bool:
        ip = ipaddress.ip_address(address)
        plain = getattr(ip, "ipv4_mapped", None) or ip
        return is_public(ip) or any(
            entry.port in (0, port) and (plain in entry.network if entry.network else entry.host == name)
            for entry in self._allowed
        )
