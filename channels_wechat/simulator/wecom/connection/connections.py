"""Who is connected: subscriptions, one connection for each bot, and what is handed over (facts: wecom.md 6.2).

A message that comes while no connection is subscribed is lost, and the record says so; one that was written to a live socket counts
as delivered even if its client never reads it.
"""

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from channels_wechat.simulator.core import record
from channels_wechat.simulator.core.callbacks import Callbacks
from channels_wechat.simulator.core.errors import ControlError, PlatformError
from channels_wechat.simulator.core.faults import HTML, Fault, Faults
from channels_wechat.simulator.core.rate_windows import Windows
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.company import LONG_CONNECTION, Bot, Company
from channels_wechat.simulator.wecom.connection import frames
from channels_wechat.simulator.wecom.connection.answers import Answers
from channels_wechat.simulator.wecom.connection.frames import Frame, acknowledgement, callback
from channels_wechat.simulator.wecom.connection.requests import Request, Requests
from channels_wechat.simulator.wecom.connection.sockets import Facts, Socket
from channels_wechat.simulator.wecom.connection.uploads import ChunkedUploads
from channels_wechat.simulator.wecom.new_ids import new_msgid

KEEP = 10_000
MOST_FRAME = 4 * 2**20
WRONG_CREDENTIALS = 853000
NOT_SUBSCRIBED = 846609
Command = Callable[[Bot, Frame], JSON | None]
HOW = ("close", "abort", "kick", "unsubscribe", "stall", "resume")


