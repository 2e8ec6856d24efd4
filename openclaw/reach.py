"""Opens HTTP sessions to a gateway: only to allowed addresses, without following redirects, and with a limit for the size of answers."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Cause
from channels_wechat.wire.ssrf_guard import Guard
from openclaw.errors import Code, ConnectionFailure, GatewayError

if TYPE_CHECKING:
    from types import SimpleNamespace

    from openclaw.turns import Endpoint

# Used if the caller named no addresses: everything is allowed but link-local and metadata addresses.
ALL_NETWORKS: Final = ("0.0.0.0/0", "::/0")
FRAME_LIMIT: Final = 64 * 2**20
"""Bytes of a frame. A gateway takes and sends at most 25 MiB; a whole artifact in base64 comes in one frame."""
BODY_LIMIT: Final = 64 * 2**20
ERROR_LIMIT: Final = 2**20
CHUNK_BYTES: Final = 2**16


def open_session(endpoint: Endpoint, timeout: aiohttp.ClientTimeout | None = None) -> aiohttp.ClientSession:
    """Open a session for this gateway only. Raises GatewayError if its address is not allowed."""
    resolver = _GuardedResolver(endpoint)
    resolver.check_literal()
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout or aiohttp.ClientTimeout(),
        trace_configs=[tracing],
    )


async def read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body. Raises GatewayError `answer_too_large` if it is longer than `max_bytes`."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise GatewayError(Code.ANSWER_TOO_LARGE, f"a body of more than {max_bytes} bytes")
    return b"".join(parts)


def find_failure(error: Exception) -> ConnectionFailure:
    """Return why a connection failed. Staff read it in words, because the name of an exception class would tell them nothing."""
    numbers = {getattr(error, "errno", None), *map(int, re.findall(r"Errno (\d+)", str(error)))}
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return ConnectionFailure.NOT_SECURE
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return ConnectionFailure.UNKNOWN_HOST
    if isinstance(error, TimeoutError):
        return ConnectionFailure.NO_ANSWER
    if numbers & {errno.ECONNREFUSED}:
        return ConnectionFailure.REFUSED
    if numbers & {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return ConnectionFailure.NO_ROUTE
    if isinstance(error, ValueError):
        return ConnectionFailure.OTHER_PROTOCOL
    return ConnectionFailure.CLOSED


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    """Called before aiohttp follows a redirect. The token and the messages may only go to the host that staff entered."""
    redirect.response.close()
    raise GatewayError(Code.REDIRECTED, f"HTTP {redirect.response.status}")


class _GuardedResolver(AbstractResolver):
    """Gives aiohttp the addresses that the guard allowed, so that it connects to an address that was checked."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.base_url)
        self._host, self._secure = parts.hostname or "", parts.scheme in ("https", "wss")
        self._port = parts.port or (443 if self._secure else 80)
        allowed = endpoint.private_hosts
        if allowed is None:
            allowed = tuple(f"{f'[{net}]' if ':' in net else net}:*" for net in ALL_NETWORKS)
        self._guard = Guard(allowed)

    def check_literal(self) -> None:
        """Check a host that is an IP address: aiohttp does not ask the resolver about it."""
        with suppress(ValueError):
            ipaddress.ip_address(self._host)
            self._resolve_allowed(self._host, self._port)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await asyncio.get_running_loop().run_in_executor(None, self._resolve_allowed, host, port)
        return [_make_result(host, address, port) for address in addresses]

    def _resolve_allowed(self, host: str, port: int) -> list[str]:
        try:
            return self._guard.resolve(host, port, secure=self._secure)
        except ChannelError as error:
            told = {name: value for name, value in error.params.items() if name != "detail"}
            raise GatewayError(Code.FORBIDDEN_ADDRESS, Cause(error.code, told)) from None

    async def close(self) -> None:
        """Nothing is kept open."""


def _make_result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
