"""Callbacks that wait until there is something to answer them with. Each is a coroutine without a thread or a connection.

They wait on an event each. One thread of the process listens for all of them to what `readable.announce` publishes; a word may be lost,
and while Valkey is away there is none, so whoever waits looks at the rows now and then.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.pipeline.replies.unread import UNREAD_CHANNEL
from bridge.runtime.wakeups.subscribe import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

# How often one who waits looks at the rows without having been woken; and how many such looks a second there are at most.
LOOK_SECONDS = 1.0
LOOKS_A_SECOND = 100


@dataclass(eq=False)
class WaitSlot:
    """Of one request. woken: there may be something to say; over: a later delivery of the same message has the place now."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False


class WaitSlots:
    """Of one event loop, one for each message that waits."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: dict[UUID, tuple[str, WaitSlot]] = {}
        self.ear: WakeListener | None = None

    @property
    def look_seconds(self) -> float:
        return max(LOOK_SECONDS, len(self.taken) / LOOKS_A_SECOND)

    @contextmanager
    def take_slot(self, whom: str, message: UUID) -> Iterator[WaitSlot | None]:
        """Take a slot for the request that brings `message`; `wake(whom)` wakes it. Gives None where all slots are taken."""
        mine = self._take(whom, message)
        try:
            yield mine
        finally:
            if mine and not mine.over:
                del self.taken[message]

    def wake(self, whom: str) -> None:
        for name, place in self.taken.values():
            if name == whom:
                place.woken.set()

    def listen(self) -> None:
        """From the first request on that may have to wait."""
        if self.ear is None:
            self.ear = WakeListener(self, asyncio.get_running_loop(), threading.Event())
            self.ear.thread.start()

    def close(self) -> None:
        if self.ear:
            self.ear.stop_event.set()

    def _take(self, whom: str, message: UUID) -> WaitSlot | None:
        """The platform has dropped whatever request had the place of this message before: that one ends."""
        _whom, before = self.taken.get(message, (whom, None))
        if before is None and len(self.taken) >= self.most:
            return None
        if before:
            before.over = True
            before.woken.set()
        mine = WaitSlot()
        self.taken[message] = whom, mine
        return mine


class WakeListener(Listener):
    """Wakes those who wait for whom a word came. Once `leaving` is set it ends within a second."""

    def __init__(self, places: WaitSlots, loop: asyncio.AbstractEventLoop, leaving: threading.Event) -> None:
        super().__init__({UNREAD_CHANNEL: threading.Event()}, leaving)
        self.places, self.loop = places, loop
        self.thread.daemon = True  # nobody waits for it at the end of a web process

    def on_message(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "message" and not self.stop_event.is_set():
            self.loop.call_soon_threadsafe(self.places.wake, message["data"])

    def on_disconnect(self) -> None:
        """Those who wait look by themselves."""
