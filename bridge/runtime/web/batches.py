"""Group commit for coroutines: calls of one moment are made as one. A call that comes while a batch runs is in the next batch.

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
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """make(items) returns one result for each, in order. If it raises for several, each is made alone and raises its own error.

    An outage (`DB_UNAVAILABLE`) is raised to all of a batch. max_batch: items in one call. It belongs to one event loop.
    """

    def __init__(self, make: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], max_batch: int = 64) -> None:
        self.make, self.max_batch = make, max_batch
        self.waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self.running: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        if self.running is None:
            self.running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self.waiting:
                count = min(self.max_batch, len(self.waiting))
                await self._make([self.waiting.popleft() for _ in range(count)])
                if count > 1 and self.waiting:
                    await asyncio.sleep(GATHER_SECONDS)
        finally:
            self.running = None

    async def _make(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self.make([item for item, _future in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, DB_UNAVAILABLE):
                for each in batch:
                    await self._make([each])
                return
            for _item, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_item, future), result in zip(batch, results, strict=True):
            if not future.done():  # its request may have gone meanwhile
                future.set_result(result)
