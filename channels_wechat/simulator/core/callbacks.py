"""Callbacks in the platforms' rhythm (facts: wecom.md 2.3, official_account.md 2.7): 5 s, three tries in all, one conversation in order.

WeChat's tries begin about 5 s apart, and a message whose answer is long in coming does not keep the next one back.

With the setting `clients` it is a load instead: the copies of a message race each other, and the next message of the conversation goes out
as soon as one of them was taken, while the others may still be on their way.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import aiohttp

from channels_wechat.simulator.core import crypto
from channels_wechat.simulator.core.record import Delivery
from channels_wechat.simulator.core.sealed import Envelope
from channels_wechat.simulator.core.state import JSON, World

T = TypeVar("T")


class Account(Protocol):
    """An account of either platform, as far as its callbacks go."""

    callback_url: str

    @property
    def id(self) -> str: ...


@dataclass
class Item:
    """One plaintext to deliver. `on_reply` gets the opened reply of every 200, b"" for an empty one.

    `on_try` gets every try's reply and its number, from 1. `openid`: whose deed it is, for a WeChat account.
    `in_step`: in WeChat's rhythm, where tries begin evenly apart and a slow answer does not keep the next message back.
    """

    delivery: Delivery
    account: Account
    plain: bytes
    copies: int = 1
    persistent: bool = False
    tries: int = 3
    on_reply: Callable[[bytes], None] | None = None
    on_try: "Callable[[Reply, int], None] | None" = None
    may_start: Callable[[], Awaitable[None]] | None = None
    openid: str = ""
    in_step: bool = False


@dataclass
class Reply:
    """status 0 = no answer; `plain` is the opened passive reply, `error` says what went wrong."""

    status: int = 0
    plain: bytes = b""
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status == 200

    def facts(self) -> JSON:
        return {"at": time.time(), "status": self.status, "error": self.error, "seconds": round(self.seconds, 4)}


class Callbacks:
    def __init__(
        self, world: World, session: aiohttp.ClientSession, envelope_of: Callable[[Account], Envelope]
    ) -> None:
        self.world = world
        self._envelope_of = envelope_of
        self._session = session
        self._waiting: dict[str, deque[Item]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._posting = 0
        self._posts = itertools.count()
        self._posted = asyncio.Condition()

    def spawn(self, work: Awaitable[T]) -> asyncio.Future[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def enqueue(self, item: Item) -> None:
        """The next message of a conversation goes out only after the last one was taken or given up."""
        self.world.record.deliveries[item.delivery.id] = item.delivery
        if not item.account.callback_url:
            item.delivery.outcome = "no_callback_url"
            return
        chat = item.delivery.chat
        if chat in self._waiting:
            self._waiting[chat].append(item)
            return
        self._waiting[chat] = deque([item])
        self.spawn(self._drain(chat))

    async def _drain(self, chat: str) -> None:
        waiting = self._waiting[chat]
        while waiting:
            item = waiting.popleft()
            going = self.spawn(self._deliver(item))
            if item.in_step:
                await asyncio.wait({going}, timeout=self.world.settings.overtake_seconds)
            else:
                await going
        del self._waiting[chat]

    async def _deliver(self, item: Item) -> None:
        if item.may_start:
            await item.may_start()
        item.delivery.outcome = "sending"
        if not self.world.settings.clients:
            taken = [await self._copy(item) for _ in range(item.copies)]
            item.delivery.outcome = "delivered" if any(taken) else "lost"
            return
        copies = [self.spawn(self._copy(item)) for _ in range(item.copies)]
        self.spawn(self._note_outcome(item, copies))
        for copy in asyncio.as_completed(copies):
            if await copy:
                break

    async def _note_outcome(self, item: Item, copies: list[asyncio.Future[bool]]) -> None:
        item.delivery.outcome = "delivered" if any(await asyncio.gather(*copies)) else "lost"

    async def _copy(self, item: Item) -> bool:
        """One copy with its tries; endless ones when persistent."""
        number, reply = 0, Reply()
        while item.persistent or number < item.tries:
            if number:
                await asyncio.sleep(self._pause(item, reply))
            number += 1
            async with self._client():
                reply = await self.post(item.account, item.plain, item.openid)
            item.delivery.tries.append(reply.facts())
            if item.on_try:
                item.on_try(reply, number)
            if reply.error and reply.ok:
                self.world.record.violation("bad_reply", item.delivery.id, reply.error)
            if reply.ok:
                if item.on_reply:
                    item.on_reply(reply.plain)
                return True
        return False

    def _pause(self, item: Item, last: Reply) -> float:
        """Seconds before the next try."""
        settings = self.world.settings
        return max(0.0, settings.delivery_interval - last.seconds) if item.in_step else settings.retry_pause

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[None]:
        """One of the setting's clients, which does one POST at a time; without that setting there is always one."""
        async with self._posted:
            await self._posted.wait_for(lambda: not 0 < self.world.settings.clients <= self._posting)
            self._posting += 1
        try:
            yield
        finally:
            async with self._posted:
                self._posting -= 1
                self._posted.notify()

    async def post(self, account: Account, plain: bytes, openid: str = "") -> Reply:
        """One POST within the time-out; a 200 with an unreadable reply counts as taken, as on the platform."""
        envelope = self._envelope_of(account)
        sealed = envelope.seal(plain, openid)
        # aiohttp rounds time-outs from 5 s on up to whole seconds of its clock, if it is not told otherwise.
        timeout = aiohttp.ClientTimeout(total=self.world.settings.callback_timeout, ceil_threshold=3600)
        started, reply = time.monotonic(), Reply()
        try:
            async with self._session.post(
                self._address(account),
                params=sealed.params,
                data=sealed.body,
                headers={"Content-Type": sealed.content_type, **sealed.headers},
                timeout=timeout,
            ) as answer:
                body = await answer.read()
                reply.status = answer.status
            reply.plain = envelope.open_reply(body, sealed.params.get("nonce", "")) if reply.ok else b""
        except crypto.CryptoError as error:
            reply.error = str(error)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            reply.error = type(error).__name__
        reply.seconds = time.monotonic() - started
        return reply

    def _address(self, account: Account) -> str:
        """Of several, separated by spaces, each in its turn: as a proxy before several processes does."""
        addresses = account.callback_url.split()
        return addresses[next(self._posts) % len(addresses)]

    async def verify(self, account: Account, echo: str = "1616140317555161061") -> JSON:
        """The console's check of a callback URL: the plaintext, nothing else, within a second."""
        params = self._envelope_of(account).verification(echo)
        started = time.monotonic()
        try:
            async with self._session.get(
                self._address(account), params=params, timeout=aiohttp.ClientTimeout(total=1)
            ) as answer:
                status, body = answer.status, await answer.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return {"ok": False, "status": 0, "body": "", "error": type(error).__name__}
        seconds = round(time.monotonic() - started, 4)
        return {"ok": status == 200 and body == echo, "status": status, "body": body[:200], "seconds": seconds}
