"""Answers in the reply to the callback itself, for accounts that cannot send messages (facts: official_account.md 2.7).

The platform drops a request that takes five seconds and repeats it, three times altogether, until it has an answer. The first requests
are answered as soon as there is an answer, and else wait until they are dropped; the last one is answered in time, if need be by telling
how to read the answer later. Each message has one turn, because its repetitions find its row.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.utils import timezone

from accounts import valkey
from accounts.models import ChannelAccount
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

    from bridge.pipeline.replies.sql import QuestionStatus
    from bridge.pipeline.replies.waiting_requests import WaitSlot, WaitSlots
    from channels_wechat.contract.capabilities import Passive
    from channels_wechat.contract.messages import Inbound

# A request waits this much longer than the platform does, so that the platform never gets its end as an answer and repeats the request.
WAIT_BEYOND_SECONDS = 0.5
# The counter of requests lives longer than all repetitions of a message.
COUNT_SECONDS = 120
# A database that does not answer a query by then is treated as away.
LOOK_SECONDS = 1.5
# Messages of these kinds get no answer of an agent; a welcome is sent at once.
KINDS_WITHOUT_REPLY = frozenset({"event"})


Result = TypeVar("Result")


class Reply(NamedTuple):
    """The text that answers a request; blank where there is nothing to send. part: the delivery of an answer's part."""

    text: str
    part: int | None = None


class NotReady(Exception):
    """The platform has dropped this request by now and will repeat it, so a client that still waits must not get a normal answer."""


async def answer_callback(
    account: ChannelAccount,
    channel: Passive,
    query: Mapping[str, str],
    inbound: Inbound,
    slots: WaitSlots,
    threads: Executor,
) -> HttpReply:
    """Answer a callback whose message is stored, or in the spool. May take longer than the platform waits. Raises NotReady.

    threads: where the database and Valkey are asked. While it waits it has neither a thread nor a connection. While the database is away it
    waits as for a slow agent, because the database may be back before the last request, which is answered in time
    with how to read the answer later. A sentence at once would waste the two other chances of a real answer.
    """
    if inbound.kind in KINDS_WITHOUT_REPLY or not channel.takes_passive(inbound.raw):
        return HttpReply(channel.passive(query, inbound.raw, channel.passive_text(inbound)))
    request = _Request(account, channel, inbound, slots, threads)
    reply = await request.wait_for_reply()
    if reply.text and not reply.part and await request.is_sending_stopped():
        reply = Reply("")
    return HttpReply(channel.passive(query, inbound.raw, reply.text), reply.part)


