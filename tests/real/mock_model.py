"""A model server that speaks the OpenAI chat completions API and answers by rule, for tests with a real gateway.

The answer is "pong: <last line of the user's text, without the frame of a group>", streamed, unless the text holds a directive:
!slow=<seconds>  the time the answer takes      !tokens=<n>      n numbered words
!say=<text>      exactly the rest of the line   !fail=<status>   that HTTP error, every time
!once=<status>   that HTTP error, the first time this text is asked
!silent          "NO_REPLY", every time         !empty           nothing at all, every time
!long=<n>        n characters
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

# The gateway adds a user message of its own after the real one (facts: OpenClaw 2026.9).
INTERNAL = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"
# It puts its time stamp before the text and, in a session's first turn, a line after it.
STAMP = re.compile(r"^\[\w{3} \d{4}-\d\d-\d\d \d\d:\d\d \w+\] ")
RUNTIME = re.compile(r"\n+Runtime: agent=.*", re.S)

# The marks that the bridge puts round what a member of a group wrote.
_FRAME = re.compile(r"⟦/?[0-9a-f]*⟧ ?")


def text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


@dataclass
class Call:
    """One request of the gateway, as the model sees it."""

    body: dict[str, Any]
    at: float = field(default_factory=time.time)

    @property
    def user(self) -> dict[str, Any]:
        messages = [m for m in self.body.get("messages", []) if m.get("role") == "user"]
        return next((m for m in reversed(messages) if not text_of(m["content"]).lstrip().startswith(INTERNAL)), {})

    @property
    def text(self) -> str:
        return STAMP.sub("", RUNTIME.sub("", text_of(self.user.get("content"))).strip())

    @property
    def system(self) -> str:
        roles = ("system", "developer")
        return "\n".join(text_of(m.get("content")) for m in self.body.get("messages", []) if m.get("role") in roles)

    @property
    def images(self) -> list[str]:
        content = self.user.get("content")
        parts = content if isinstance(content, list) else []
        return [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]

    def directive(self, name: str) -> str | None:
        match = re.search(rf"!{name}=(.*)" if name == "say" else rf"!{name}=([\d.]+)", self.text)
        return match[1].strip() if match else None

    def _asked_lately(self, directive: str) -> bool:
        """The gateway asks once more after silence, with a user message of its own at the end."""
        newest = self.body.get("messages", [])[-6:]
        return any(directive in text_of(m.get("content")) for m in newest if m.get("role") == "user")

    @property
    def answer(self) -> str:
        if self._asked_lately("!silent"):
            return "NO_REPLY"
        if self._asked_lately("!empty"):
            return ""
        if length := self.directive("long"):
            return ("0123456789" * (int(length) // 10 + 1))[: int(length)]
        if said := self.directive("say"):
            return said
        if count := self.directive("tokens"):
            return " ".join(f"w{number}" for number in range(int(count)))
        lines = _FRAME.sub("", self.text).strip().splitlines()
        return f"pong: {lines[-1] if lines else ''}"


@dataclass
class MockModel:
    """The server in a thread of its own; `calls` grows with every request."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    _failed_once: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "mock-1", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        call = Call(await request.json())
        self.calls.append(call)
        if status := self._failure(call):
            return web.json_response({"error": {"message": f"mock failure {status}", "type": "mock"}}, status=status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        with contextlib.suppress(ConnectionError):  # a turn was broken off, or the gateway was killed
            await response.prepare(request)
            await self._speak(call, response)
        return response

    async def _speak(self, call: Call, response: web.StreamResponse) -> None:
        words = re.findall(r"\S+\s*|\s+", call.answer)
        pause = float(call.directive("slow") or 0) / max(len(words), 1)
        for word in words:
            await asyncio.sleep(pause)
            await response.write(_chunk({"role": "assistant", "content": word}))
        await response.write(_chunk({}, "stop"))
        await response.write(b"data: [DONE]\n\n")

    def _failure(self, call: Call) -> int | None:
        if status := call.directive("fail"):
            return int(status)
        status = call.directive("once")
        if status and call.text not in self._failed_once:
            self._failed_once.add(call.text)
            return int(status)
        return None


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 5,
        "total_tokens": 1005,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "mock-1", "choices": [choice]}
    return b"data: " + json.dumps(body | ({"usage": usage} if finish else {})).encode() + b"\n\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=18999)
    with MockModel(parser.parse_args().port):
        threading.Event().wait()
