"""Polls of a stream: what the platform's client is shown while the agent thinks, and the frame that ends it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import UUID

from django.utils import timezone

from accounts import valkey
from bridge.media import storage
from bridge.models import Attachment, Carrier, Delivery, Message, Reason, State, Target
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import OFFERED_STATES, HttpReply
from bridge.pipeline.replies import stream_options
from bridge.runtime.spool import journal
from channels_wechat.contract.messages import Payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accounts.models import ChannelAccount
    from channels_wechat.contract.capabilities import Streaming
    from channels_wechat.contract.messages import Answer, Upload

# A turn's text so far lives as long as its stream can.
PARTIAL_SECONDS = 600
# Ends that need a sentence only where nothing was shown yet, for an empty bubble would puzzle its reader.
SAID_ENOUGH = ("silent", "stopped")


def partial_key(uuid: UUID) -> str:
    return f"partial:{uuid.hex}"


def answer_poll(account: ChannelAccount, channel: Streaming, query: Mapping[str, str], stream: str) -> HttpReply:
    """The text so far, or the final frame; the same final frame again when it is asked for again."""
    spooled = journal.is_in_use()  # looked at before the rows: it may be stored between the two looks
    question = Message.objects.filter(uuid=UUID(stream), account=account).first()
    if question is None:
        return HttpReply(
            still_working(channel, query, stream) if spooled else channel.frame(query, stream, None, finish=True)
        )
    turn = _turn_of(question)  # read before the answer: the end of a turn and its answer are committed together
    said = _answer_to(question)
    if said and said.carrier == Carrier.HTTP_REPLY:
        return _fetched(channel, query, stream, question, said)
    ending = "later" if said else _closing_text(channel, question, turn)
    return HttpReply(_frame(channel, query, stream, question, ending))


def still_working(channel: Streaming, query: Mapping[str, str], stream: str) -> Answer:
    """The text so far, while the database is away or has not yet what the spool holds."""
    return channel.frame(query, stream, None, text=_partial(UUID(stream)))


def _partial(uuid: UUID) -> str:
    return valkey.try_valkey(lambda client: client.get(partial_key(uuid)), None) or ""


def _turn_of(question: Message) -> Delivery | None:
    return question.deliveries.filter(target=Target.AGENT).first()


def _answer_to(question: Message) -> Delivery | None:
    """The first part of the newest answer that is, or was, to be fetched by a poll; else any answer on its way elsewhere."""
    answers = Delivery.objects.filter(message__reply_to=question, target=Target.CHANNEL, part=0)
    newest = answers.exclude(state=State.DEAD).order_by("-id")
    return newest.filter(carrier=Carrier.HTTP_REPLY).first() or newest.first()


def _fetched(channel: Streaming, query: Mapping[str, str], stream: str, question: Message, said: Delivery) -> HttpReply:
    if said.state == State.PENDING:
        said = claims.offer(said, "stream") or said
    if said.state not in OFFERED_STATES:
        return HttpReply(_frame(channel, query, stream, question, ""))
    payload = Payload.from_json(said.payload)
    answer = channel.frame(query, stream, payload, images=_images(payload), finish=True)
    return HttpReply(answer, settle.part_to_confirm(said))


def _images(payload: Payload) -> tuple[Upload, ...]:
    """Those that are still there: a poll must get its frame in any case."""
    found = []
    for ref in payload.images:
        with contextlib.suppress(Attachment.DoesNotExist, OSError):
            found.append(storage.read_attachment(ref))
    return tuple(found)


def _closing_text(channel: Streaming, question: Message, turn: Delivery | None) -> str:
    """Why the stream ends without a fetched answer; empty: it goes on, also for staff who have taken over."""
    if turn and turn.reason == Reason.TOO_MANY:
        return "silent"  # the person was told with the first of them
    if turn and turn.state == State.SKIPPED and turn.reason != Reason.HUMAN:
        return "stopped" if turn.reason == Reason.STOPPED else "skipped"
    if turn and turn.state == State.DEAD:
        return "failed"
    if turn and turn.state == State.DELIVERED:  # else it had an answer, which nothing could carry
        return "silent" if turn.reason == Reason.NO_ANSWER else "failed"
    return "later" if timezone.now() >= stream_options.stream_ends(channel, question) else ""


def _frame(channel: Streaming, query: Mapping[str, str], stream: str, question: Message, ending: str) -> Answer:
    partial = _partial(question.uuid)
    closing = channel.closing_text(ending) if ending and not (partial and ending in SAID_ENOUGH) else ""
    text = "\n\n".join(words for words in (partial, closing) if words)
    if ending:
        stream_options.mark_stream_closed(question)
    return channel.frame(query, stream, None, text=text, finish=bool(ending))
