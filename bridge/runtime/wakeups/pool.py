"""A bounded pool of threads that, once it is woken, takes work until there is none."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Work = TypeVar("Work")
# A pool that works asks for more at least this often, in seconds; a finished item or a wake-up makes it ask at once.
LOOK_SECONDS = 0.5
RENEW_SECONDS = 10


class WorkPool(Generic[Work]):
    """claim(n) takes up to n items of work; process(item) does one; renew(items) keeps the claim on those under way.

    process returns False where it knows that nothing waited for this item, for example behind it in its lane: then no claim is made for
    it. `run` works in one thread at a time; a call meanwhile only makes it claim once more.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        claim: Callable[[int], Sequence[Work]],
        process: Callable[[Work], bool | None],
        renew: Callable[[Sequence[Work]], object] = lambda _items: None,
    ) -> None:
        self.threads, self.claim, self.process, self.renew = threads, claim, process, renew
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.running = threading.Lock()
        self.wake_event = threading.Event()
        self.stopping = threading.Event()
        self.open: dict[Future[None], Work] = {}
        self.was_saturated, self.finished = False, 0
        # A busy pool asks for new work when a quarter of it is free, or after LOOK_SECONDS: a claim costs a commit, for one or for many.
        self.refill_threshold = max(1, threads // 4)

    def run(self) -> int:
        """Work until there is nothing to claim. Return how many items were claimed; 0 at once where another thread runs."""
        self.wake_event.set()
        if not self.running.acquire(blocking=False):
            return 0
        try:
            return self._run()
        finally:
            self.running.release()

    def stop(self) -> None:
        """Claim nothing more. Items under way are finished."""
        self.stopping.set()
        self.wake_event.set()

    def _run(self) -> int:
        claimed, renewed = 0, time.monotonic()
        while True:
            self.wake_event.clear()
            claimed += self._claim()
            if not self.open and not self.wake_event.is_set():
                return claimed
            self.wake_event.wait(LOOK_SECONDS)
            if time.monotonic() - renewed > RENEW_SECONDS:
                self.renew(list(self.open.values()))
                renewed = time.monotonic()

    def _claim(self) -> int:
        self.finished = 0
        self.open = {future: item for future, item in self.open.items() if not future.done()}
        free = self.threads - len(self.open)
        items = self.claim(free) if free and not self.stopping.is_set() else []
        self.was_saturated = len(items) == free  # then more may wait than there was room for
        for item in items:
            self.open[self.pool.submit(self._process, item)] = item
        return len(items)

    def _process(self, item: Work) -> None:
        check_again: bool | None = True
        try:
            check_again = self.process(item)
        finally:
            connection.close()  # back to the pool: an idle thread holds none
            self.finished += 1
            if check_again is not False or (self.was_saturated and self.finished >= self.refill_threshold):
                self.wake_event.set()
