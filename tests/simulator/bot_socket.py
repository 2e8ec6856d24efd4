"""An AI bot's long connection as plain as can be: frames out, frames in, over aiohttp in a thread of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Coroutine

JSON = dict[str, Any]
SECRET = "long-connection-secret"
LIMIT = 20.0  # seconds to wait for a frame


class BotSocket:
    """`with BotSocket(client.websocket_url) as socket:` connects; `subscribe()` makes it a bot's."""

    def __init__(self, url: str, bot: str = "SOCKETBOT") -> None:
        self.url, self.bot = url, bot
        self.frames: list[JSON] = []  # callbacks that came while an acknowledgement was awaited
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._numbers = itertools.count(1)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT + 5)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._connect())
        return self

    async def _connect(self) -> None:
        self._session = aiohttp.ClientSession(trust_env=False)
        self._ws = await self._session.ws_connect(self.url, max_msg_size=0)

    def __exit__(self, *_: object) -> None:
        self._run(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _leave(self) -> None:
        await self._ws.close()
        await self._session.close()

    def send(self, cmd: str, body: JSON | None = None, req_id: str = "") -> str:
        req_id = req_id or f"{cmd}_{next(self._numbers)}"
        self.send_text(json.dumps({"cmd": cmd, "headers": {"req_id": req_id}, "body": body or {}}, ensure_ascii=False))
        return req_id

    def send_text(self, text: str) -> None:
        self._run(self._ws.send_str(text))

    def receive(self) -> JSON:
        """The next frame; the close code where the connection ended."""
        message = self._run(self._ws.receive(LIMIT))
        if message.type is aiohttp.WSMsgType.TEXT:
            return json.loads(message.data)
        return {"closed": self._ws.close_code}

    def text(self) -> str:
        return self._run(self._ws.receive_str(timeout=LIMIT))

    def ask(self, cmd: str, body: JSON | None = None, req_id: str = "") -> JSON:
        """Send, and return the acknowledgement; callbacks that come before it are kept."""
        req_id = self.send(cmd, body, req_id)
        while True:
            frame = self.receive()
            if "cmd" not in frame:
                assert "closed" in frame or frame["headers"]["req_id"] == req_id
                return frame
            self.frames.append(frame)

    def errcode(self, cmd: str, body: JSON | None = None, req_id: str = "") -> int:
        return int(self.ask(cmd, body, req_id)["errcode"])

    def callback(self) -> JSON:
        """The next callback: {"cmd", "headers", "body"}."""
        return self.frames.pop(0) if self.frames else self.receive()

    def subscribe(self, secret: str = SECRET, **more: Any) -> JSON:
        return self.ask("aibot_subscribe", {"bot_id": self.bot, "secret": secret} | more)
