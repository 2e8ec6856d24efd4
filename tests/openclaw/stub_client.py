"""A client connected to the stub gateway, for the tests of this room."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from openclaw.client import Answer, Endpoint, GatewayClient, ProactiveReply, Turn
from openclaw.session import make_session_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from openclaw.stub import RunningStub

KEY = make_session_key("main", "account", "group", "wrGroup", 0)


@contextlib.asynccontextmanager
async def connected(
    stub: RunningStub, on_foreign: Callable[[ProactiveReply], None] | None = None
) -> AsyncIterator[GatewayClient]:
    client = GatewayClient(Endpoint(stub.base_url, stub.token), on_foreign)
    try:
        await client.connect()
        yield client
    finally:
        await client.close()


def turn(message: str, key: str = "d1.1", session: str = KEY, timeout: float = 20.0) -> Turn:
    return Turn(session, session.split(":")[1], message, key, timeout=timeout)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the state did not come"
        await asyncio.sleep(0.01)


def ask(stub: RunningStub, *turns: Turn) -> list[Answer]:
    async def run() -> list[Answer]:
        async with connected(stub) as client:
            return [await client.ask(one) for one in turns]

    return asyncio.run(run())
