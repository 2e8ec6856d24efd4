"""Addresses that the platform names: untrusted, so that our token and a login go only to Tencent, or to where staff want it."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from channels_wechat.wire.addresses import parse_address

API = "https://ilinkai.weixin.qq.com"
CDN = "https://novac2c.cdn.weixin.qq.com/c2c"
TENCENT = ("qq.com", "wechat.com", "weixin.com", "tencent.com")


def is_tencent(host: str) -> bool:
    """host: a name in small letters, without a port."""
    return any(host == domain or host.endswith(f".{domain}") for domain in TENCENT)


def trusted_base_url(address: str) -> str:
    """Return the address without a slash at its end; empty where it is not https, or not Tencent's."""
    with suppress(ValidationError):
        origin = parse_address(address)
        if origin.scheme == "https" and is_tencent(origin.host):
            return address.rstrip("/")
    return ""


def redirected_base_url(host: str, base_url: str) -> str:
    """Return the address that a login is sent on to; empty where it may not be followed.

    host: as the platform names it, perhaps with a port. base_url: the address that staff entered; empty: the platform's own.
    """
    if base_url and host == urlsplit(base_url).netloc:
        return base_url.rstrip("/")
    return trusted_base_url(f"https://{host}") if "/" not in host else ""
