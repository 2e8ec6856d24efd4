"""An account of Wechaty for tests, and a session that keeps what it is told."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.messages import Identity
from channels_wechat.wechaty.channel import Wechaty
from channels_wechat.wire.http import Http
from tests.support.fake_puppet import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from channels_wechat.contract.connection import Link
    from channels_wechat.contract.messages import Inbound
    from tests.support.fake_puppet import FakePuppet

ALL = ["127.0.0.1:*", "localhost:*"]


def channel(
    endpoint: str = "127.0.0.1:9", *, api_base_url: str = "", allowed: list[str] = ALL, **fields: Any
) -> Wechaty:
    credentials = {"token": TOKEN, "endpoint": endpoint, "tls": "off", **fields}
    return Wechaty(Identity("key", "x", credentials, api_base_url), Http(allowed, allowed_in_messages=allowed))


class Kept:
    """Implements `channels_wechat.contract.connection.Session`. told: what staff would see, in order."""

    device_id, cursor, own_id = "device", "", ""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.told: list[Any] = []
        self.link: Link | None = None
        self.frames = 0

    def note_frame(self) -> None:
        self.frames += 1

    async def open(self, link: Link) -> None:
        self.link = link
        self.told.append("open")

    async def receive(self, *messages: Inbound) -> None:
        self.messages += messages

    async def keep_answer(self, message: Inbound, text: str) -> None:
        raise NotImplementedError

    async def may_send(self) -> bool:
        return True

    async def store_cursor(self, cursor: str) -> None:
        raise NotImplementedError

    async def show_login(self, code: str, *, scanned: bool = False) -> None:
        self.link = None
        self.told.append(("login", code, scanned))

    async def show_identity(self, own_id: str, own_name: str) -> None:
        self.own_id = own_id
        self.told.append(("as", own_id, own_name))

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]


async def until(is_so: Callable[[], Any], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(puppet: FakePuppet, session: Kept | None = None, **fields: Any) -> AsyncIterator[Kept]:
    """A connection that is open until the block ends; logged in, where the service is."""
    session = session or Kept()
    task = asyncio.create_task(channel(puppet.address, **fields).run(session))
    try:
        await until(lambda: task.done() or session.link or (puppet.is_listened_to and not puppet.me))
        yield session
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
