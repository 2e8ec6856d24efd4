"""The two ways to a gateway, with one interface: the WebSocket, and HTTP streaming where a proxy blocks WebSockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from openclaw.client import GatewayClient
from openclaw.errors import Code, GatewayError
from openclaw.http import ask_http, probe
from openclaw.reach import open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from openclaw.client import OnPartial, OnUsage
    from openclaw.turns import AgentInfo, Answer, Endpoint, ProactiveReply, Turn


class Transport(Protocol):
    """A connection to one gateway. Every method raises GatewayError."""

    closed: asyncio.Event

    @property
    def last_frame_at(self) -> float:
        """When the gateway last sent anything, in Unix time; 0 where nothing is sent but answers."""

    async def open(self) -> tuple[str, str, str]:
        """Return the version, the boot id and a new device token, or an empty one."""

    async def list_agents(self) -> list[AgentInfo]: ...
    async def ask(self, turn: Turn, on_partial: OnPartial, on_usage: OnUsage) -> Answer: ...

    async def recover(self, turn: Turn, on_partial: OnPartial, on_usage: OnUsage) -> Answer | None:
        """Return the answer of a turn whose connection was lost; None: the turn must be asked again with a new key."""

    async def abort(self, turn: Turn) -> None: ...
    async def warm_up(self, agent_id: str, boot_id: str) -> None: ...
    async def download(self, session_key: str, artifact_id: str) -> bytes: ...
    async def close(self) -> None: ...

    @property
    def lost(self) -> GatewayError: ...


class SocketTransport:
    def __init__(self, endpoint: Endpoint, on_proactive: Callable[[ProactiveReply], None]) -> None:
        self.client = GatewayClient(endpoint, on_proactive)
        self.closed = self.client.closed

    @property
    def lost(self) -> GatewayError:
        return self.client.lost

    @property
    def last_frame_at(self) -> float:
        return self.client.last_frame_at

    async def open(self) -> tuple[str, str, str]:
        hello = await self.client.connect()
        return hello.version, hello.boot_id, hello.device_token

    async def list_agents(self) -> list[AgentInfo]:
        return await self.client.list_agents()

    async def ask(self, turn: Turn, on_partial: OnPartial, on_usage: OnUsage) -> Answer:
        return await self.client.ask(turn, on_partial, on_usage)

    async def recover(self, turn: Turn, on_partial: OnPartial, on_usage: OnUsage) -> Answer | None:
        return await self.client.recover(turn, on_partial, on_usage)

    async def abort(self, turn: Turn) -> None:
        await self.client.abort(turn.session_key, turn.idempotency_key)

    async def warm_up(self, agent_id: str, boot_id: str) -> None:
        await self.client.warm_up(agent_id, boot_id)

    async def download(self, session_key: str, artifact_id: str) -> bytes:
        return await self.client.download(session_key, artifact_id)

    async def close(self) -> None:
        await self.client.close()


class HttpTransport:
    """A request for each turn. The gateway aborts a turn whose connection ends, so there is nothing to recover."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed = asyncio.Event()
        self.known_agents: list[AgentInfo] = []
        self.session: aiohttp.ClientSession | None = None
        self.asking: dict[str, asyncio.Task[Answer]] = {}

    @property
    def lost(self) -> GatewayError:
        return GatewayError(Code.CONNECTION_LOST)

    @property
    def last_frame_at(self) -> float:
        return 0.0

    async def open(self) -> tuple[str, str, str]:
        result = await probe(self.endpoint)
        self.known_agents = list(result.agents)
        return result.version or "", "", result.device_token

    async def list_agents(self) -> list[AgentInfo]:
        return self.known_agents

    async def ask(self, turn: Turn, on_partial: OnPartial, on_usage: OnUsage) -> Answer:
        self.session = self.session or open_session(self.endpoint)
        task = asyncio.ensure_future(ask_http(self.session, self.endpoint, turn, on_partial))
        self.asking[turn.idempotency_key] = task
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and turn.idempotency_key not in self.asking:
                raise GatewayError(Code.RUN_ABORTED) from None
            task.cancel()
            raise
        finally:
            self.asking.pop(turn.idempotency_key, None)

    async def recover(self, turn: Turn, on_partial: OnPartial, on_usage: OnUsage) -> Answer | None:
        return None

    async def abort(self, turn: Turn) -> None:
        task = self.asking.pop(turn.idempotency_key, None)
        if task:
            task.cancel()

    async def warm_up(self, agent_id: str, boot_id: str) -> None:
        """Do nothing, because every HTTP request would be a turn of the agent."""

    async def download(self, session_key: str, artifact_id: str) -> bytes:
        raise GatewayError(Code.MEDIA_GONE, "artifacts are fetched over the WebSocket only")

    async def close(self) -> None:
        self.closed.set()
        if self.session:
            await self.session.close()
