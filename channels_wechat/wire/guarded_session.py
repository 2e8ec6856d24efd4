"""aiohttp sessions, for whoever waits long without holding a thread: only to addresses that the guard allowed, and no redirects.

`wire.http` is for everything else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import SimpleNamespace

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.http_client import AddressGuard


class Target(AbstractResolver):
    """One address, and the addresses behind its host name that the guard allowed: aiohttp connects to exactly those.

    url: `http`, `https`, `ws` or `wss`; another one raises ChannelError `address_invalid`. secure: whether TLS is spoken.
    """

    def __init__(self, url: str, guard: AddressGuard) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise WIRE.error("address_invalid") from None
        if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
            raise WIRE.error("address_invalid")
        self.url, self.host, self.secure = url, parts.hostname, parts.scheme in ("wss", "https")
        self._port, self._guard = port or (443 if self.secure else 80), guard

    async def check_literal(self) -> None:
        """Check a host that is an IP address: aiohttp does not ask the resolver about it. Raises ChannelError."""
        with suppress(ValueError):
            ipaddress.ip_address(self.host)
            await self.resolve(self.host, self._port)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        allowed = await loop.run_in_executor(None, lambda: self._guard.resolve(host, port, secure=self.secure))
        return [_make_result(host, address, port) for address in allowed]

    async def close(self) -> None:
        """Nothing is kept open."""


def _make_result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


@asynccontextmanager
async def open_session(target: Target) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session for the host of this target only. It keeps no cookies and reads nothing from the environment."""
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    connector = aiohttp.TCPConnector(resolver=target, use_dns_cache=False)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[tracing]
    ) as session:
        yield session


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    """Called before aiohttp follows a redirect: our secret goes only to the host that staff entered."""
    redirect.response.close()
    raise error_for_refused_status(redirect.response.status)


def error_for_refused_status(status: int) -> ChannelError:
    """The error of an answer before anything was asked, so that no outcome is unknown. A page with status 200 is another server's."""
    code = f"http_{status}" if status >= 300 else "html"
    return WIRE.error(code, WIRE.row(code).action_for(harmless=True), params={"status": status})
