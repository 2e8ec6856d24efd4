"""Requests that are held open until there is something to answer them with: few enough that a web process stays free for all others.

They wait on an event each, without a connection to anybody. One thread of the process listens for all of them to what
`readable.announce` tells; a word may be lost, and while Valkey is away there is none, so whoever waits looks each `LOOK_SECONDS`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from bridge.checks import WEB_HELD
from bridge.listening import Listener
from bridge.readable import CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

LOOK_SECONDS = 1.0


@dataclass(eq=False)
class Place:
    """Of one request. woken: there may be something to say; over: a later delivery of the same message has the place now."""

    woken: threading.Event = field(default_factory=threading.Event)
    over: bool = False


class Places:
    """Of one process, one for each message that waits. The threads that hold none are for other accounts, polls, pages and probes."""

    def __init__(self, most: int = WEB_HELD) -> None:
        self.most = most
        self.lock = threading.Lock()
        self.taken: dict[UUID, tuple[str, Place]] = {}

    @contextmanager
    def place(self, whom: str, message: UUID) -> Iterator[Place | None]:
        """For a request that brings `message` and is woken by `whom`; None: all places are taken."""
        mine = self._take(whom, message)
        try:
            yield mine
        finally:
            with self.lock:
                if mine and not mine.over:
                    del self.taken[message]

    def wake(self, whom: str) -> None:
        with self.lock:
            for name, place in self.taken.values():
                if name == whom:
                    place.woken.set()

    def _take(self, whom: str, message: UUID) -> Place | None:
        """The platform has dropped whatever request had the place of this message before: that one ends."""
        with self.lock:
            _whom, before = self.taken.get(message, (whom, None))
            if before is None and len(self.taken) >= self.most:
                return None
            if before:
                before.over = True
                before.woken.set()
            mine = Place()
            self.taken[message] = whom, mine
            return mine


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
