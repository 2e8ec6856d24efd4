"""Requests that wait until there is an answer. Each is a coroutine without a thread or a connection.

Each waits on an event. One thread of the process listens for all of them to what `unread.wake_readers` publishes; a wake-up may be lost,
and while Valkey is away there are none, so each request also checks the rows now and then.
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

# How often a request checks the rows without a wake-up, and how many such checks there are at most in a second.
CHECK_SECONDS = 1.0
MAX_CHECKS_PER_SECOND = 100


@dataclass(eq=False)
class WaitSlot:
    """The slot of one request. woken: there may be an answer; replaced: a later request with the same message has the slot now."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    replaced: bool = False


class WaitSlots:
    """The slots of one event loop, one for each message that waits."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: dict[UUID, tuple[str, WaitSlot]] = {}
        self.listener: WakeListener | None = None

    @property
    def check_seconds(self) -> float:
        return max(CHECK_SECONDS, len(self.taken) / MAX_CHECKS_PER_SECOND)

    @contextmanager
    def take_slot(self, whom: str, message: UUID) -> Iterator[WaitSlot | None]:
        """Take a slot for the request that brings `message`; `wake(whom)` wakes it. Gives None where all slots are taken."""
        slot = self._take(whom, message)
        try:
            yield slot
        finally:
            if slot and not slot.replaced:
                del self.taken[message]

    def wake(self, whom: str) -> None:
        for name, slot in self.taken.values():
            if name == whom:
                slot.woken.set()

    def listen(self) -> None:
        """Start listening for wake-ups, at the first request that may have to wait."""
        if self.listener is None:
            self.listener = WakeListener(self, asyncio.get_running_loop(), threading.Event())
            self.listener.thread.start()

    def close(self) -> None:
        if self.listener:
            self.listener.stop_event.set()

    def _take(self, whom: str, message: UUID) -> WaitSlot | None:
        """Take the slot of this message from an earlier request, which ends, because the platform has dropped it."""
        _whom, before = self.taken.get(message, (whom, None))
        if before is None and len(self.taken) >= self.most:
            return None
        if before:
            before.replaced = True
            before.woken.set()
        slot = WaitSlot()
        self.taken[message] = whom, slot
        return slot


class WakeListener(Listener):
    """Wakes the requests that a published wake-up names. Once `leaving` is set it ends within a second."""

    def __init__(self, slots: WaitSlots, loop: asyncio.AbstractEventLoop, leaving: threading.Event) -> None:
        super().__init__({UNREAD_CHANNEL: threading.Event()}, leaving)
        self.slots, self.loop = slots, loop
        self.thread.daemon = True  # the end of a web process does not wait for this thread

    def on_message(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "message" and not self.stop_event.is_set():
            self.loop.call_soon_threadsafe(self.slots.wake, message["data"])

    def on_disconnect(self) -> None:
        """Do nothing, because the requests check the rows by themselves."""