class Connections:
    def __init__(self, company: Company, windows: Windows, faults: Faults, callbacks: Callbacks) -> None:
        self.company, self.world = company, company.world
        self._windows, self._faults, self._callbacks = windows, faults, callbacks
        self._requests = Requests(company)
        self._live: dict[str, Socket] = {}
        self._sockets: set[Socket] = set()
        self._numbers = itertools.count(1)
        self._facts: deque[Facts] = deque(maxlen=KEEP)
        answers = Answers(company, windows, callbacks, self._requests)
        uploads = ChunkedUploads(self.world, windows)
        self._commands: dict[str, Command] = {
            frames.RESPOND: answers.respond,
            frames.WELCOME: answers.welcome,
            frames.UPDATE: answers.update_card,
            frames.SEND: answers.send,
            frames.UPLOAD_INIT: uploads.begin,
            frames.UPLOAD_CHUNK: uploads.add,
            frames.UPLOAD_FINISH: uploads.finish,
        }

    # -- a client's WebSocket --------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(timeout=2.0, max_msg_size=MOST_FRAME)
        await ws.prepare(request)
        socket = Socket(next(self._numbers), ws, request)
        self._facts.append(socket.facts)
        self._sockets.add(socket)
        reading, writing = (self._callbacks.spawn(work) for work in (self._read(ws, socket), socket.write()))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Nobody may wait for frames while the close frames are exchanged: aiohttp would not wait for the client's.
            reading.cancel()
            self._forget(socket)
        await asyncio.wait({reading, writing})
        socket.lose_the_rest()
        await ws.close()
        return ws

    async def _read(self, ws: web.WebSocketResponse, socket: Socket) -> None:
        async for message in ws:
            await socket.may_go_on.wait()
            if message.type is not WSMsgType.TEXT:
                self.world.record.violation("binary_frame", socket.facts.bot)
                continue
            try:
                frame = frames.read_frame(message.data)
            except PlatformError:
                self.world.record.violation("bad_frame", socket.facts.bot, str(message.data))
                continue
            if socket.unacknowledged[frame.req_id]:
                self.world.record.violation("frame_before_ack", frame.req_id, frame.cmd)
            socket.unacknowledged[frame.req_id] += 1
            self._callbacks.spawn(self._answer(socket, frame))

    def _forget(self, socket: Socket) -> None:
        facts = socket.facts
        self._sockets.discard(socket)
        socket.leave()
        facts.closed, facts.subscribed = time.time(), False
        facts.ended = facts.ended or "client"
        if self._live.get(facts.bot) is socket:
            del self._live[facts.bot]

    async def _answer(self, socket: Socket, frame: Frame) -> None:
        """Do what a frame asks and acknowledge it, unless a fault is for it. Effects follow the order of the frames."""
        noted = self.world.record.call(frame.cmd, {})
        noted.account, noted.body = socket.facts.bot, frame.without_secret()[: record.BODY]
        fault = self._faults.take(frame.cmd)
        socket.frames_in_work += 1
        try:
            if fault is None:
                await self._acknowledge(socket, self._done(socket, frame, noted))
            else:
                self.world.record.broken(noted, fault.kind)
                await self._break(fault, socket, frame, noted)
        finally:
            socket.frames_in_work -= 1
            socket.unacknowledged[frame.req_id] -= 1
            if not socket.unacknowledged[frame.req_id]:
                del socket.unacknowledged[frame.req_id]

    async def _acknowledge(self, socket: Socket, ack: JSON) -> None:
        await asyncio.sleep(self.world.settings.ack_seconds)
        socket.send(ack)
        if socket.facts.ended == "refused":
            socket.end("refused")

    async def _break(self, fault: Fault, socket: Socket, frame: Frame, noted: record.Call) -> None:
        """Meet a fault: "before" kinds change nothing; a time-out means that the acknowledgement never comes."""
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        ack = acknowledgement(frame.req_id, fault.errcode, fault.errmsg)
        if fault.kind.endswith("_after") or fault.kind == "slow":
            done = self._done(socket, frame, noted)
            ack = done if fault.kind.startswith("slow") else ack
        if fault.kind.startswith("errcode"):
            self.world.record.answered(noted, fault.errcode)
        if fault.kind == "slow_after":
            await asyncio.sleep(fault.seconds)
        if fault.kind.startswith("reset"):
            socket.abort("fault")
        elif fault.kind.startswith("html"):
            socket.send_text(HTML.format(f"{fault.status} from the simulator"))
        elif not fault.kind.startswith("timeout"):
            await self._acknowledge(socket, ack)

    def _done(self, socket: Socket, frame: Frame, noted: record.Call) -> JSON:
        """Do it, and return the acknowledgement."""
        try:
            body = self._run(socket, frame)
        except PlatformError as error:
            self.world.record.answered(noted, error.errcode)
            return acknowledgement(frame.req_id, error.errcode, error.errmsg)
        noted.account = socket.facts.bot
        self.world.record.answered(noted, 0)
        return acknowledgement(frame.req_id, body=body)

    def _run(self, socket: Socket, frame: Frame) -> JSON | None:
        if frame.cmd == frames.PING:
            socket.facts.pings += 1
            return None
        if frame.cmd == frames.SUBSCRIBE:
            self._subscribe(socket, frame.body)
            return None
        bot = self.company.bots.get(socket.facts.bot.removeprefix("bot:"))
        if bot is None or not socket.facts.subscribed:
            raise PlatformError(NOT_SUBSCRIBED, "aibot websocket not subscribed")
        command = self._commands.get(frame.cmd)
        if command is None:
            self.world.record.violation("unknown_command", frame.req_id, frame.cmd)
            raise PlatformError(40058, "invalid cmd")
        if frame.cmd == frames.UPLOAD_CHUNK:
            self._check_concurrency(socket)
        return command(bot, frame)

    def _check_concurrency(self, socket: Socket) -> None:
        """Answer "system error" to many requests at once, as the backend is said to do with chunks."""
        if socket.frames_in_work > self.world.settings.frames_at_once:
            raise PlatformError(-1, "system error")

    def _subscribe(self, socket: Socket, body: JSON) -> None:
        """A wrong secret and too quick a repetition are refused, and the connection is closed after the refusal."""
        bot = self.company.bots.get(str(body.get("bot_id")))
        try:
            if bot is None or bot.mode != LONG_CONNECTION or not bot.secret or bot.secret != body.get("secret"):
                self.world.record.counters["wrong_secrets"] += 1
                raise PlatformError(WRONG_CREDENTIALS, "invalid bot_id or secret")
            most = self.world.settings.subscribes_per_minute
            if not self._windows.take(f"subscribe {bot.id}", (most, 60.0)):
                raise PlatformError(45009, "api freq out of limit")
        except PlatformError:
            socket.facts.ended = "refused"
            raise
        facts, scene = socket.facts, body.get("scene")
        facts.bot, facts.subscribed = bot.id, True
        facts.device_id, facts.plug_version = str(body.get("device_id") or ""), str(body.get("plug_version") or "")
        facts.scene = scene if isinstance(scene, int) else None
        older = self._live.get(bot.id)
        self._live[bot.id] = socket
        if older is not None and older is not socket:
            self._kick(bot, older)

    def _kick(self, bot: Bot, socket: Socket) -> None:
        """A newer subscription wins: the older connection hears why, and is closed."""
        self.world.record.counters["kicks"] += 1
        socket.facts.subscribed = False
        body: JSON = {"msgid": new_msgid(), "create_time": int(self.world.now()), "aibotid": bot.aibotid}
        body |= {"msgtype": "event", "event": {"eventtype": "disconnected_event"}}
        socket.send(callback(frames.EVENT_CALLBACK, secrets.token_urlsafe(24), body))
        socket.end("kicked")

    # -- what members do -------------------------------------------------------------------------------------------------

    def hand_over(self, delivery: record.Delivery, request: Request, body: JSON, copies: int = 1) -> None:
        """Write a callback to the bot's live connection; without one it is lost."""
        self.world.record.deliveries[delivery.id] = delivery
        socket = self._live.get(request.bot.id)
        if socket is None:
            delivery.outcome = "lost"
            return
        cmd = frames.EVENT_CALLBACK if body.get("msgtype") == "event" else frames.MESSAGE_CALLBACK
        delivery.outcome = "sending"
        for _ in range(copies):
            req_id = secrets.token_urlsafe(24)
            self._requests.add(req_id, request)
            socket.send(callback(cmd, req_id, body), delivery)

    # -- the control API -------------------------------------------------------------------------------------------------

    def listed(self, bot: str = "") -> list[Facts]:
        return [facts for facts in self._facts if not bot or facts.bot == f"bot:{bot}"]

    def is_connected(self, bot: Bot) -> bool:
        return bot.id in self._live

    def end(self, bot: Bot, how: str) -> Any:
        """Do something to the bot's live connection. Returns its number, None where there is none."""
        if how not in HOW:
            raise ControlError(f"`how` must be one of {', '.join(HOW)}")
        socket = self._live.get(bot.id)
        if socket is None:
            return None
        if how == "kick":
            self._kick(bot, socket)
        elif how == "close":
            socket.end("closed")
        elif how == "abort":
            socket.abort("aborted")
        elif how == "stall":
            socket.may_go_on.clear()
        elif how == "resume":
            socket.may_go_on.set()
        if how in ("kick", "close", "abort", "unsubscribe"):
            socket.facts.subscribed = False
            del self._live[bot.id]
        return socket.facts.number

    async def stop(self) -> None:
        """Break what is open, so that the server can end."""
        for socket in list(self._sockets):
            socket.abort("stopped")
