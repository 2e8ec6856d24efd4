"""Addresses that staff enter: how one is written, where it leads, and whether it may be called."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from channels_wechat.wire.ssrf_guard import Guard

LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
# What an address may consist of (RFC 3986); everything else must be written with %.
WRITABLE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Where an address leads: a secret that was entered for one goes to no other."""

    scheme: str
    host: str
    port: int


def parse_address(address: str, *, query: bool = False) -> Origin:
    """query: whether one may follow the path. Raises ValidationError, which names what is wrong."""
    if not WRITABLE.fullmatch(address):
        raise ValidationError(
            _(
                "The address contains spaces or characters that are not allowed in one. Write a domain in Chinese in its xn-- form."
            )
        )
    try:
        parts = urlsplit(address)
        port = parts.port if parts.port is not None else DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        raise ValidationError(_("The address cannot be read: a port is a number from 1 to 65535.")) from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValidationError(_("Enter an address that begins with http:// or https://."))
    if "@" in parts.netloc or "#" in address or ("?" in address and not query):
        raise ValidationError(_("Only scheme, host, port and path; secrets have fields of their own."))
    if not port or parts.netloc.endswith(":"):
        raise ValidationError(_("The address cannot be read: a port is a number from 1 to 65535."))
    if not _is_host(parts.hostname):
        raise ValidationError(_("The host is neither a name, written without a dot at its end, nor an IP address."))
    return Origin(parts.scheme, parts.hostname, port)


def _is_host(host: str) -> bool:
    """A name or an address in its usual form; of numbers alone a name would be read as an address (2130706433, 0x7f.1)."""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return "%" not in host  # a zone is of this machine only
    labels = host.split(".")
    numeric = re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", labels[-1])
    return len(host) <= 253 and not numeric and all(LABEL.fullmatch(label) for label in labels)


def check_address(address: str, guard: Guard, *, query: bool = False) -> None:
    """Raises ValidationError where it cannot be read, or the guard would refuse it now. A name that does not resolve just now passes:
    the guard is asked again before each call."""
    origin = parse_address(address, query=query)
    try:
        guard.resolve(origin.host, origin.port, secure=origin.scheme == "https")
    except ChannelError as refused:
        raise ValidationError(refused.text) from refused
    except (OSError, UnicodeError):
        if origin.scheme != "https" and not guard.names(origin.host, origin.port):
            raise ValidationError(guard.without_tls) from None


def leads_elsewhere(before: str, after: str) -> bool:
    """Whether scheme, host or port differ; also where one of them is empty or cannot be read."""
    if before == after:
        return False
    try:
        return parse_address(before, query=True) != parse_address(after, query=True)
    except ValidationError:
        return True
