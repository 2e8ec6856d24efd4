"""The way to a gateway: only to addresses that may be reached, never on to where a redirect points, and answers within bounds."""

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
from channels_wechat.wire.ssrf_guard import Guard
from openclaw.errors import Code, ConnectionFailure, GatewayError

if TYPE_CHECKING:
    from types import SimpleNamespace

    from openclaw.turns import Endpoint

# Where nobody said what may be reached: everything but link-local and metadata addresses.
ANYWHERE: Final = ("0.0.0.0/0", "::/0")
FRAME_LIMIT: Final = 64 * 2**20
"""Bytes of a frame. A gateway takes and sends 25 MiB at most; an artifact in base64 comes in one."""
BODY_LIMIT: Final = 64 * 2**20
ERROR_LIMIT: Final = 2**20
CHUNK: Final = 2**16


def open_session(endpoint: Endpoint, timeout: aiohttp.ClientTimeout | None = None) -> aiohttp.ClientSession:
    """A session for this gateway alone. Raises GatewayError where its address is one that may not be reached."""
    resolver = _Resolver(endpoint)
    resolver.check_literal()
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout or aiohttp.ClientTimeout(),
        trace_configs=[tracing],
    )


async def read_bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body. Raises GatewayError `answer_too_large` beyond `most` bytes."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise GatewayError(Code.ANSWER_TOO_LARGE, f"a body of more than {most} bytes")
    return b"".join(parts)


def why_failed(error: Exception) -> ConnectionFailure:
    """The cause of a connection that failed, which staff read in words: the name of a class says nothing to them."""
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
    _session: aiohttp.ClientSession, _context: SimpleNamespace, found: aiohttp.TraceRequestRedirectParams
) -> None:
    """Before aiohttp follows: the token and what people wrote go to no host that staff did not enter."""
    found.response.close()
    raise GatewayError(Code.REDIRECTED, f"HTTP {found.response.status}")


class _Resolver(AbstractResolver):
    """Gives aiohttp the addresses that the guard let through, so that it connects to what was checked."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.base_url)
        self._host, self._secure = parts.hostname or "", parts.scheme in ("https", "wss")
        self._port = parts.port or (443 if self._secure else 80)
        allowed = endpoint.private_hosts
        if allowed is None:
            allowed = tuple(f"{f'[{net}]' if ':' in net else net}:*" for net in ANYWHERE)
        self._guard = Guard(allowed)

    def check_literal(self) -> None:
        """aiohttp asks no resolver about an address in numbers."""
        with suppress(ValueError):
            ipaddress.ip_address(self._host)
            self._reachable(self._host, self._port)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(None, self._reachable, host, port)
        return [_result(host, address, port) for address in found]

    def _reachable(self, host: str, port: int) -> list[str]:
        try:
            return self._guard.resolve(host, port, secure=self._secure)
        except ChannelError as refused:
            raise GatewayError(Code.FORBIDDEN_ADDRESS, str(refused.text)) from None

    async def close(self) -> None:
        """Nothing is kept open."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
