"""Answers the polls of a stream: with the partial text while the agent works, and with the frame that ends it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from accounts import valkey
from bridge.media import storage
from bridge.models import Attachment, Carrier, Conversation, Delivery, Message, Reason, State, Target
from bridge.people.staffed import select_staffed
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import HTTP_REPLY_STATES, HttpReply
from bridge.pipeline.replies import stream_options
from bridge.runtime.spool import journal
from channels_wechat.contract.messages import Payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accounts.models import ChannelAccount
    from channels_wechat.contract.capabilities import Streaming
    from channels_wechat.contract.messages import Answer, Upload

# The partial text of a turn is kept as long as its stream can last.
PARTIAL_SECONDS = 600
# Endings that need a sentence only where no text was shown yet, because an empty bubble would confuse its reader.
ENDINGS_WITHOUT_TEXT = ("silent", "stopped")


def partial_key(uuid: UUID) -> str:
    return f"partial:{uuid.hex}"


def answer_poll(account: ChannelAccount, channel: Streaming, query: Mapping[str, str], stream: str) -> HttpReply:
    """Return the partial text, or the final frame; a repeated poll gets the same final frame again.

    Where staff answer, no text of the agent's is shown: its answer will not be sent either.
    """
    spooled = journal.is_in_use()  # checked before the rows, because the question may be stored between the two checks
    questions = Message.objects.annotate(stopped_at=F("account__sending_stopped_at"), mode=F("conversation__mode"))
    question = questions.filter(uuid=UUID(stream), account=account).first()
    if question is None:
        return HttpReply(
            still_working(channel, query, stream) if spooled else channel.frame(query, stream, None, finish=True)
        )
    if question.stopped_at:  # the stream goes on without words
        return HttpReply(channel.frame(query, stream, None))
    partial = (
        "" if question.mode != Conversation.Mode.BOT and _is_staffs(question) else _read_partial_text(question.uuid)
    )
    turn = _find_turn(
        question
    )  # read before the answer, because the end of a turn and its answer are committed together
    answer = _find_answer(question)
    if answer and answer.carrier == Carrier.HTTP_REPLY:
        return _deliver_answer(channel, query, stream, question, answer, partial)
    ending = "later" if answer else _choose_closing_text(channel, question, turn)
    return HttpReply(_build_frame(channel, query, stream, question, partial, ending))


def _is_staffs(question: Message) -> bool:
    return select_staffed(Delivery.objects.filter(message=question, target=Target.AGENT)).exists()


def still_working(channel: Streaming, query: Mapping[str, str], stream: str) -> Answer:
    """Return the partial text, while the database is away or the question is still in the spool."""
    return channel.frame(query, stream, None, text=_read_partial_text(UUID(stream)))


def _read_partial_text(uuid: UUID) -> str:
    return valkey.try_valkey(lambda client: client.get(partial_key(uuid)), None) or ""


def _find_turn(question: Message) -> Delivery | None:
    return question.deliveries.filter(target=Target.AGENT).first()


def _find_answer(question: Message) -> Delivery | None:
    """Return the first part of the newest answer that a poll fetches or has fetched; else of an answer that is sent in another way."""
    answers = Delivery.objects.filter(message__reply_to=question, target=Target.CHANNEL, part=0)
    newest = answers.exclude(state=State.DEAD).order_by("-id")
    return newest.filter(carrier=Carrier.HTTP_REPLY).first() or newest.first()


def _deliver_answer(
    channel: Streaming, query: Mapping[str, str], stream: str, question: Message, part: Delivery, partial: str
) -> HttpReply:
    if part.state == State.PENDING:
        part = claims.claim_and_open(part, "stream") or part
    if part.state not in HTTP_REPLY_STATES:
        return HttpReply(_build_frame(channel, query, stream, question, partial))
    payload = Payload.from_json(part.payload)
    answer = channel.frame(query, stream, payload, images=_read_images(payload), finish=True)
    return HttpReply(answer, settle.unconfirmed_part(part))


def _read_images(payload: Payload) -> tuple[Upload, ...]:
    """Return the images that still exist, because a poll must get its frame in any case."""
    images = []
    for ref in payload.images:
        with contextlib.suppress(Attachment.DoesNotExist, OSError):
            images.append(storage.read_attachment(ref))
    return tuple(images)


def _choose_closing_text(channel: Streaming, question: Message, turn: Delivery | None) -> str:
    """Return why the stream ends without an answer; empty: it goes on, also while staff answer."""
    if turn and turn.reason == Reason.TOO_MANY:
        return "silent"  # the first refused message was answered with a notice
    if turn and turn.state == State.SKIPPED and turn.reason != Reason.HUMAN:
        return "stopped" if turn.reason == Reason.STOPPED else "skipped"
    if turn and turn.state == State.DEAD:
        return "failed"
    if turn and turn.state == State.DELIVERED:  # with another reason the turn had an answer that could not be sent
        return "silent" if turn.reason == Reason.NO_ANSWER else "failed"
    return "later" if timezone.now() >= stream_options.stream_end_time(channel, question) else ""


def _build_frame(
    channel: Streaming, query: Mapping[str, str], stream: str, question: Message, partial: str, ending: str = ""
) -> Answer:
    closing = channel.closing_text(ending) if ending and not (partial and ending in ENDINGS_WITHOUT_TEXT) else ""
    text = "\n\n".join(words for words in (partial, closing) if words)
    if ending:
        stream_options.mark_stream_closed(question)
    return channel.frame(query, stream, None, text=text, finish=bool(ending))
