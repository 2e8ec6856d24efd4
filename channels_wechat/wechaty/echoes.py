"""Tells the echo of what this account sent by us from what its owner wrote on the phone: a puppet gives both as messages of its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# An echo comes within seconds; so many ids are kept, which is more than a day's messages of a person.
MOST_IDS = 2000
MOST_NAMELESS = 200
# An echo can come before the answer to its call, which follows within milliseconds. Messages are stored in order, so nobody waits longer.
ANSWER_SECONDS = 2.0


class Trace(NamedTuple):
    """What an echo has in common with the message: its chat, and its text or the name of its file."""

    conversation: str
    words: str


def trace_of(conversation: str, words: str) -> Trace:
    return Trace(conversation, words.strip())


@dataclass(eq=False)
class Sending:
    """A call under way. id: of its message, once it is answered; has_left: whether the message may be in the chat."""

    trace: Trace
    id: str = ""
    has_left: bool = True
    is_echoed: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Echoes:
    """What was sent over one connection."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._nameless: deque[Trace] = deque(maxlen=MOST_NAMELESS)
        self._under_way: list[Sending] = []

    @contextmanager
    def sending(self, trace: Trace) -> Iterator[Sending]:
        """Around the call that sends. Whoever calls writes the id into what this gives, or that the message certainly did not leave."""
        sending = Sending(trace)
        self._under_way.append(sending)
        try:
            yield sending
        finally:
            self._under_way.remove(sending)
            self._keep(sending)
            sending.ended.set()

    def _keep(self, sending: Sending) -> None:
        if sending.id:
            self._ids[sending.id] = None
            if len(self._ids) > MOST_IDS:
                self._ids.popitem(last=False)
        elif sending.has_left and not sending.is_echoed:
            self._nameless.append(sending.trace)

    async def is_echo(self, message_id: str, trace: Trace) -> bool:
        """Whether this message of our own account is one that we sent. Each call that gave no id explains one message."""
        if message_id in self._ids:
            return True
        if under_way := [each for each in self._under_way if each.trace.conversation == trace.conversation]:
            waiting = [asyncio.ensure_future(each.ended.wait()) for each in under_way]
            await asyncio.wait(waiting, timeout=ANSWER_SECONDS)
            for each in waiting:
                each.cancel()
        return message_id in self._ids or self._explains(trace)

    def _explains(self, trace: Trace) -> bool:
        if trace in self._nameless:
            self._nameless.remove(trace)
            return True
        for sending in self._under_way:
            if sending.trace == trace and not sending.is_echoed:
                sending.is_echoed = True
                return True
        return False
