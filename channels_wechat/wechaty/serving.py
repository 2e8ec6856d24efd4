"""One open connection to a puppet service: its events, which are stored in their order, the login, and the watchdog.

The service keeps nothing: what happens while nobody reads is lost. So nothing that a single event brings ends the connection, and
reading never waits for the database.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.connection import NOT_STORED, ConnectionRefused, ConnectionState
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.text import clean_json
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.echoes import Echoes
from channels_wechat.wechaty.errors import WECHATY
from channels_wechat.wechaty.link import PuppetLink
from channels_wechat.wechaty.login import Login
from channels_wechat.wechaty.people import People
from channels_wechat.wechaty.protocol import DING, START, Event
from channels_wechat.wechaty.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.messages import Inbound
    from channels_wechat.wechaty.puppet import Puppet

log = logging.getLogger(__name__)
# The service says something at once; those of the community may not, and upstream's client waits this long.
FIRST_EVENT_SECONDS, START_SECONDS = 5.0, 30.0
# After this silence the service is asked for a sign of life. Nothing, not even an answer to that: the connection is dead. No event, though
# the question is answered: so is the stream (upstream's client waits 67.5 s).
DING_SECONDS, DEAD_SECONDS, SILENT_SECONDS, LOOK_SECONDS = 8.0, 20.0, 70.0, 1.0
# Where this process itself stood still for so long, what the service said meanwhile is yet to be read.
STALL_SECONDS = 2.0
# At most so many messages are stored in one statement.
BATCH = 50
FULL_SECONDS = 1.0
# What was received is stored within this time where the connection is closed.
DRAIN_SECONDS = 8.0


class PuppetConnection:
    """Events are read by one task, what they name is asked for by several, and all is stored by another in the order of the events."""

    def __init__(self, session: Session, puppet: Puppet) -> None:
        self.session, self.puppet = session, puppet
        self.people, self.echoes = People(puppet), Echoes()
        self.link = PuppetLink(puppet, self.people, self.echoes)
        self.login = Login(session, self.link, self.people)
        self.reader = Reader(puppet, self.people, self.echoes, self.link)
        self.heard: asyncio.Queue[asyncio.Task[Inbound | None] | None] = asyncio.Queue()
        # The first one that was not read yet when the last batch was taken.
        self.ahead: list[asyncio.Task[Inbound | None]] = []
        self.began = asyncio.Event()
        self.event_at = self.alive_at = asyncio.get_running_loop().time()

    async def serve(self) -> None:
        """Raises ChannelError where the connection is to be opened again after a pause, ConnectionRefused where it is not."""
        tasks = {asyncio.create_task(work) for work in (self._read(), self._keep_alive(), self.login.show_all())}
        storing = asyncio.create_task(self._store_all())
        try:
            done, _others = await asyncio.wait({*tasks, storing}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.link.is_lost = True
            await self._drain(tasks, storing)

    async def _drain(self, others: set[asyncio.Task[None]], storing: asyncio.Task[None]) -> None:
        """Read nothing more, and store what was read. The service is never told to stop: others may go on with the account."""
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        self.heard.put_nowait(None)
        await asyncio.wait({storing}, timeout=DRAIN_SECONDS)
        storing.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await storing
        while not self.heard.empty():
            if unread := self.heard.get_nowait():
                self.ahead.append(unread)
        for unread in self.ahead:
            unread.cancel()

    # --- signs of life

    async def _keep_alive(self) -> None:
        """Begin, and then watch. Raises ChannelError where the service is dead."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_EVENT_SECONDS):
                await self.began.wait()
        await self.puppet.ask(START, pb.Empty(), seconds=START_SECONDS)
        self.login.note_started()
        clock = asyncio.get_running_loop().time
        while True:
            slept_at = clock()
            await asyncio.sleep(LOOK_SECONDS)
            if clock() - slept_at > LOOK_SECONDS + STALL_SECONDS:
                self.event_at = self.alive_at = clock()
            await self._look(clock())

    async def _look(self, now: float) -> None:
        if now - self.alive_at > DEAD_SECONDS or now - self.event_at > SILENT_SECONDS:
            raise WECHATY.error("service_silent")
        if now - self.alive_at > DING_SECONDS:
            await self._ding()

    async def _ding(self) -> None:
        try:
            await self.puppet.ask(DING, pb.Text(value="bridge"), seconds=DING_SECONDS)
        except ChannelError as error:
            if error.code in ("timeout", "connection_lost", "service_away"):
                return
        self.alive_at = asyncio.get_running_loop().time()

    # --- what comes

    async def _read(self) -> None:
        try:
            async for event in self.puppet.events():
                self.session.note_frame()
                self.event_at = self.alive_at = asyncio.get_running_loop().time()
                self.began.set()
                self._take_safely(event)
        except ChannelError as error:
            if error.action is Action.CONFIG:
                raise ConnectionRefused(ConnectionState.BAD_CREDENTIALS, error) from error
            raise
        finally:
            self.link.is_lost = True

    def _take_safely(self, event: pb.EventData) -> None:
        """An event that breaks our code costs itself only."""
        try:
            self._take(event.type, _read_payload(event.payload))
        except Exception as error:  # its words may hold a message, so they are not logged
            log.warning("an event of type %s was not understood (%s)", event.type, type(error).__name__)

    def _take(self, kind: int, payload: dict[str, Any]) -> None:
        """Events of types that are not known are the service's own matter."""
        if kind in (Event.SCAN, Event.LOGIN, Event.LOGOUT):
            self.login.take(kind, payload)
        elif kind == Event.MESSAGE:
            self._start(self.reader.read_message(str(payload["messageId"]), self.login.wait_known()))
        elif kind == Event.DIRTY:
            self.reader.drop(payload)
        elif kind in (Event.ROOM_JOIN, Event.ROOM_LEAVE, Event.ROOM_TOPIC):
            self.reader.drop_room(str(payload["roomId"]))
            self._start(self.reader.read_change(kind, payload))
        elif kind == Event.ROOM_INVITE:
            self._start(self.reader.read_invitation(str(payload["roomInvitationId"])))
        elif kind == Event.FRIENDSHIP:
            self._start(self.reader.read_friendship(str(payload["friendshipId"])))
        elif kind == Event.ERROR:
            log.info("the puppet reported an error")

    def _start(self, reading: Coroutine[Any, Any, Inbound | None]) -> None:
        self.heard.put_nowait(asyncio.create_task(reading))

    # --- storing

    async def _store_all(self) -> None:
        """Store what was read, in order, until there is a None."""
        is_over = False
        while not is_over:
            batch, is_over = await self._next_batch()
            await self._store(batch)

    async def _next_batch(self) -> tuple[list[Inbound], bool]:
        """The next message, and those behind it that are read already; whether there is no more."""
        batch: list[Inbound] = []
        reading = self.ahead.pop() if self.ahead else await self.heard.get()
        while reading is not None:
            if message := await reading:
                batch.append(message)
            if self.heard.empty() or len(batch) >= BATCH:
                return batch, False
            reading = self.heard.get_nowait()
            if reading is not None and not reading.done():
                self.ahead.append(reading)
                return batch, False
        return batch, True

    async def _store(self, messages: list[Inbound]) -> None:
        while messages:
            try:
                await self.session.receive(*messages)
                return
            except ChannelError as error:
                if error.code != NOT_STORED:
                    raise
                await asyncio.sleep(FULL_SECONDS)


def _read_payload(text: str) -> dict[str, Any]:
    found = clean_json(json.loads(text or "{}"))
    return found if isinstance(found, dict) else {}
