"""The stub's HTTP side: health, models, chat completions, and the control endpoints of the tests."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from typing import TYPE_CHECKING

from aiohttp import web

from openclaw.stub.answers import make_picture
from openclaw.stub.gateway import Faults, Gateway, Json, read_agent_id
from openclaw.stub.run import Run

if TYPE_CHECKING:
    from openclaw.stub.sockets import Sockets

BODY_LIMIT = 20 * 2**20


def make_application(gateway: Gateway, sockets: Sockets) -> web.Application:
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
        if refusal := self._refuse_request(request):
            return refusal
        names = [f"openclaw/{agent}" for agent in self.gateway.agents]
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    def _refuse_request(self, request: web.Request) -> web.Response | None:
        if self.gateway.faults.locked_out:
            return _make_error(429, "rate_limited", "too many failed attempts", {"Retry-After": "300"})
        if request.headers.get("Authorization") != f"Bearer {self.gateway.token}":
            return _make_error(401, "unauthorized", "Unauthorized")
        if not self.gateway.is_ready():
            return _make_error(503, "unavailable", "gateway starting", {"Retry-After": "1"})
        return None

    # --- chat completions ---------------------------------------------------------------------------------------------

    async def complete(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refuse_request(request):
            return refusal
        body = await request.json()
        agent = str(body.get("model", "")).removeprefix("openclaw/")
        session = request.headers.get("x-openclaw-session-key", f"agent:{agent}:openai:{uuid.uuid4()}").lower()
        if (read_agent_id(session) or agent) not in self.gateway.agents:
            return _make_error(400, "invalid_request_error", f"Unknown agent '{agent}'.")
        message, images = _read_last_message(body)
        run = Run(f"chatcmpl_{uuid.uuid4()}", session, message, images)
        texts: asyncio.Queue[str | None] = asyncio.Queue()
        run.listeners.append(texts.put_nowait)
        self.gateway.start(run)
        run.task.add_done_callback(lambda _task: texts.put_nowait(None)) if run.task else None
        try:
            return await self._stream(request, run, texts)
        except (ConnectionError, asyncio.CancelledError):
            self.gateway.abort(run.session, run.key)  # the run of a client that disconnects is ended
            raise

    async def _stream(self, request: web.Request, run: Run, texts: asyncio.Queue[str | None]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        sent = ""
        while (text := await texts.get()) is not None:
            if not response.prepared:
                await response.prepare(request)
            await response.write(_make_chunk(run, {"content": text[len(sent) :]}))
            sent = text
        if not response.prepared:
            await response.prepare(request)
        await response.write(_make_last_chunk(run) + b"data: [DONE]\n\n")
        return response

    # --- control ------------------------------------------------------------------------------------------------------

    async def record(self, _request: web.Request) -> web.Response:
        return web.json_response({"runs": self.gateway.store.list_runs(), "bootId": self.gateway.boot_id})

    async def image(self, request: web.Request) -> web.Response:
        return web.Response(body=make_picture(len(request.match_info["name"])), content_type="image/png")

    async def set_faults(self, request: web.Request) -> web.Response:
        self.gateway.faults = dataclasses.replace(self.gateway.faults, **await request.json())
        return web.json_response(dataclasses.asdict(self.gateway.faults))

    async def say(self, request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response({"runId": self.gateway.send_proactive(body["sessionKey"], body["text"])})

    async def restart(self, request: web.Request) -> web.Response:
        await self.gateway.restart(history=(await request.json()).get("history", True))
        self.gateway.faults = Faults(resume=self.gateway.faults.resume)
        return web.json_response({"bootId": self.gateway.boot_id})


def _read_last_message(body: Json) -> tuple[str, int]:
    content = next((m["content"] for m in reversed(body["messages"]) if m["role"] == "user"), "")
    if isinstance(content, str):
        return content, 0
    message = "\n".join(part["text"] for part in content if part["type"] == "text")
    return message, sum(part["type"] == "image_url" for part in content)


def _make_chunk(run: Run, delta: Json, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": run.key, "object": "chat.completion.chunk", "created": int(time.time()), "choices": [choice]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def _make_last_chunk(run: Run) -> bytes:
    """Return the last chunk. The stream of a failed run has status 200 too, and ends with an error."""
    if run.final and run.final["status"] == "ok":
        return _make_chunk(run, {}, "stop")
    final = run.final or {}
    kind = "invalid_request_error" if "HTTP 4" in final.get("summary", "") else "api_error"
    return b"data: " + json.dumps({"error": {"message": final.get("summary", ""), "type": kind}}).encode() + b"\n\n"


def _make_error(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind}}, status=status, headers=headers)