@dataclass
class _Request:
    account: ChannelAccount
    channel: Passive
    inbound: Inbound
    slots: WaitSlots
    threads: Executor

    async def wait_for_reply(self) -> Reply:
        """Wait for an answer, as long as this request may. Raises NotReady."""
        began = time.monotonic()
        count, status, reply = await self._query(self._check_first) or (0, None, None)
        key = unread.wait_key(self.account.pk, self.inbound.peer.id)
        with self.slots.take_slot(key, self._uuid) as slot:
            last = self._request_number(count, status) >= self.channel.deliveries
            waits = self.channel.last_seconds if last else self.channel.hangs_up_seconds + WAIT_BEYOND_SECONDS
            if slot and reply is None:  # a wake-up that came before there was a slot is lost, so look once more
                slot.woken.set()
            while reply is None and slot and not slot.replaced and (left := began + waits - time.monotonic()) > 0:
                await self._wait(slot, min(left, self.slots.check_seconds))
                if not slot.replaced:
                    status, reply = await self._query(self._check) or (status, None)
        if reply is not None:
            return reply
        if slot and (slot.replaced or not last):
            raise NotReady
        return Reply(self.account.sentence("not_ready"))

    async def is_sending_stopped(self) -> bool:
        """Whether staff have stopped all sending meanwhile: no part can be claimed then, and no sentence is said instead."""
        stopped = ChannelAccount.objects.filter(pk=self.account.pk, sending_stopped_at__isnull=False)
        return bool(await self._query(stopped.exists))

    async def _query(self, work: Callable[[], Result]) -> Result | None:
        """Run a query in a thread. None while the database is away or does not answer."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await execute_on(self.threads, work)
        except (TimeoutError, *DB_UNAVAILABLE):
            return None

    async def _wait(self, slot: WaitSlot, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await slot.woken.wait()
        except TimeoutError:
            return
        finally:
            slot.woken.clear()

    @cached_property
    def _uuid(self) -> UUID:
        return message_uuid(str(self.account.key), self.inbound.key)

    # --- which of the platform's requests this is

    def _count_requests(self) -> int:
        """Count the requests that brought this message; 0 while Valkey is away."""

        def count(client: Any) -> int:
            with client.pipeline(transaction=False) as both:
                name = f"passive:{self._uuid}"
                return int(both.incr(name).expire(name, COUNT_SECONDS).execute()[0])

        return valkey.try_valkey(count, 0)

    def _request_number(self, count: int, status: QuestionStatus | None) -> int:
        """Return the number of this request, by the count or by the time since the first one, rounded because clocks differ.

        Where neither is known it counts as the last one, because answering too early is better than not at all.
        """
        now = timezone.now().timestamp()
        ages = [now - status.created_at.timestamp()] if status else []
        if self.inbound.occurred_at:
            ages.append(now - self.inbound.occurred_at - 1)
        numbers = [1 + round(age / self.channel.hangs_up_seconds) for age in ages]
        return max([count, *numbers]) or self.channel.deliveries

    # --- what it is answered with

    def _check_first(self) -> tuple[int, QuestionStatus | None, Reply | None]:
        count = self._count_requests()
        try:
            return count, *self._check()
        except DB_UNAVAILABLE:
            return count, None, None

    def _check(self) -> tuple[QuestionStatus | None, Reply | None]:
        """Read the rows. The reply is None where there is nothing to answer yet. Raises an error of DB_UNAVAILABLE."""
        status = unread.load_question_status(self._uuid)
        return status, self._choose_reply(status) if status else None

    def _choose_reply(self, status: QuestionStatus) -> Reply | None:
        if status.given:
            return self._add_hints(Delivery.objects.get(pk=status.given), status)
        if status.reads_on:
            return self._reply_with_next_part(status)
        if status.ready:
            return self._claim_part(status.ready, status)
        if status.open:
            return None
        return (
            self._reply_after_failure
            if status.state in (State.DEAD, State.UNCERTAIN)
            else self._reply_with_missed_answer(status)
        )

    @property
    def _reply_after_failure(self) -> Reply:
        return Reply(self.account.sentence("failed"))

    def _reply_with_missed_answer(self, status: QuestionStatus) -> Reply | None:
        """Return the first part of an answer of which its reader does not know yet; blank where there is none."""
        if status.state != State.DELIVERED:
            return Reply("")
        missed = [one for one in unread.load_unread_parts(status.conversation or 0) if not one.part]
        return self._claim_part(missed[0].delivery, status) if missed else Reply("")

    def _reply_with_next_part(self, status: QuestionStatus) -> Reply | None:
        """Return the next unread part, for a reader who asked for it."""
        if waiting := unread.load_unread_parts(status.conversation or 0):
            asks_for_older = self.inbound.text.strip() == unread.OLDER_COMMAND
            return self._claim_part(
                (unread.select_older_answers(waiting) if asks_for_older else waiting)[0].delivery, status
            )
        turns = unread.load_turns(status.conversation or 0)
        if any(turn.open for turn in turns):
            return None
        return self._reply_after_failure if turns and turns[0].state == State.DEAD else Reply("")

    def _claim_part(self, part: int, status: QuestionStatus) -> Reply | None:
        """Claim a part and return it as the reply. None: another request was faster, or the account is stopped."""
        claimed = claims.claim_and_open(Delivery.objects.get(pk=part), "passive", remote_id=self.inbound.key)
        return self._add_hints(claimed, status) if claimed else None

    def _add_hints(self, part: Delivery, status: QuestionStatus) -> Reply:
        """Return the part as a reply, with a line that says how to read what is left of this answer or of older ones."""
        text = self.channel.spoken(Payload.from_json(part.payload))
        left = unread.load_unread_parts(status.conversation or 0)
        if any(status.reads_on or one.message == part.message_id for one in left):
            text = unread.add_continue_hint(self.channel, text)
        # The reader does not know yet that the older answer came.
        if not status.reads_on and any(one.message != part.message_id and not one.part for one in left):
            text = unread.add_continue_hint(self.channel, text, "older")
        return Reply(text, settle.unconfirmed_part(part))
