"""What is left of the ways to answer a message, for surfaces that speak only in answer: its stream and its one-use address."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils import timezone

from accounts import valkey
from bridge.models import Carrier, Delivery, State, Target

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from bridge.models import Conversation, Message
    from channels_wechat.contract.capabilities import Streaming

# The stream is the view's while polls come; an answer that no poll fetched for so long goes by the address.
NO_POLL_SECONDS = 20
# Longer than any stream.
CLOSED_SECONDS = 900


def stream_ends(channel: Streaming, question: Message) -> datetime:
    return question.created_at + timedelta(seconds=channel.stream_seconds)


def mark_stream_closed(question: Message) -> None:
    """A frame without an answer ended it. Where Valkey forgets that, a later answer waits for a poll in vain, and then goes on."""
    valkey.try_valkey(lambda client: client.set(_closed_key(question), 1, ex=CLOSED_SECONDS), None)


def has_stream(channel: Streaming, question: Message, besides: int = 0) -> bool:
    """Whether a poll may still fetch an answer. besides: a delivery that does not count as having used it."""
    if not channel.opens_stream(question.kind) or timezone.now() >= stream_ends(channel, question):
        return False
    if _answers_to(question, besides).filter(carrier=Carrier.HTTP_REPLY).exclude(state=State.DEAD).exists():
        return False
    return not valkey.try_valkey(lambda client: client.exists(_closed_key(question)), 0)


def has_response_url(question: Message, besides: int = 0) -> bool:
    """Whether the one-use address is good and nobody used it, or is about to."""
    if not question.reply_address or not question.reply_until or timezone.now() >= question.reply_until:
        return False
    used = Q(state__in=(State.SENDING, State.DELIVERED, State.UNCERTAIN))
    return not _answers_to(question, besides).filter(used, carrier=Carrier.WORKER).exists()


def push_after(channel: Streaming, question: Message) -> datetime:
    """When an answer that is ready now stops waiting for a poll."""
    return min(timezone.now() + timedelta(seconds=NO_POLL_SECONDS), stream_ends(channel, question))


def remaining_carriers(channel: Streaming, question: Message | None, besides: int = 0) -> list[Carrier]:
    """In the order they are to be used; empty: nothing can be said."""
    if question is None:
        return []
    stream = [Carrier.HTTP_REPLY] if has_stream(channel, question, besides) else []
    return stream + ([Carrier.WORKER] if has_response_url(question, besides) else [])


def answerable_message(conversation: Conversation, channel: Streaming) -> Message | None:
    """The newest message that can still be answered, for a surface that speaks only in answer."""
    now = timezone.now()
    # The newest, and only then the open ones: to ask for these would walk through a long conversation that has none.
    recent = conversation.messages.filter(direction="in").order_by("-id")[:20]
    still = (message for message in recent if message.reply_until and message.reply_until > now)
    return next((message for message in still if remaining_carriers(channel, message)), None)


def _closed_key(question: Message) -> str:
    return f"closed:{question.uuid.hex}"


def _answers_to(question: Message, besides: int) -> QuerySet[Delivery]:
    return Delivery.objects.filter(message__reply_to=question, target=Target.CHANNEL).exclude(pk=besides)
