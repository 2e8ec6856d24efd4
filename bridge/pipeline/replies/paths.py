"""How an answer leaves: one `ReplyPath` for each account, chosen here by what its platform accepts, and used everywhere else.

`Push`            a call to the platform at any time
`EventReply`      the same; an answer to an event goes by the code that came with it, while that is good
`StreamThenUrl`   the final frame of the question's stream, fetched by a poll; then one call to the address that came with it
`SocketReply`     the account's connection: to the question while its handle is good, else as a message of its own
`PassiveReply`    the HTTP answer to a callback: to the question's own, and part by part to those by which its reader asks for more

A new one needs a class here and a line in `path_for`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.capabilities import answers_passively, answers_passively_as_cached, is_known, list_refused
from bridge.models import Carrier, Message, Reason
from bridge.pipeline.delivery import lanes
from bridge.pipeline.delivery.answer_parts import build_dead_part, build_part
from bridge.pipeline.replies import passive, stream_options, streams, unread
from channels_wechat import can
from channels_wechat.contract.capabilities import EventReplies, Passive, Streaming
from channels_wechat.contract.connection import Connection
from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import Answer, Payload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from accounts.models import ChannelAccount
    from bridge.models import Conversation, Delivery
    from bridge.pipeline.delivery.types import HttpReply
    from bridge.pipeline.replies.waiting_requests import WaitSlots
    from channels_wechat.contract.capabilities import Callbacks
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Content, Inbound, Peer, Reception


class ReplyPath:
    """The reply path of one account. The methods of this class fit most platforms."""

    # Whether a proactive message can be sent, and whether answers are sent by a call at all, not only fetched.
    can_push: ClassVar[bool] = True
    sends_messages: ClassVar[bool] = True
    # Whether the reply to a callback waits until there is an answer to its message.
    answers_callbacks: ClassVar[bool] = False

    def __init__(self, channel: Channel, account_id: int) -> None:
        self.channel, self.account_id = channel, account_id

    # --- before anything is stored

    def why_not(self, peer: Peer) -> str:
        """Return why no proactive message can be sent to this peer; empty where it can."""
        return str(self.channel.cannot_push(peer))

    def open_question(self, conversation: Conversation, named: Message | None = None) -> Message | None:
        """Return the message that can still be answered, where an answer needs one: the named one, or the newest."""
        return None

    def can_answer(self, question: Message) -> bool:
        """Whether this message is of a sort that can be answered."""
        return True

    def max_parts(self, question: Message | None) -> int:
        return self.channel.max_parts

    def adapt_content(self, content: Content) -> Content:
        """Return the content in the form that this path can send. Raises ContentRefused."""
        return content

    def plan(self, message: Message, payloads: Sequence[Payload]) -> list[Delivery]:
        """Return a delivery for each part, not saved; a part that cannot be sent is dead, with its text."""
        return [build_part(message, part, payload.as_json()) for part, payload in enumerate(payloads)]

    # --- when a part is to be sent

    def address(self, message: Message) -> str:
        """Return the address that came with the question, where the answer is to be sent to it."""
        return ""

    def why_not_send(self, delivery: Delivery, message: Message) -> Reason | None:
        """Return why the worker cannot send this part of the message; None where it can."""
        return None

    def must_be_fetched(self, delivery: Delivery) -> bool:
        """Whether this can only be sent in the reply to a callback."""
        return False

    # --- when it is queued again

    def carrier_for(self, delivery: Delivery) -> Carrier | None:
        """Return the carrier that can send it now; None where no way is left."""
        return Carrier(delivery.carrier)

    def requeue(self, delivery: Delivery) -> dict[str, Any]:
        """Return the columns of its carrier, lane and time. A part that waited for a reader is sent from now on."""
        if lanes.is_unread_part(delivery):
            talk = delivery.message.conversation_id if delivery.message else None
            return {"carrier": Carrier.WORKER, "lane": lanes.lane_of_answers(talk), "due_at": timezone.now()}
        return {"carrier": self.carrier_for(delivery) or Carrier(delivery.carrier), "due_at": timezone.now()}

    # --- for inbound messages

    def is_continue_request(self, message: Message, asked: Iterable[Delivery]) -> bool:
        """Whether this command asks for the next part of an answer, and is no turn; decided when it is routed.

        asked: turns whose rows are not written yet.
        """
        return False

    def answer_poll(self, account: ChannelAccount, query: Mapping[str, str], stream: str) -> HttpReply:
        """Answer a poll of this stream. Only where `is_polled`."""
        raise NotImplementedError

    def still_working(self, query: Mapping[str, str], stream: str) -> Answer:
        """Answer a poll while the database is away. Only where `is_polled`."""
        raise NotImplementedError

    async def answer_callback(
        self,
        account: ChannelAccount,
        query: Mapping[str, str],
        inbound: Inbound,
        slots: WaitSlots,
        threads: Executor,
    ) -> HttpReply:
        """Answer the callback that brought this message. Only where `answers_callbacks`. Raises NotReady."""
        raise NotImplementedError


class Push(ReplyPath):
    """Answers by a call to the platform, at any time."""


class EventReply(Push):
    """Answers by a call to the platform; an answer to an event by the event's code, which is good for one message and a short time."""

    channel: EventReplies

    def address(self, message: Message) -> str:
        question = message.reply_to
        return question.reply_address if question and _is_open(question) else ""

    def why_not_send(self, delivery: Delivery, message: Message) -> Reason | None:
        """Return a reason where the code has expired: it came because the person has not written, so there is no other way."""
        question = message.reply_to
        is_late = question and question.reply_until and not _is_open(question)
        return Reason.NO_REPLY if is_late else None


