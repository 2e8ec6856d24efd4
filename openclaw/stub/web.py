"""The stub's HTTP side: health, models, chat completions, and the control endpoints of the tests."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from typing import TYPE_CHECKING

from aiohttp import web

from openclaw.stub.brain import picture
from openclaw.stub.gateway import Faults, Gateway, Json, agent_of
from openclaw.stub.run import Run

if TYPE_CHECKING:
    from openclaw.stub.sockets import Sockets

BODY_LIMIT = 20 * 2**20


def application(gateway: Gateway, sockets: Sockets) -> web.Application:
    site = Site(gateway, sockets)
    app = web.Application(client_max_size=BODY_LIMIT)
    app.router.add_get("/", sockets.accept)
    for path in ("/health", "/healthz"):
        app.router.add_get(path, site.health)
    for path in ("/ready", "/readyz"):
        app.router.add_get(path, site.ready)
    app.router.add_get("/v1/models", site.models)
    app.router.add_post("/v1/chat/completions", site.complete)
    app.router.add_get("/_stub/record", site.record)
    app.router.add_get("/_stub/image/{name}", site.image)
    app.router.add_post("/_stub/faults", site.set_faults)
    app.router.add_post("/_stub/say", site.say)
    app.router.add_post("/_stub/restart", site.restart)
    return app


class Site:
    def __init__(self, gateway: Gateway, sockets: Sockets) -> None:
        self.gateway = gateway
        self.sockets = sockets

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "status": "live"})

    async def ready(self, _request: web.Request) -> web.Response:
        ready = self.gateway.is_ready()
        body = {"ready": ready, "failing": [], "uptimeMs": int((time.monotonic() - self.gateway.started_at) * 1000)}
        return web.json_response(body, status=200 if ready else 503)

    async def models(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        names = [f"openclaw/{agent}" for agent in self.gateway.agents]
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.gateway.faults.locked_out:
            return _error(429, "rate_limited", "too many failed attempts", {"Retry-After": "300"})
        if request.headers.get("Authorization") != f"Bearer {self.gateway.token}":
            return _error(401, "unauthorized", "Unauthorized")
        if not self.gateway.is_ready():
            return _error(503, "unavailable", "gateway starting", {"Retry-After": "1"})
        return None

    # --- chat completions ---------------------------------------------------------------------------------------------

    async def complete(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        body = await request.json()
        agent = str(body.get("model", "")).removeprefix("openclaw/")
        session = request.headers.get("x-openclaw-session-key", f"agent:{agent}:openai:{uuid.uuid4()}").lower()
        if (agent_of(session) or agent) not in self.gateway.agents:
            return _error(400, "invalid_request_error", f"Unknown agent '{agent}'.")
        said, images = _last_user(body)
        run = Run(f"chatcmpl_{uuid.uuid4()}", session, said, images)
        words: asyncio.Queue[str | None] = asyncio.Queue()
        run.listeners.append(words.put_nowait)
        self.gateway.start(run)
        run.task.add_done_callback(lambda _task: words.put_nowait(None)) if run.task else None
        try:
            return await self._stream(request, run, words)
        except (ConnectionError, asyncio.CancelledError):
            self.gateway.abort(run.session, run.key)  # a lost client ends the run
            raise

    async def _stream(self, request: web.Request, run: Run, words: asyncio.Queue[str | None]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        sent = ""
        while (said := await words.get()) is not None:
            if not response.prepared:
                await response.prepare(request)
            await response.write(_chunk(run, {"content": said[len(sent) :]}))
            sent = said
        if not response.prepared:
            await response.prepare(request)
        await response.write(_ending(run) + b"data: [DONE]\n\n")
        return response

    # --- control ------------------------------------------------------------------------------------------------------

    async def record(self, _request: web.Request) -> web.Response:
        return web.json_response({"runs": self.gateway.book.record(), "bootId": self.gateway.boot_id})

    async def image(self, request: web.Request) -> web.Response:
        return web.Response(body=picture(len(request.match_info["name"])), content_type="image/png")

    async def set_faults(self, request: web.Request) -> web.Response:
        self.gateway.faults = dataclasses.replace(self.gateway.faults, **await request.json())
        return web.json_response(dataclasses.asdict(self.gateway.faults))

    async def say(self, request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response({"runId": self.gateway.speak_first(body["sessionKey"], body["text"])})

    async def restart(self, request: web.Request) -> web.Response:
        await self.gateway.restart(history=(await request.json()).get("history", True))
        self.gateway.faults = Faults(resume=self.gateway.faults.resume)
        return web.json_response({"bootId": self.gateway.boot_id})


def _last_user(body: Json) -> tuple[str, int]:
    content = next((m["content"] for m in reversed(body["messages"]) if m["role"] == "user"), "")
    if isinstance(content, str):
        return content, 0
    said = "\n".join(part["text"] for part in content if part["type"] == "text")
    return said, sum(part["type"] == "image_url" for part in content)


def _chunk(run: Run, delta: Json, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": run.key, "object": "chat.completion.chunk", "created": int(time.time()), "choices": [choice]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def _ending(run: Run) -> bytes:
    """Return the last chunk; a failed run ends a stream of status 200 with an error."""
    if run.final and run.final["status"] == "ok":
        return _chunk(run, {}, "stop")
    final = run.final or {}
    kind = "invalid_request_error" if "HTTP 4" in final.get("summary", "") else "api_error"
    return b"data: " + json.dumps({"error": {"message": final.get("summary", ""), "type": kind}}).encode() + b"\n\n"


def _error(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind}}, status=status, headers=headers)
