"""A gateway that plays a turn that a real one was recorded with: its frames, in their order, for whatever turn is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openclaw"
VERSIONS = ("2026.9.6", "2026.8.2", "2026.7.35")


def load(version: str, name: str) -> Any:
    return json.loads((FIXTURES / version / f"{name}.json").read_text())


class Recorded:
    """leave_out: so many frames at the end are not played; the connection stays open."""

    def __init__(self, version: str, name: str, *, wait: str = "", history: str = "", leave_out: int = 0) -> None:
        self.version, self.name = version, name
        self.wait, self.history = wait or name, history
        self.frames = load(version, f"turn__{name}")
        self.frames = self.frames[: len(self.frames) - leave_out]
        self.asked: list[dict[str, Any]] = []
        self.pause_before_acceptance = self.pause_before_response = 0.0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/", self._accept)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._answer(socket, json.loads(message.data))
        return socket

    async def _answer(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        self.asked.append(frame)
        if frame["method"] == "agent":
            await self._play(socket, frame)
            return
        payload = {
            "connect": lambda: self._hello(frame["params"]["scopes"]),
            "agent.wait": lambda: load(self.version, f"wait__{self.wait}"),
            "chat.history": lambda: (
                load(self.version, f"history__{self.history}") if self.history else {"messages": []}
            ),
            "chat.abort": lambda: {"ok": True, "aborted": False, "runIds": []},
        }[frame["method"]]()
        await socket.send_json({"type": "res", "id": frame["id"], "ok": True, "payload": payload})

    def _hello(self, scopes: list[str]) -> dict[str, Any]:
        boot = {} if self.version == "2026.7.35" else {"bootId": "boot"}
        return {
            "type": "hello-ok",
            "protocol": 4,
            "server": {"version": self.version} | boot,
            "auth": {"role": "operator", "scopes": scopes},
            "policy": {"tickIntervalMs": 30_000},
        }

    async def _play(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        first = next(frame["id"] for frame in self.frames if frame["type"] == "res")
        last = self.frames[-1]
        await asyncio.sleep(self.pause_before_acceptance)
        for frame in self.frames:
            if frame["type"] == "res" and frame["id"] != first:
                continue  # of the abort, which another connection asked for
            if frame is last and frame["type"] == "res":
                await asyncio.sleep(self.pause_before_response)
            played = json.dumps(frame).replace(f"fix-{self.name}", asked["params"]["idempotencyKey"])
            await socket.send_json(json.loads(played) | ({"id": asked["id"]} if frame["type"] == "res" else {}))


class Scripted(Recorded):
    """A gateway that answers each method as it is told, one after the other, the last one again and again; to others it says nothing.

    answers: method → payloads, or errors, which have a code.
    """

    def __init__(self, answers: dict[str, list[dict[str, Any]]], version: str = VERSIONS[0]) -> None:
        super().__init__(version, "ok")
        self.answers = answers

    async def _answer(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["method"] == "connect" and "connect" not in self.answers:
            await super()._answer(socket, frame)
            return
        self.asked.append(frame)
        waiting = self.answers.get(frame["method"], [])
        if waiting:
            said = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            more = {"ok": False, "error": said} if "code" in said else {"ok": True, "payload": said}
            await socket.send_json({"type": "res", "id": frame["id"], **more})