def _is_open(question: Message) -> bool:
    return bool(question.reply_until and question.reply_until > timezone.now())


class StreamThenUrl(ReplyPath):
    """Answers with the first part by the question's stream while it is polled; with a second or late part by its one-use address."""

    channel: Streaming
    can_push = False

    def open_question(self, conversation: Conversation, named: Message | None = None) -> Message | None:
        if stream_options.remaining_carriers(self.channel, named):
            return named
        return stream_options.find_answerable_message(conversation, self.channel)

    def max_parts(self, question: Message | None) -> int:
        return max(1, len(stream_options.remaining_carriers(self.channel, question)))

    def plan(self, message: Message, payloads: Sequence[Payload]) -> list[Delivery]:
        """Give each part one of the ways that are left."""
        carriers = stream_options.remaining_carriers(self.channel, message.reply_to)
        return [
            build_part(message, part, payload.as_json(), **self._carrier_columns(carriers[part], message.reply_to))
            if part < len(carriers)
            else build_dead_part(message, part, payload.as_json(), Reason.TOO_LONG if carriers else Reason.NO_REPLY)
            for part, payload in enumerate(payloads)
        ]

    def address(self, message: Message) -> str:
        return message.reply_to.reply_address if message.reply_to else ""

    def why_not_send(self, delivery: Delivery, message: Message) -> Reason | None:
        """Return a reason where the one-use address is used or expired."""
        if message.reply_to and stream_options.has_response_url(message.reply_to, besides=delivery.pk):
            return None
        return Reason.TOO_LONG if delivery.part else Reason.NO_REPLY

    def carrier_for(self, delivery: Delivery) -> Carrier | None:
        question = delivery.message.reply_to if delivery.message else None
        carriers = stream_options.remaining_carriers(self.channel, question, besides=delivery.pk)
        return carriers[0] if carriers else None

    def requeue(self, delivery: Delivery) -> dict[str, Any]:
        question = delivery.message.reply_to if delivery.message else None
        carrier = self.carrier_for(delivery) or Carrier(delivery.carrier)
        return {"due_at": timezone.now(), **self._carrier_columns(carrier, question)}

    def answer_poll(self, account: ChannelAccount, query: Mapping[str, str], stream: str) -> HttpReply:
        return streams.answer_poll(account, self.channel, query, stream)

    def still_working(self, query: Mapping[str, str], stream: str) -> Answer:
        return streams.still_working(self.channel, query, stream)

    def _carrier_columns(self, carrier: Carrier, question: Message | None) -> dict[str, Any]:
        """Return the columns of the carrier; a part that waits for a poll is sent to the address when no poll comes."""
        if carrier == Carrier.HTTP_REPLY and question:
            return {"carrier": carrier, "due_at": stream_options.polling_deadline(self.channel, question)}
        return {"carrier": carrier}


class SocketReply(ReplyPath):
    """Answers over the account's connection, which a connector holds."""

    channel: Connection

    def plan(self, message: Message, payloads: Sequence[Payload]) -> list[Delivery]:
        return [
            build_part(message, part, payload.as_json(), carrier=Carrier.SOCKET)
            for part, payload in enumerate(payloads)
        ]

    def address(self, message: Message) -> str:
        """Return the handle of the question while the platform takes answers by it; the chat's newest where it takes no other."""
        question = message.reply_to
        if question and _is_open(question) and not self.channel.keeps_replies:
            return question.reply_address
        if not self.channel.keeps_replies and "push" not in list_refused(self.account_id, message.peer_id):
            return ""
        recent = Message.objects.filter(conversation=message.conversation_id, direction="in").order_by("-id")[:20]
        return next((each.reply_address for each in recent if _is_open(each)), "")

    def carrier_for(self, delivery: Delivery) -> Carrier | None:
        """Also what another mode of the account left is sent over the connection now."""
        return Carrier.SOCKET


