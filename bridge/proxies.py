"""Who is really calling. X-Forwarded-For and its kin are believed only where one of TRUSTED_PROXIES says them.

After the middleware `REMOTE_ADDR` is the client's address and no header says otherwise, so that the lock against guessed passwords,
the audit log and throttling read one thing.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Callable

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


class TrustedProxies:
    """Stands before everything that asks for the address or whether the request came by https."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        believe(request.META)
        return self.get_response(request)


def believe(meta: dict[str, Any]) -> None:
    """Put the client's address into REMOTE_ADDR and take out what nobody vouches for."""
    forwarded = str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    for name in NOT_READ:
        meta.pop(name, None)
    if not is_trusted(address(meta.get("REMOTE_ADDR", ""))):
        meta.pop(FORWARDED_PROTO, None)
        return
    for hop in reversed(forwarded):  # each proxy adds at the end whom it heard; what a client wrote stands before
        caller = address(hop)
        if caller is None:
            return
        meta["REMOTE_ADDR"] = str(caller)
        if not is_trusted(caller):
            return


def client_address(request: HttpRequest) -> str | None:
    """The client's address in the text form of `ipaddress`; None where the server names none, as on a unix socket."""
    found = address(request.META.get("REMOTE_ADDR", ""))
    return str(found) if found else None


def address(text: str) -> IPv4Address | IPv6Address | None:
    """Also with a port, in brackets, or an IPv4 address in IPv6 clothes; None where it is no address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_trusted(caller: IPv4Address | IPv6Address | None) -> bool:
    return caller is not None and any(caller in network for network in _networks(tuple(settings.TRUSTED_PROXIES)))


@cache
def _networks(texts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text, strict=False) for text in texts]
