"""Which ways to answer a message are left, for accounts that can only reply: its stream and its one-use address."""

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

# An answer waits so long for a poll of the stream; then it is sent to the one-use address.
POLL_WAIT_SECONDS = 20
# Valkey keeps the mark of a closed stream longer than any stream lasts.
CLOSED_SECONDS = 900


def stream_end_time(channel: Streaming, question: Message) -> datetime:
    return question.created_at + timedelta(seconds=channel.stream_seconds)


def mark_stream_closed(question: Message) -> None:
    """Store that a frame without an answer ended the stream. Where Valkey loses that, a later answer waits in vain for a poll first."""
    valkey.try_valkey(lambda client: client.set(_closed_key(question), 1, ex=CLOSED_SECONDS), None)


def has_stream(channel: Streaming, question: Message, besides: int = 0) -> bool:
    """Whether a poll may still fetch an answer. besides: a delivery that does not count as having used it."""
    if not channel.opens_stream(question.kind) or timezone.now() >= stream_end_time(channel, question):
        return False
    if _find_answers(question, besides).filter(carrier=Carrier.HTTP_REPLY).exclude(state=State.DEAD).exists():
        return False
    return not valkey.try_valkey(lambda client: client.exists(_closed_key(question)), 0)


def has_response_url(question: Message, besides: int = 0) -> bool:
    """Whether the one-use address is still valid and no delivery uses or used it."""
    if not question.reply_address or not question.reply_until or timezone.now() >= question.reply_until:
        return False
    used = Q(state__in=(State.SENDING, State.DELIVERED, State.UNCERTAIN))
    return not _find_answers(question, besides).filter(used, carrier=Carrier.WORKER).exists()


def polling_deadline(channel: Streaming, question: Message) -> datetime:
    """Return when an answer that is ready now stops waiting for a poll."""
    return min(timezone.now() + timedelta(seconds=POLL_WAIT_SECONDS), stream_end_time(channel, question))


def remaining_carriers(channel: Streaming, question: Message | None, besides: int = 0) -> list[Carrier]:
    """Return the ways that are left, in the order in which they are used; empty: no answer can be sent."""
    if question is None:
        return []
    stream = [Carrier.HTTP_REPLY] if has_stream(channel, question, besides) else []
    return stream + ([Carrier.WORKER] if has_response_url(question, besides) else [])


def find_answerable_message(conversation: Conversation, channel: Streaming) -> Message | None:
    """Return the newest message that can still be answered, for an account that can only reply."""
    now = timezone.now()
    # The newest messages are loaded first and filtered here, because the database would search a long conversation for open ones.
    recent = conversation.messages.filter(direction="in").order_by("-id")[:20]
    still = (message for message in recent if message.reply_until and message.reply_until > now)
    return next((message for message in still if remaining_carriers(channel, message)), None)


def _closed_key(question: Message) -> str:
    return f"closed:{question.uuid.hex}"


def _find_answers(question: Message, besides: int) -> QuerySet[Delivery]:
    return Delivery.objects.filter(message__reply_to=question, target=Target.CHANNEL).exclude(pk=besides)