class PassiveReply(ReplyPath):
    """Answers in the reply to a callback: the question's own callback gets the first part, the reader asks for the others."""

    channel: Passive
    can_push = False
    sends_messages = False
    answers_callbacks = True

    def why_not(self, peer: Peer) -> str:
        return super().why_not(peer) or _(
            "WeChat does not grant this account messages of its own: it speaks only in the reply to a user's message."
        )

    def open_question(self, conversation: Conversation, named: Message | None = None) -> Message | None:
        return unread.find_open_question(conversation, named)

    def can_answer(self, question: Message) -> bool:
        return self.channel.takes_passive(question.raw)

    def adapt_content(self, content: Content) -> Content:
        """Return text only, with a line for each file."""
        if content.kind != "text":
            text = _("This account can say only text: it speaks in the reply to a user's message.")
            raise ContentRefused("kind", text)
        sentences = self.channel.identity.sentences
        lines = [sentences.get("no_files", name=file.name, size=sentences.size(file.size)) for file in content.files]
        return replace(content, text="\n\n".join(filter(None, (content.text, *lines))), files=())

    def plan(self, message: Message, payloads: Sequence[Payload]) -> list[Delivery]:
        """Plan unread parts; they are dead where there is no question that can be answered, because nobody would ask for them."""
        reachable = message.reply_to is not None and self.can_answer(message.reply_to)
        columns = lanes.as_unread(message.pk)
        return [
            build_part(message, part, payload.as_json(), **columns)
            if reachable
            else build_dead_part(message, part, payload.as_json(), Reason.NO_REPLY, **columns)
            for part, payload in enumerate(payloads)
        ]

    def must_be_fetched(self, delivery: Delivery) -> bool:
        question = delivery.message.reply_to if delivery.message else None
        reachable = question is None or self.can_answer(question)
        return reachable and bool(self.channel.spoken(Payload.from_json(delivery.payload)))

    def requeue(self, delivery: Delivery) -> dict[str, Any]:
        return lanes.as_unread(delivery.message_id) if lanes.is_unread_part(delivery) else super().requeue(delivery)

    def is_continue_request(self, message: Message, asked: Iterable[Delivery]) -> bool:
        return unread.is_continue_request(message, asked)

    async def answer_callback(
        self,
        account: ChannelAccount,
        query: Mapping[str, str],
        inbound: Inbound,
        slots: WaitSlots,
        threads: Executor,
    ) -> HttpReply:
        return await passive.answer_callback(account, self.channel, query, inbound, slots, threads)


# --- which one


def path_for(channel: Channel, account_id: int) -> ReplyPath:
    """Return how answers of this account leave now. May query what the platform grants the account."""
    return _choose_path(channel, account_id, answers_passively(channel, account_id))


def path_without_query(channel: Channel, account_id: int) -> ReplyPath | None:
    """Return the same without a query, for an event loop; None where a query is needed."""
    asks = isinstance(channel, Passive) and channel.answers == "automatic" and not is_known(account_id)
    return None if asks else path_for(channel, account_id)


def path_as_cached(channel: Channel, account_id: int) -> ReplyPath:
    """Return the last known path, while the database is away."""
    return _choose_path(channel, account_id, answers_passively_as_cached(channel, account_id))


def _choose_path(channel: Channel, account_id: int, is_passive: bool) -> ReplyPath:
    if isinstance(channel, Streaming):
        return StreamThenUrl(channel, account_id)
    if isinstance(channel, Connection):
        return SocketReply(channel, account_id)
    if is_passive and isinstance(channel, Passive):
        return PassiveReply(channel, account_id)
    return EventReply(channel, account_id) if isinstance(channel, EventReplies) else Push(channel, account_id)


def answer_silently(channel: Callbacks, query: Mapping[str, str], reception: Reception) -> Answer:
    """Answer a callback so that whoever wrote is told nothing: a stream goes on without words, and the platform repeats nothing."""
    if isinstance(channel, Streaming):
        return channel.frame(query, reception.poll, None) if reception.poll else Answer()
    if isinstance(channel, Passive) and reception.inbound:
        return channel.passive(query, reception.inbound[0].raw, "")
    return channel.acknowledge(query, reception)


# --- what holds for all accounts of a kind, whatever they are granted now; these ask nobody


def is_polled(kind: str) -> bool:
    """Whether the platform polls for answers of this kind of account."""
    return can(kind, Streaming)


def shows_partials(kind: str) -> bool:
    """Whether people may see what an agent has written so far."""
    return is_polled(kind) or can(kind, Connection)


def holds_requests(kind: str) -> bool:
    """Whether callbacks of this kind of account may wait for an answer, so that they must be woken."""
    return can(kind, Passive)


def welcomes_in_reply(channel: Channel, message: Message) -> bool:
    """Whether the reply to the callback of this message had the welcome."""
    return isinstance(channel, Passive) and channel.takes_passive(message.raw)
