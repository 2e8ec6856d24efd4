"""Answers in the reply to the callback itself, for accounts that have no other way to speak (facts: official_account.md 2.7).

The platform drops a request that takes five seconds and repeats it, three times altogether, until it has an answer. So the first ones are
answered the moment there is something to say, and else held until they are dropped; the last one is answered in time, if need be by telling
how to read the answer later. One turn for each message: its repetitions find its row.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.utils import timezone

from accounts import valkey
from bridge.models import Delivery, State
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import HttpReply
from bridge.pipeline.replies import unread
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.db.threads import execute_on
from channels_wechat.contract.messages import Payload, message_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from uuid import UUID

    from accounts.models import ChannelAccount
    from bridge.pipeline.replies.sql import QuestionStatus
    from bridge.pipeline.replies.waiting_requests import WaitSlot, WaitSlots
    from channels_wechat.contract.capabilities import Passive
    from channels_wechat.contract.messages import Inbound

# Longer than the platform waits, so that it never hears what ends such a request: it would repeat nothing.
WAIT_BEYOND_SECONDS = 0.5
# Longer than all repetitions of a message.
COUNTED_SECONDS = 120
# A database that does not answer a look by then is away.
LOOK_SECONDS = 1.5
# Nobody waits for words of an agent after these; a welcome is said at once.
KINDS_WITHOUT_REPLY = frozenset({"event"})


Found = TypeVar("Found")


class Reply(NamedTuple):
    """What a request is answered with; blank where nothing is to be said. part: of an answer, the delivery that this is."""

    text: str
    part: int | None = None


class NotReady(Exception):
    """The platform has dropped this request by now and asks again: whoever still listens must not take this for an answer."""


async def answer(
    account: ChannelAccount,
    channel: Passive,
    query: Mapping[str, str],
    inbound: Inbound,
    places: WaitSlots,
    threads: Executor,
) -> HttpReply:
    """To a callback whose message is stored, or in the spool. May take as long as the platform waits, and longer. Raises NotYet.

    threads: where the database and Valkey are asked. While it waits it has neither a thread nor a connection. While the database is away it
    waits as for a slow agent: nothing is lost by that, the database may be back before the last request, and that one is answered in time
    with how to read the answer later. A sentence at once would give away the two other chances of a real answer.
    """
    if inbound.kind in KINDS_WITHOUT_REPLY or not channel.takes_passive(inbound.raw):
        return HttpReply(channel.passive(query, inbound.raw, channel.passive_text(inbound)))
    said = await _Request(account, channel, inbound, places, threads).words()
    return HttpReply(channel.passive(query, inbound.raw, said.text), said.part)


@dataclass
class _Request:
    account: ChannelAccount
    channel: Passive
    inbound: Inbound
    places: WaitSlots
    threads: Executor

    async def words(self) -> Reply:
        """Raises NotYet."""
        began = time.monotonic()
        count, standing, said = await self._ask(self._first_look) or (0, None, None)
        whom = unread.wait_key(self.account.pk, self.inbound.peer.id)
        with self.places.take_slot(whom, self._uuid) as place:
            last = self._number(count, standing) >= self.channel.deliveries
            waits = self.channel.last_seconds if last else self.channel.hangs_up_seconds + WAIT_BEYOND_SECONDS
            if place and said is None:  # a word that came before there was a place woke nobody
                place.woken.set()
            while said is None and place and not place.over and (left := began + waits - time.monotonic()) > 0:
                await self._wait(place, min(left, self.places.look_seconds))
                if not place.over:
                    standing, said = await self._ask(self._look) or (standing, None)
        if said is not None:
            return said
        if place and (place.over or not last):
            raise NotReady
        return Reply(self.account.sentence("not_ready"))

    async def _ask(self, look: Callable[[], Found]) -> Found | None:
        """None while the database is away or does not answer."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await execute_on(self.threads, look)
        except (TimeoutError, *DB_UNAVAILABLE):
            return None

    async def _wait(self, place: WaitSlot, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await place.woken.wait()
        except TimeoutError:
            return
        finally:
            place.woken.clear()

    @cached_property
    def _uuid(self) -> UUID:
        return message_uuid(str(self.account.key), self.inbound.key)

    # --- which delivery this is

    def _count(self) -> int:
        """Of the requests that brought this message; 0 while Valkey is away."""

        def counted(client: Any) -> int:
            with client.pipeline(transaction=False) as both:
                name = f"passive:{self._uuid}"
                return int(both.incr(name).expire(name, COUNTED_SECONDS).execute()[0])

        return valkey.try_valkey(counted, 0)

    def _number(self, count: int, standing: QuestionStatus | None) -> int:
        """By the count, or by the time that passed since the first one: rounded, for clocks differ, and the platform's has no fractions.

        Where neither is known it counts as the last one: a request too early answered is better than none.
        """
        now = timezone.now().timestamp()
        ages = [now - standing.created_at.timestamp()] if standing else []
        if self.inbound.occurred_at:
            ages.append(now - self.inbound.occurred_at - 1)
        numbers = [1 + round(age / self.channel.hangs_up_seconds) for age in ages]
        return max([count, *numbers]) or self.channel.deliveries

    # --- what there is to say

    def _first_look(self) -> tuple[int, QuestionStatus | None, Reply | None]:
        count = self._count()
        try:
            return count, *self._look()
        except DB_UNAVAILABLE:
            return count, None, None

    def _look(self) -> tuple[QuestionStatus | None, Reply | None]:
        """None: nothing yet. Raises an error of AWAY."""
        standing = unread.question_status(self._uuid)
        return standing, self._reply_for(standing) if standing else None

    def _reply_for(self, standing: QuestionStatus) -> Reply | None:
        if standing.given:
            return self._with_hints(Delivery.objects.get(pk=standing.given), standing)
        if standing.reads_on:
            return self._next(standing)
        if standing.ready:
            return self._offer(standing.ready, standing)
        if standing.open:
            return None
        return self._failed if standing.state in (State.DEAD, State.UNCERTAIN) else self._missed(standing)

    @property
    def _failed(self) -> Reply:
        return Reply(self.account.sentence("failed"))

    def _missed(self, standing: QuestionStatus) -> Reply | None:
        """Where nothing else is to be said: an answer whose reader never heard that it came."""
        if standing.state != State.DELIVERED:
            return Reply("")
        missed = [one for one in unread.unread_parts(standing.conversation or 0) if not one.part]
        return self._offer(missed[0].delivery, standing) if missed else Reply("")

    def _next(self, standing: QuestionStatus) -> Reply | None:
        """For who asked to read on."""
        if waiting := unread.unread_parts(standing.conversation or 0):
            asks_for_older = self.inbound.text.strip() == unread.OLDER_COMMAND
            return self._offer(
                (unread.parts_of_older_answers(waiting) if asks_for_older else waiting)[0].delivery, standing
            )
        turns = unread.turns(standing.conversation or 0)
        if any(turn.open for turn in turns):
            return None
        return self._failed if turns and turns[0].state == State.DEAD else Reply("")

    def _offer(self, part: int, standing: QuestionStatus) -> Reply | None:
        """None: another request was faster, or the account is stopped."""
        taken = claims.offer(Delivery.objects.get(pk=part), "passive", remote_id=self.inbound.key)
        return self._with_hints(taken, standing) if taken else None

    def _with_hints(self, part: Delivery, standing: QuestionStatus) -> Reply:
        """Its text, with the line that tells of what is left: of this answer, or of any to who reads on."""
        text = self.channel.spoken(Payload.from_json(part.payload))
        left = unread.unread_parts(standing.conversation or 0)
        if any(standing.reads_on or one.message == part.message_id for one in left):
            text = unread.with_continue_hint(self.channel, text)
        # Its reader never heard that it came.
        if not standing.reads_on and any(one.message != part.message_id and not one.part for one in left):
            text = unread.with_continue_hint(self.channel, text, "older")
        return Reply(text, settle.part_to_confirm(part))
