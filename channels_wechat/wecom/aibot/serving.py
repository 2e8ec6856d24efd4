"""One open long connection of an AI bot: subscribing, the heartbeat, and what comes, which is stored in order (page 101463)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from channels_wechat.contract.connection import NOT_STORED, ConnectionRefused, ConnectionState
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.text import HIDDEN
from channels_wechat.wecom.aibot import protocol
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.aibot.link import BotLink
from channels_wechat.wecom.aibot.streams import ACK_SECONDS
from channels_wechat.wire.http import encode_json

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.messages import Inbound
    from channels_wechat.wecom.aibot.bot import AIBot
    from channels_wechat.wire.request_socket import Frame, RequestSocket

T = TypeVar("T")
log = logging.getLogger(__name__)
PING_SECONDS = 30.0
# After so many heartbeats without an answer the connection is dead.
MISSED_PINGS = 2
# At most so many messages are stored in one statement.
BATCH = 50
FULL_SECONDS = 1.0
# What was received is stored within this time where the connection is closed.
DRAIN_SECONDS = 8.0


class Heard(NamedTuple):
    """A message, and what it was answered with at once. welcome: returns whether the words arrived."""

    message: Inbound
    text: str = ""
    welcome: asyncio.Task[bool] | None = None


class BotConnection:
    """Frames are read by one task and stored by another, so that a slow database holds up no acknowledgement and no heartbeat."""

    def __init__(self, channel: AIBot, reply_seconds: int, session: Session, socket: RequestSocket) -> None:
        self.reply_seconds = reply_seconds
        self.channel, self.session, self.socket = channel, session, socket
        self.link = BotLink(socket, channel.identity.sentences)
        self.heard: asyncio.Queue[Heard | None] = asyncio.Queue()
        self.is_open = asyncio.Event()
        self.side_tasks: set[asyncio.Task[Any]] = set()

    async def serve(self) -> None:
        reading, storing = asyncio.create_task(self._read()), asyncio.create_task(self._store_all())
        tasks = {reading, storing}
        try:
            await self._subscribe()
            await self.session.open(self.link)
            self.is_open.set()
            tasks.add(asyncio.create_task(self._keep_alive()))
            done, _others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.link.streams.close()
            await self._drain(tasks - {storing}, storing)

    async def _drain(self, others: set[asyncio.Task[None]], storing: asyncio.Task[None]) -> None:
        """Read nothing more, and store what was read: the platform repeats nothing."""
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        self.is_open.set()
        self.heard.put_nowait(None)
        await asyncio.wait({storing, *self.side_tasks}, timeout=DRAIN_SECONDS)
        for left in (storing, *self.side_tasks):
            left.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await storing

    async def _subscribe(self) -> None:
        """Raises ChannelError; ConnectionRefused where the same would be refused again."""
        req_id = protocol.new_id(protocol.SUBSCRIBE)
        asked = protocol.frame(protocol.SUBSCRIBE, req_id, self.channel.subscription(self.session.device_id))
        try:
            ack = await self.socket.request(req_id, asked, ACK_SECONDS)
            protocol.check(_without(self.channel.secret, ack), harmless=True)
        except ChannelError as error:
            if error.action == Action.CONFIG:
                raise ConnectionRefused(ConnectionState.BAD_CREDENTIALS, error) from error
            raise

    async def _keep_alive(self) -> None:
        missed = 0
        while missed < MISSED_PINGS:
            pinged_at = asyncio.get_running_loop().time()
            req_id = protocol.new_id(protocol.PING)
            try:
                await self.socket.request(req_id, protocol.frame(protocol.PING, req_id), PING_SECONDS)
                missed = 0
            except ChannelError:
                missed += 1
            await asyncio.sleep(pinged_at + PING_SECONDS - asyncio.get_running_loop().time())
        raise WECOM_AIBOT.error("no_heartbeat")

    # --- what comes

    async def _read(self) -> None:
        try:
            async for frame in self.socket.receive():
                self._take(frame)
        finally:
            self.socket.lose()

    def _take(self, frame: Frame) -> None:
        """Commands that are not known are the platform's own matter."""
        body, req_id = frame.get("body"), word(frame, "headers", "req_id")
        if frame.get("cmd") not in (protocol.MESSAGE, protocol.EVENT) or not isinstance(body, dict):
            return
        if word(body, "event", "eventtype") == "disconnected_event":
            raise ConnectionRefused(ConnectionState.KICKED, WECOM_AIBOT.error("kicked"))
        self.link.streams.note_question(req_id)
        plain, handle = encode_json(body), protocol.handle_maker(self.channel.identity.key, req_id)
        message = self.channel.read(body, plain, self.reply_seconds, handle)
        self._show_choice(req_id, message)
        if text := self.channel.welcome_text(message):
            self.heard.put_nowait(Heard(message, text, self._start(self._welcome(req_id, text))))
        else:
            self.heard.put_nowait(Heard(message))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self.side_tasks.add(task)
        task.add_done_callback(self.side_tasks.discard)
        return task

    def _show_choice(self, req_id: str, message: Inbound) -> None:
        """Show in an answered card what was chosen. Not in a group, where others may still want to answer."""
        if message.kind != "action" or message.peer.kind != "direct":
            return
        if card := self.link.cards.answered(message.raw, self.channel.identity.sentences):
            self._start(self._update_card(req_id, card))

    async def _update_card(self, req_id: str, card: dict[str, Any]) -> None:
        try:
            if await self.session.may_send():
                await self.link.update_card(req_id, card)
        except ChannelError as error:
            log.info("the update of a card was refused (%s)", error.code)

    async def _welcome(self, req_id: str, text: str) -> bool:
        if not await self.session.may_send():
            return False
        try:
            await self.link.welcome(req_id, text)
        except ChannelError as error:
            log.info("a welcome was refused (%s)", error.code)
            return False
        return True

    async def _store_all(self) -> None:
        """Store what was heard, in order, until there is a None."""
        await self.is_open.wait()
        batch: list[Heard | None] = []
        while None not in batch:
            batch = [await self.heard.get()]
            while len(batch) < BATCH and not self.heard.empty():
                batch.append(self.heard.get_nowait())
            await self._store([heard for heard in batch if heard])

    async def _store(self, batch: list[Heard]) -> None:
        messages = [heard.message for heard in batch]
        while messages:
            try:
                await self.session.receive(*messages)
                break
            except ChannelError as error:
                if error.code != NOT_STORED:
                    raise
                await asyncio.sleep(FULL_SECONDS)
        for heard in batch:
            if heard.welcome:
                self._start(self._keep_welcome(heard, heard.welcome))

    async def _keep_welcome(self, heard: Heard, welcome: asyncio.Task[bool]) -> None:
        try:
            if await welcome:
                await self.session.keep_answer(heard.message, heard.text)
        except Exception as error:  # the transcript lacks a line, and the connection goes on
            log.warning("a welcome could not be kept (%s)", type(error).__name__)


def _without(secret: str, ack: Frame) -> Frame:
    """The acknowledgement of what had our secret in it, where the platform's words may repeat it: staff read them."""
    return {**ack, "errmsg": str(ack.get("errmsg", "")).replace(secret, HIDDEN)} if secret else ack
