"""Calls of one moment, made as one, for coroutines: a group commit. Whoever comes while a batch is under way is in the next one.

A call that comes alone is made at once. Where calls do come together, the next batch waits a millisecond for those that were answered with
the one before: without that they form two groups that take turns, and a callback costs a third more processor time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from bridge.runtime.db.outage import DB_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

GATHER_SECONDS = 0.001

Item = TypeVar("Item")
Found = TypeVar("Found")


class Batches(Generic[Item, Found]):
    """make(items) gives one result for each, in order. Where it raises for several, each is made alone and raises its own error.

    An outage (`database.AWAY`) is raised to all of a batch. Belongs to one event loop.
    """

    def __init__(self, make: Callable[[Sequence[Item]], Awaitable[Sequence[Found]]], most: int = 64) -> None:
        self.make, self.most = make, most
        self.waiting: deque[tuple[Item, asyncio.Future[Found]]] = deque()
        self.running: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Found:
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        if self.running is None:
            self.running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self.waiting:
                count = min(self.most, len(self.waiting))
                await self._make([self.waiting.popleft() for _ in range(count)])
                if count > 1 and self.waiting:
                    await asyncio.sleep(GATHER_SECONDS)
        finally:
            self.running = None

    async def _make(self, batch: Sequence[tuple[Item, asyncio.Future[Found]]]) -> None:
        try:
            found = await self.make([item for item, _future in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, DB_UNAVAILABLE):
                for each in batch:
                    await self._make([each])
                return
            for _item, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_item, future), result in zip(batch, found, strict=True):
            if not future.done():  # its request may have gone meanwhile
                future.set_result(result)
