"""Group commit for threads: calls of one moment are made as one. A call that comes while a batch runs is in the next batch.

A call never waits for others to come. If it comes alone it is made at once, in its own thread. So an idle system is as fast as without
group commit, and a busy one needs one statement and one commit for many calls.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from bridge.runtime.db.outage import DB_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(Generic[Item, Result]):
    """A call. Its thread is woken with a result, with an error, or without both if it has to make the next batch."""

    def __init__(self, item: Item) -> None:
        self.item, self.wake_event = item, threading.Event()
        self.results: list[Result] = []
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.results) or self.error is not None


class GroupCommit(Generic[Item, Result]):
    """make(items) returns one result for each, in order. If it raises for several, each is made alone and raises its own error."""

    def __init__(self, make: Callable[[Sequence[Item]], Sequence[Result]], max_batch: int = 100) -> None:
        self.make, self.max_batch = make, max_batch
        self.waiting: deque[_Call[Item, Result]] = deque()
        self.is_busy = False
        self.lock = threading.Lock()

    def __call__(self, item: Item) -> Result:
        """Make a call and return its result. Not inside a transaction, because another thread may make the batch, on its own connection."""
        call = _Call[Item, Result](item)
        with self.lock:
            self.waiting.append(call)
            is_first, self.is_busy = not self.is_busy, True
        if not is_first:
            call.wake_event.wait()
        if not call.is_done:
            self._run_batch()
        if call.error is not None:
            raise call.error
        return call.results[0]

    def _run_batch(self) -> None:
        """Make one batch, with our own call in it. Then wake the first call that came meanwhile, which makes the next batch."""
        with self.lock:
            batch = [self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))]
        try:
            self._make_results(batch)
        finally:
            with self.lock:
                next_call = self.waiting[0] if self.waiting else None
                self.is_busy = next_call is not None
            for call in (*batch, *([next_call] if next_call else [])):
                call.wake_event.set()

    def _make_results(self, batch: Sequence[_Call[Item, Result]]) -> None:
        try:
            results = self.make([call.item for call in batch])
            for call, result in zip(batch, results, strict=True):
                call.results.append(result)
        except BaseException as error:
            if len(batch) > 1 and not isinstance(error, DB_UNAVAILABLE):
                for call in batch:
                    self._make_results([call])
                return
            for call in batch:
                call.error = error
