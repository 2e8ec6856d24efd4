"""Requests that are held open until there is something to answer them with: few enough that a web process stays free for all others.

They wait on an event each, without a connection to anybody. One thread of the process listens for all of them to what
`readable.announce` tells; a word may be lost, and while Valkey is away there is none, so whoever waits looks each `LOOK_SECONDS`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from bridge.checks import WEB_HELD
from bridge.listening import Listener
from bridge.readable import CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOOK_SECONDS = 1.0


class Places:
    """Of one process. The threads that hold none are for callbacks of other accounts, polls, pages and probes."""

    def __init__(self, most: int = WEB_HELD) -> None:
        self.most, self.taken = most, 0
        self.lock = threading.Lock()
        self.waiting: defaultdict[str, set[threading.Event]] = defaultdict(set)

    @contextmanager
    def place(self, whom: str) -> Iterator[threading.Event | None]:
        """The event by which one who waits for `whom` is woken; None: all places are taken."""
        with self.lock:
            free = self.taken < self.most
            self.taken += free
            woken = threading.Event()
            if free:
                self.waiting[whom].add(woken)
        try:
            yield woken if free else None
        finally:
            if free:
                self._leave(whom, woken)

    def wake(self, whom: str) -> None:
        with self.lock:
            for woken in self.waiting.get(whom, ()):
                woken.set()

    def _leave(self, whom: str, woken: threading.Event) -> None:
        with self.lock:
            self.taken -= 1
            self.waiting[whom].discard(woken)
            if not self.waiting[whom]:
                del self.waiting[whom]


class Ear(Listener):
    """Wakes those who wait for whom a word came. Once `leaving` is set it ends within a second."""

    def __init__(self, places: Places, leaving: threading.Event) -> None:
        super().__init__({CHANNEL: threading.Event()}, leaving)
        self.places = places
        self.thread.daemon = True  # nobody waits for it at the end of a web process

    def heard(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "message":
            self.places.wake(message["data"])

    def deaf(self) -> None:
        """Those who wait look by themselves."""


@cache
def places() -> Places:
    """Those of this process, which listens from the first held request on."""
    found = Places()
    Ear(found, threading.Event()).thread.start()
    return found
