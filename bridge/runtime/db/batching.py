"""Calls of one moment, made as one: a group commit. Who comes while a batch is under way waits, and all who wait are the next batch.

Nobody waits for others to come: a call that comes alone is made at once, in its own thread. So an idle system is as quick as before, and
a busy one pays for a statement and a commit once for many.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from bridge.runtime.db.outage import DB_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Found = TypeVar("Found")


class _Ticket(Generic[Item, Found]):
    """A call: woken with what was found, with what it raised, or to make the next batch."""

    def __init__(self, item: Item) -> None:
        self.item, self.woken = item, threading.Event()
        self.found: list[Found] = []
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.found) or self.error is not None


class GroupCommit(Generic[Item, Found]):
    """many(items) gives one result for each, in order. Where it raises for several, each is made alone and raises its own error."""

    def __init__(self, many: Callable[[Sequence[Item]], Sequence[Found]], most: int = 100) -> None:
        self.many, self.most = many, most
        self.waiting: deque[_Ticket[Item, Found]] = deque()
        self.busy = False
        self.lock = threading.Lock()

    def __call__(self, item: Item) -> Found:
        """Not inside a transaction: the batch may be made by another thread, on its connection."""
        ticket = _Ticket[Item, Found](item)
        with self.lock:
            self.waiting.append(ticket)
            leads, self.busy = not self.busy, True
        if not leads:
            ticket.woken.wait()
        if not ticket.done:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        return ticket.found[0]

    def _lead(self) -> None:
        """Make one batch, which holds our own call, then let the first of those who came meanwhile make the next."""
        with self.lock:
            batch = [self.waiting.popleft() for _ in range(min(self.most, len(self.waiting)))]
        try:
            self._make(batch)
        finally:
            with self.lock:
                follower = self.waiting[0] if self.waiting else None
                self.busy = follower is not None
            for ticket in (*batch, *([follower] if follower else [])):
                ticket.woken.set()

    def _make(self, batch: Sequence[_Ticket[Item, Found]]) -> None:
        try:
            found = self.many([ticket.item for ticket in batch])
            for ticket, one in zip(batch, found, strict=True):
                ticket.found.append(one)
        except BaseException as error:
            if len(batch) > 1 and not isinstance(error, DB_UNAVAILABLE):
                for ticket in batch:
                    self._make([ticket])
                return
            for ticket in batch:
                ticket.error = error
