"""Draining: one wake of a worker takes all the work there is, on a bounded pool of threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Work = TypeVar("Work")
# A drain under way looks again at least this often; a finished piece or a new ring makes it look at once. Seconds.
LOOK_SECONDS = 0.5
RENEW_SECONDS = 10


class WorkPool(Generic[Work]):
    """claim(n) takes up to n pieces of work; carry(piece) does one; renew(pieces) keeps the claim on those still under way.

    carry returns False where it knows that nothing waited for this piece: then nobody looks for it.

    One drain runs in a process at a time; a call meanwhile only makes it look again.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        claim: Callable[[int], Sequence[Work]],
        carry: Callable[[Work], bool | None],
        renew: Callable[[Sequence[Work]], object] = lambda _pieces: None,
    ) -> None:
        self.threads, self.claim, self.carry, self.renew = threads, claim, carry, renew
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.running = threading.Lock()
        self.news = threading.Event()
        self.stopping = threading.Event()
        self.open: dict[Future[None], Work] = {}
        self.full, self.ended = False, 0
        # A busy pool asks for new work when a quarter of it is free, or after LOOK_SECONDS: a claim costs a commit, for one or for many.
        self.enough = max(1, threads // 4)

    def run(self) -> int:
        """Returns how many pieces were claimed; 0 at once where a drain is under way."""
        self.news.set()
        if not self.running.acquire(blocking=False):
            return 0
        try:
            return self._run()
        finally:
            self.running.release()

    def stop(self) -> None:
        """Claim nothing more; what is under way is finished."""
        self.stopping.set()
        self.news.set()

    def _run(self) -> int:
        claimed, renewed = 0, time.monotonic()
        while True:
            self.news.clear()
            claimed += self._claim()
            if not self.open and not self.news.is_set():
                return claimed
            self.news.wait(LOOK_SECONDS)
            if time.monotonic() - renewed > RENEW_SECONDS:
                self.renew(list(self.open.values()))
                renewed = time.monotonic()

    def _claim(self) -> int:
        self.ended = 0
        self.open = {future: piece for future, piece in self.open.items() if not future.done()}
        free = self.threads - len(self.open)
        pieces = self.claim(free) if free and not self.stopping.is_set() else []
        self.full = len(pieces) == free  # then more may wait than there was room for
        for piece in pieces:
            self.open[self.pool.submit(self._carry, piece)] = piece
        return len(pieces)

    def _carry(self, piece: Work) -> None:
        look: bool | None = True
        try:
            look = self.carry(piece)
        finally:
            connection.close()  # back to the pool: a thread at rest holds none
            self.ended += 1
            if look is not False or (self.full and self.ended >= self.enough):
                self.news.set()
