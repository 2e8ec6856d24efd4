"""Finds the client's address. X-Forwarded-For and similar headers count only where one of TRUSTED_PROXIES sent them.

After the middleware `REMOTE_ADDR` is the client's address and no header says otherwise, so that the lock against guessed passwords,
the audit log and throttling read one thing.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
NOT_READ = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_FORWARDED",
    "HTTP_X_REAL_IP",
)

# Set by `mark_direct`, before anything takes forwarding headers out of the request.
DIRECT = "bridge.direct"
# A proxy adds one of these, or speaks HTTP/1.0 (nginx, where nobody told it otherwise).
FORWARDING = (FORWARDED_PROTO, "HTTP_VIA", *NOT_READ)
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


class TrustedProxies:
    """The middleware. It runs before everything that uses the client's address or the scheme of the request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        mark_direct(request.META)
        apply_forwarded_headers(request.META)
        return self.get_response(request)


def mark_direct(meta: dict[str, Any]) -> None:
    """Note whether a browser on this machine asked us itself, by an address of this machine."""
    peer = parse_address(str(meta.get("REMOTE_ADDR", "")))
    host = str(meta.get("HTTP_HOST", "")).lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    forwarded = any(header in meta for header in FORWARDING) or meta.get("SERVER_PROTOCOL") == "HTTP/1.0"
    meta[DIRECT] = bool(peer and peer.is_loopback and name in LOOPBACK_NAMES and not forwarded)


def apply_forwarded_headers(meta: dict[str, Any]) -> None:
    """Put the client's address into REMOTE_ADDR, and remove headers that no trusted proxy sent."""
    peer, forwarded = meta.get("REMOTE_ADDR", ""), str(meta.get("HTTP_X_FORWARDED_FOR", ""))
    for name in NOT_READ:
        meta.pop(name, None)
    if not is_trusted(parse_address(peer)):
        meta.pop(FORWARDED_PROTO, None)
    meta["REMOTE_ADDR"] = client_of(peer, forwarded)


def client_of(peer: str, forwarded: str) -> str:
    """Return the client's address. peer: the other end of the connection; forwarded: X-Forwarded-For, read while its hops are trusted."""
    if not is_trusted(parse_address(peer)):
        return peer
    # Each proxy adds its caller at the end; entries that a client invented are before those.
    for hop in reversed(forwarded.split(",")):
        caller = parse_address(hop)
        if caller is None:
            break
        peer = str(caller)
        if not is_trusted(caller):
            break
    return peer


def without_ambiguous(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers without names that hold `_`: `X_Forwarded_For`, which proxies let pass, is `X-Forwarded-For` to CGI."""
    return [(name, value) for name, value in headers if b"_" not in name]


def network_of(client: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 of an IPv6 address, which everybody has at least; else the text."""
    parsed = parse_address(client)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return str(parsed or client)


def axes_client_address(request: HttpRequest) -> str | None:
    """Return the address by which django-axes locks out guessed passwords (named in the settings).

    None where the server names none, as on a unix socket.
    """
    parsed = parse_address(request.META.get("REMOTE_ADDR", ""))
    return str(parsed) if parsed else None


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, also with a port, in brackets, or as an IPv4 address mapped into IPv6; None where it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def is_trusted(caller: IPv4Address | IPv6Address | None) -> bool:
    return caller is not None and any(caller in network for network in _networks(tuple(settings.TRUSTED_PROXIES)))


@cache
def _networks(texts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text, strict=False) for text in texts]
