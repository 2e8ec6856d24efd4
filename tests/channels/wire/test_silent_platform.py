"""Requests to a platform that reads nothing, and over a WebSocket that nobody reads any more."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.wire.request_socket import RequestSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def connected(read: list[str] | None) -> AsyncIterator[RequestSocket]:
    """A socket to a server that acknowledges nothing. read: what it reads; None: it never reads."""
    heard = [] if read is None else read

    async def serve(request: web.Request) -> web.WebSocketResponse:
        server = web.WebSocketResponse()
        await server.prepare(request)
        if read is None:
            assert request.transport
            request.transport.pause_reading()
            await asyncio.sleep(60)
        async for message in server:
            heard.append(message.data)
        return server

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        timeout = aiohttp.ClientWSTimeout(ws_close=0.1)
        raw = await session.ws_connect(f"http://127.0.0.1:{runner.addresses[0][1]}/", timeout=timeout)
        yield RequestSocket(raw, lambda _frame: "")
        await raw.close()
    await runner.cleanup()


def test_a_platform_that_reads_nothing_holds_up_no_sender() -> None:
    async def ask() -> ChannelError:
        async with connected(None) as socket, asyncio.timeout(20):
            with pytest.raises(ChannelError) as caught:
                await socket.request("1", {"body": "x" * 30_000_000}, 0.5)
            return caught.value

    error = asyncio.run(ask())
    assert (error.code, error.action) == ("timeout", Action.UNKNOWN)


def test_nothing_is_sent_when_nobody_would_read_its_acknowledgement() -> None:
    """Else it would be uncertain, although it could have waited for the next connection."""
    read: list[str] = []

    async def ask() -> tuple[ChannelError, ChannelError]:
        async with connected(read) as socket:
            first: Any = asyncio.create_task(socket.request("1", {"body": "first"}, 60))
            while not read:
                await asyncio.sleep(0.01)
            socket.lose()
            with pytest.raises(ChannelError) as waited:
                await first
            with pytest.raises(ChannelError) as refused:
                await socket.request("2", {"body": "second"}, 60)
            return waited.value, refused.value

    waited, refused = asyncio.run(ask())
    assert [(error.code, error.action) for error in (waited, refused)] == [
        ("connection_lost", Action.UNKNOWN),
        ("connection_lost", Action.WAIT),
    ]
    assert len(read) == 1
