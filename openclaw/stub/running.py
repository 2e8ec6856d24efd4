"""Starts the stub: in a thread for tests, or as a process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiohttp import web

from openclaw.stub.gateway import Faults, Gateway, Json
from openclaw.stub.sockets import Sockets
from openclaw.stub.store import Store
from openclaw.stub.web import make_application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

T = TypeVar("T")


@contextlib.asynccontextmanager
async def serve(gateway: Gateway, host: str = "127.0.0.1", port: int = 0, tick: float = 30.0) -> AsyncIterator[Sockets]:
    """Serve until the block ends; `gateway.address` is the base URL."""
    sockets = Sockets(gateway, tick)
    runner = web.AppRunner(make_application(gateway, sockets), shutdown_timeout=1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=512).start()
    gateway.address = f"http://{host}:{runner.addresses[0][1]}"
    gateway.resume_interrupted()
    try:
        yield sockets
    finally:
        for run in list(gateway.runs.values()):
            if run.task:
                run.task.cancel()
        sockets.drop()
        await runner.cleanup()
        gateway.store.close()


class RunningStub:
    """`with RunningStub() as stub:` serves from a thread of its own; set `stub.faults.<name>` at any time."""

    def __init__(
        self,
        token: str = "stub-token",  # noqa: S107 - a test's token
        agents: tuple[str, ...] = ("main", "support"),
        *,
        tick: float = 30.0,
        pace: float = 0.0,
        state: Path | None = None,
    ) -> None:
        self.token = token
        self._gateway = Gateway(token, list(agents), Store(state), pace)
        self._tick = tick
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="openclaw-stub", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the stub did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with serve(self._gateway, tick=self._tick) as self._sockets:
            self._ready.set()
            await self._stop.wait()

    def _run_in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    @property
    def base_url(self) -> str:
        return self._gateway.address

    @property
    def boot_id(self) -> str:
        return self._gateway.boot_id

    @property
    def faults(self) -> Faults:
        return self._gateway.faults

    @property
    def record(self) -> list[Json]:
        """Each key that ran: session_key, key, message, resumes, count."""
        return self._gateway.store.list_runs()

    @property
    def commands(self) -> dict[str, str]:
        """Key and text of each `chat.send` that was a command."""
        return self._gateway.commands

    @property
    def connections(self) -> int:
        return len(self._sockets.open)

    def disconnect(self) -> None:
        """Close every connection; runs go on."""

        async def drop() -> None:
            self._sockets.drop()

        self._run_in_loop(drop())

    def drain(self, restart_expected: int = 2000) -> None:
        """Announce a shutdown (in milliseconds) and close. New connections are refused until `faults.draining` is unset."""
        self._run_in_loop(self._sockets.drain(restart_expected))

    def restart(self, *, history: bool = True) -> None:
        """A new boot: connections and runs are lost, interrupted turns are resumed if `faults.resume`."""
        self._run_in_loop(self._gateway.restart(history=history))

    def abort(self, session_key: str, run_id: str = "") -> list[str]:
        """Stop the runs of a session, or one of them, as a person at the gateway can. Return the ids of those that had not ended."""

        async def stop() -> list[str]:
            return self._gateway.abort(session_key, run_id)

        return self._run_in_loop(stop())

    def say(self, session_key: str, text: str) -> str:
        """Send a message of the agent without a question. Return the run's id."""

        async def send() -> str:
            return self._gateway.send_proactive(session_key, text)

        return self._run_in_loop(send())
