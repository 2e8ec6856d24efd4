"""One WebSocket of a client. Frames go out in order, and the record learns which messages were handed to it."""

import asyncio
import contextlib
import json
import socket as sockets
import struct
import time
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web

from channels_wechat.simulator.core.record import Delivery
from channels_wechat.simulator.core.state import JSON


@dataclass
class Facts:
    """What the control API shows of a connection. `ended`: by whom or how, "" while it is open."""

    number: int
    bot: str = ""
    device_id: str = ""
    scene: int | None = None
    plug_version: str = ""
    opened: float = field(default_factory=time.time)
    subscribed: bool = False
    pings: int = 0
    handed: int = 0
    closed: float | None = None
    ended: str = ""


@dataclass
class Outgoing:
    text: str
    delivery: Delivery | None = None
    req_id: str = ""


class Socket:
    def __init__(self, number: int, ws: web.WebSocketResponse, request: web.Request) -> None:
        self.facts = Facts(number)
        self.unacknowledged: Counter[str] = Counter()  # frames by their req_id
        self.frames_in_work = 0
        self.may_go_on = asyncio.Event()  # not set while the control API holds the connection still
        self.may_go_on.set()
        self._ws, self._request = ws, request
        self._queue: asyncio.Queue[Outgoing | None] = asyncio.Queue()

    def send(self, frame: JSON, delivery: Delivery | None = None) -> None:
        req_id = str(frame["headers"]["req_id"])
        self.send_text(json.dumps(frame, ensure_ascii=False), delivery, req_id)

    def send_text(self, text: str, delivery: Delivery | None = None, req_id: str = "") -> None:
        self._queue.put_nowait(Outgoing(text, delivery, req_id))

    def end(self, how: str) -> None:
        """Let the connection be closed cleanly (1000) when everything before was sent."""
        self.facts.ended = self.facts.ended or how
        self._queue.put_nowait(None)

    def leave(self) -> None:
        """The client is gone: a frame that is still sent fails, and the writer ends."""
        self.may_go_on.set()
        self._queue.put_nowait(None)

    def abort(self, how: str) -> None:
        """Break the connection with a reset, without a close frame."""
        self.facts.ended = self.facts.ended or how
        self.leave()
        transport = self._request.transport
        if transport is not None:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    async def write(self) -> None:
        """Send what is queued until the end."""
        try:
            while (outgoing := await self._queue.get()) is not None:
                await self.may_go_on.wait()
                await self._hand_over(outgoing)
        except (ConnectionError, RuntimeError):
            self.facts.ended = self.facts.ended or "broken"

    async def _hand_over(self, outgoing: Outgoing) -> None:
        delivery = outgoing.delivery
        try:
            await self._ws.send_str(outgoing.text)
        except BaseException:
            if delivery is not None:
                delivery.outcome = "lost"
            raise
        if delivery is not None:
            self.facts.handed += 1
            delivery.outcome = "delivered"
            delivery.tries.append({"at": time.time(), "connection": self.facts.number, "req_id": outgoing.req_id})

    def lose_the_rest(self) -> None:
        """What was not handed over by the end is lost."""
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                outgoing = self._queue.get_nowait()
                if outgoing and outgoing.delivery and outgoing.delivery.outcome == "sending":
                    outgoing.delivery.outcome = "lost"
