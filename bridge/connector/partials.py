"""Shows the text of an answer while its agent goes on, in the stream of a question that came over a connection.

The connector that runs the turn keeps the text so far in Valkey; the one that has the account's connection reads it there. So it does not
matter which connector has which.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accounts import capabilities, limits, valkey
from bridge.connector import states
from bridge.models import Delivery, Message, State, Target
from bridge.people.staffed import select_staffed
from bridge.pipeline.replies.streams import partial_key
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.db.threads import in_db_thread, in_io_thread
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.messages import message_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from accounts.models import ChannelAccount
    from channels_wechat.contract.connection import Connection as ConnectedChannel
    from channels_wechat.contract.connection import Link
    from channels_wechat.contract.messages import Inbound, Outgoing, Peer, Receipt, Upload

log = logging.getLogger(__name__)
# Seconds between two looks at the texts: each text that has grown is one call, and platforms count them.
LOOK_SECONDS = 2.0
# Of a limit of calls, this share is kept for answers: partial text is left out where less remains.
RESERVED_SHARE = 0.5


@dataclass
class OpenQuestion:
    """A question whose answer is not sent yet. shown: the text that its reader sees so far."""

    peer: Peer
    shown: str = ""


class OpenQuestions:
    """The questions of one account that came over this connection, and the task that shows the texts of their answers."""

    def __init__(self, account: ChannelAccount, channel: ConnectedChannel) -> None:
        self.account, self.channel = account, channel
        self.questions: dict[UUID, OpenQuestion] = {}
        self.link: Link | None = None
        self.task: asyncio.Task[None] | None = None

    def add(self, messages: Iterable[Inbound]) -> None:
        if not self.channel.shows_partials:
            return
        for message in messages:
            if message.peer.reply and message.kind not in ("event", "action"):
                self.questions[message_uuid(str(self.account.key), message.key)] = OpenQuestion(message.peer)
        if self.questions and self.task is None and self.link:
            self.task = asyncio.create_task(self._show_all())

    def watch(self, link: Link) -> Link:
        """Return the link as senders use it: a question whose answer is sent is not open any more."""
        self.link = link
        return _WatchedLink(link, self)

    def close(self) -> None:
        self.link = None
        if self.task:
            self.task.cancel()
            self.task = None

    def note_sent(self, reply: str) -> None:
        for uuid in [uuid for uuid, question in self.questions.items() if question.peer.reply == reply]:
            del self.questions[uuid]

    async def _show_all(self) -> None:
        while self.questions:
            await asyncio.sleep(LOOK_SECONDS)
            if not await self._may_send():
                continue
            with contextlib.suppress(*DB_UNAVAILABLE):
                for uuid in await in_db_thread(_find_ended, list(self.questions)):
                    await self._end(self.questions.pop(uuid, None))
            texts = await self._read_texts()
            for uuid, text in texts.items():
                if (question := self.questions.get(uuid)) and text != question.shown:
                    await self._show(uuid, question, text)
        self.task = None

    async def _read_texts(self) -> dict[UUID, str]:
        """Return the texts so far, without those of conversations that staff answer now: their agent's answer will not be sent either."""
        texts = await in_io_thread(_read_texts, list(self.questions))
        with contextlib.suppress(*DB_UNAVAILABLE):
            for uuid in await in_db_thread(_find_staffed, list(texts)) if texts else ():
                del texts[uuid]
            return texts
        return {}

    async def _may_send(self) -> bool:
        """False while staff have stopped all sending: then no stream grows and none is ended."""
        with contextlib.suppress(*DB_UNAVAILABLE):
            return await in_db_thread(states.may_send, self.account.pk)
        return False

    async def _show(self, uuid: UUID, question: OpenQuestion, text: str) -> None:
        if await self._is_refused(question.peer):
            self.questions.pop(uuid, None)
            return
        if self.link is None or not await in_io_thread(self._may_show, question.peer):
            return
        try:
            goes_on = await self.link.show_partial(question.peer.reply, text)
        except ChannelError as error:  # the answer itself is tried all the same
            log.info("account %s: partial text was refused (%s)", self.account.pk, error.code)
            with contextlib.suppress(*DB_UNAVAILABLE):
                await in_db_thread(capabilities.store_refusal, self.account, error, question.peer.id)
            goes_on = False
        question.shown = text
        if not goes_on:
            self.questions.pop(uuid, None)

    async def _is_refused(self, peer: Peer) -> bool:
        """Whether the platform said before that this chat takes no text that grows."""
        with contextlib.suppress(*DB_UNAVAILABLE):
            return "stream" in await in_db_thread(capabilities.list_refused, self.account.pk, peer.id)
        return False

    async def _end(self, question: OpenQuestion | None) -> None:
        """End a stream that no answer will end: the turn was stopped, skipped or failed."""
        if question and question.shown and self.link:
            with contextlib.suppress(ChannelError):
                await self.link.end_partial(question.peer.reply, question.shown)

    def _may_show(self, peer: Peer) -> bool:
        """Count a call for partial text, unless so much of a limit is used that answers would have to wait."""
        counted = limits.select_limits(self.channel.limits, peer.kind)
        key = str(self.account.key)
        for limit, left in limits.list_remaining(counted, key, peer.id):
            if left is None or left <= limit.count * RESERVED_SHARE:
                return False
        return limits.count_call(counted, key, peer.id) == 0.0


class _WatchedLink:
    def __init__(self, link: Link, questions: OpenQuestions) -> None:
        self.link, self.questions = link, questions

    async def send(self, outgoing: Outgoing) -> Receipt:
        self.questions.note_sent(outgoing.peer.reply)
        return await self.link.send(outgoing)

    async def upload(self, file: Upload) -> str:
        return await self.link.upload(file)

    async def show_partial(self, reply: str, text: str) -> bool:
        return await self.link.show_partial(reply, text)

    async def end_partial(self, reply: str, text: str) -> None:
        await self.link.end_partial(reply, text)


def _read_texts(uuids: list[UUID]) -> dict[UUID, str]:
    """Return the texts so far of those turns that have one."""
    if not uuids:
        return {}
    keys = [partial_key(uuid) for uuid in uuids]
    texts: list[str | None] = valkey.try_valkey(lambda client: client.mget(keys), [None] * len(keys))
    return {uuid: text for uuid, text in zip(uuids, texts, strict=True) if text}


def _find_staffed(uuids: list[UUID]) -> list[UUID]:
    """Return those messages whose turn is staff's."""
    turns = select_staffed(Delivery.objects.filter(message__uuid__in=uuids, target=Target.AGENT))
    return list(turns.values_list("message__uuid", flat=True))


def _find_ended(uuids: list[UUID]) -> list[UUID]:
    """Return those messages that are routed, have no turn that goes on, and no answer that waits."""
    messages = Message.objects.filter(uuid__in=uuids, routed_at__isnull=False)
    open_states = (State.PENDING, State.SENDING, State.HELD)
    asked = Delivery.objects.filter(message__uuid__in=uuids, target=Target.AGENT, state__in=open_states)
    answered = Delivery.objects.filter(message__reply_to__uuid__in=uuids, target=Target.CHANNEL, state__in=open_states)
    busy = {*asked.values_list("message__uuid", flat=True), *answered.values_list("message__reply_to__uuid", flat=True)}
    return [uuid for uuid in messages.values_list("uuid", flat=True) if uuid not in busy]
