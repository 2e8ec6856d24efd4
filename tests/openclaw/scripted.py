"""A client on a gateway that says what it is told to say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from openclaw.client import Endpoint, GatewayClient, ProactiveReply
from openclaw.session import make_session_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.openclaw.recorded import Recorded

    Found = TypeVar("Found")


KEY = "77.0"
SESSION = make_session_key("main", "account", "group", "wrGroup", 0)
ANSWER = {"role": "assistant", "content": "pong", "stopReason": "stop", "__openclaw": {"runId": KEY}}
BUSY = {"code": "UNAVAILABLE", "message": "busy"}


def talk(
    gateway: Recorded,
    work: Callable[[GatewayClient], Awaitable[Found]],
    on_foreign: Callable[[ProactiveReply], None] | None = None,
    *,
    grace: float = 30.0,
    seconds: float = 20.0,
) -> Found:
    """Work with a client of this gateway; it may take so many seconds."""

    async def run() -> Found:
        async with gateway.serving() as base_url:
            client = GatewayClient(Endpoint(base_url, "t"), on_foreign, grace=grace)
            await client.connect()
            try:
                return await asyncio.wait_for(work(client), seconds)
            finally:
                await client.close()

    return asyncio.run(run())


def said(run: str, words: str, state: str = "final") -> dict[str, Any]:
    content = [{"type": "text", "text": words}]
    return {"runId": run, "sessionKey": SESSION, "state": state, "message": {"role": "assistant", "content": content}}
