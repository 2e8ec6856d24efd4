"""Stores outbound messages: one message, and one delivery for each rendered part."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import counters
from accounts.channels import build_channel
from accounts.person_ids import person_id
from bridge.media import storage
from bridge.models import (
    Attachment,
    AttachmentState,
    Attempt,
    Carrier,
    Conversation,
    Delivery,
    FallbackSender,
    Message,
    Outcome,
    Reason,
    State,
)
from bridge.people import entries, open_questions, peers, sessions
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.answer_parts import build_dead_part, build_part
from bridge.pipeline.delivery.claims import TOPIC_OF_CARRIER
from bridge.pipeline.outbound.recipients import why_unconfirmed
from bridge.pipeline.outbound.rights import restrict
from bridge.pipeline.replies import paths, unread
from bridge.runtime.db.tables import Table
from bridge.runtime.wakeups.publish import notify
from bridge.webhooks import events
from channels_wechat.contract import filetypes
from channels_wechat.contract.capabilities import Recall, Uploads
from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import Content, File
from channels_wechat.contract.text import clean, clean_json, sendable, sendable_json, sendable_name
from channels_wechat.text.split import pieces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from django.contrib.auth.models import User
    from django.core.files.base import File as DjangoFile

    from accounts.models import ChannelAccount
    from bridge.pipeline.replies.paths import ReplyPath
    from channels_wechat.contract.channel import Channel


# A text of fewer bytes never makes too many parts on any platform.
SHORT_BYTES = 4000
# The name of the file that holds an answer which is too long for messages.
WHOLE_ANSWER_NAME = "answer.txt"
_MESSAGES, _DELIVERIES = Table(Message, "m"), Table(Delivery, "d")
PERSON_ERASED = gettext_lazy(
    "This person left, and their data was erased. If they come back, they have a conversation of their own."
)


class CannotSend(Exception):
    """The message cannot be sent and nothing was stored. The text says why, so that a person can act on it."""


def send_within(
    account: ChannelAccount,
    peer_kind: str,
    peer_id: str,
    content: Content,
    *,
    source: str,
    client: str = "",
    key: str = "",
    request_hash: str = "",
    reply_to: Message | None = None,
    files: Iterable[DjangoFile[Any]] = (),
    allowed: Collection[str] = (),
    several: bool = False,
) -> Message:
    """Store a message and queue it, in the caller's transaction, which an exception ends.

    key: idempotency key in the client's space; the same key again returns the stored message. request_hash: what the client asked
    for under this key, so that the API can tell a repetition from another request. allowed: what an agent's mapping allows it
    (`rights`). several: the caller knows that more than one person is meant.

    Raises CannotSend where the account cannot send the content, or only in reply to a message. An agent's answer is stored in any case:
    it becomes a dead delivery with the reason.
    """
    if not several and (refusal := why_unconfirmed(peer_kind, peer_id)):
        raise CannotSend(refusal)
    peer_id = person_id(account, peer_kind, peer_id)
    peers.lock_peer(account.pk, peer_kind, peer_id)
    conversation = _conversation_of(account, peer_kind, peer_id, reply_to)
    is_automatic = source in (Message.Source.AGENT, Message.Source.BRIDGE)
    if not is_automatic and (stored := _find_stored(conversation, source, client, key)):
        return stored
    path = paths.path_for(build_channel(account), account.pk)
    if not is_automatic:
        reply_to = _find_question(path, conversation, reply_to)
    content = _clean_content(content, source, allowed)
    message, new = _store_message(conversation, content, source, client, key or uuid4().hex, reply_to, request_hash)
    if new:
        _queue_parts(path, message, content, files)
    return message


send = transaction.atomic(send_within)
"""The same in a transaction of its own."""


def send_answer(
    question: Message,
    text: str,
    *,
    source: str,
    key: str,
    files: Iterable[DjangoFile[Any]] = (),
    allowed: Collection[str] = (),
) -> Message:
    """Send an answer to the sender of `question`, by the account it came to; in the caller's transaction, without a savepoint."""
    address = (question.account, question.peer_kind, question.peer_id)
    return send_within(
        *address, Content(text=text), source=source, key=key, reply_to=question, files=files, allowed=allowed
    )


def store_callback_reply(question: Message, text: str) -> None:
    """Store the text that the reply to the callback had (a welcome), so that the transcript shows it."""
    with transaction.atomic():
        conversation = peers.get_conversation(question.account, question.peer_kind, question.peer_id)
        key = f"passive:{question.idempotency_key}"
        message, new = _store_message(conversation, Content(text=text), Message.Source.BRIDGE, "", key, question)
        if not new:
            return
        now = timezone.now()
        delivery = build_part(message, 0, {"body": {"text": text}}, carrier=Carrier.HTTP_REPLY, tries=1)
        settle.set_final_state(delivery, State.DELIVERED, at=now)
        delivery.save()
        Attempt.objects.create(delivery=delivery, number=1, started_at=now, finished_at=now, outcome=Outcome.OK)


def why_not_send(conversation: Conversation) -> str:
    """Return why staff cannot write here now; empty where they can."""
    if conversation.erased:
        return str(PERSON_ERASED)
    path = paths.path_for(build_channel(conversation.account), conversation.account_id)
    reason = path.why_not(peers.peer_of(conversation.peer_kind, conversation.peer_id))
    return "" if reason and path.open_question(conversation) else reason


@transaction.atomic
def start_new_session(conversation: Conversation, by: User | None = None) -> None:
    """Renew the sessions of this conversation, so that the agent remembers nothing of it; a shared session is renewed for all."""
    sessions.renew_all(conversation)
    entries.add_entry(conversation, entries.Kind.NEW_SESSION, by)


def recall(delivery: Delivery) -> None:
    """Recall a sent message on the platform. Raises CannotSend or ChannelError."""
    if delivery.account is None or delivery.state != State.DELIVERED or not delivery.remote_id:
        raise CannotSend(_("Only a delivered message that the platform gave an id can be recalled."))
    channel = build_channel(delivery.account)
    age = (timezone.now() - (delivery.finished_at or delivery.created_at)).total_seconds()
    if not isinstance(channel, Recall) or age > channel.recall_seconds:
        raise CannotSend(_("This can no longer be recalled: the platform allows it for a limited time only."))
    channel.recall(delivery.remote_id)
    Delivery.objects.filter(pk=delivery.pk).update(recalled_at=timezone.now())


def _find_question(path: ReplyPath, conversation: Conversation, reply_to: Message | None) -> Message | None:
    """Return the message that staff or a script answer, where the account can only reply to messages. Raises CannotSend."""
    if conversation.erased:
        raise CannotSend(str(PERSON_ERASED))
    reason = path.why_not(peers.peer_of(conversation.peer_kind, conversation.peer_id))
    if not reason:
        return reply_to
    question = path.open_question(conversation, reply_to)
    if question is None:
        raise CannotSend(reason)
    return question


def _conversation_of(account: ChannelAccount, peer_kind: str, peer_id: str, reply_to: Message | None) -> Conversation:
    """Return the conversation; for an answer without a query, because all that is needed stands in the message that it answers."""
    if (
        reply_to is None
        or not reply_to.conversation_id
        or (reply_to.peer_kind, reply_to.peer_id) != (peer_kind, peer_id)
    ):
        return peers.get_conversation(account, peer_kind, peer_id)
    known = {"id": reply_to.conversation_id, "account_id": account.pk, "peer_kind": peer_kind, "peer_id": peer_id}
    conversation = Conversation.from_db(None, list(known), list(known.values()))
    conversation.account = account
    return conversation


def _find_stored(conversation: Conversation, source: str, client: str, key: str) -> Message | None:
    return Message.objects.filter(**_identity(conversation, source, client, key)).first()


def _identity(conversation: Conversation, source: str, client: str, key: str) -> dict[str, Any]:
    space = {"account": conversation.account, "direction": "out", "source": source, "client": client}
    return {**space, "idempotency_key": key}


def _store_message(
    conversation: Conversation,
    content: Content,
    source: str,
    client: str,
    key: str,
    reply_to: Message | None,
    request_hash: str = "",
) -> tuple[Message, bool]:
    """Store the message. Return it, or the one with the same key, and whether it is new."""
    now = timezone.now()
    message = Message(
        **_identity(conversation, source, client, key),
        peer_kind=conversation.peer_kind,
        peer_id=conversation.peer_id,
        conversation=conversation,
        request_hash=request_hash,
        kind=content.kind,
        text=content.text,
        data=dict(content.data),
        reply_to=reply_to,
        routed_at=now,
        created_at=now,
    )
    if _MESSAGES.insert_new(message):
        if source == Message.Source.STAFF:
            open_questions.note_staff_answer(conversation.pk)
        return message, True
    return Message.objects.get(**_identity(conversation, source, client, key)), False


@contextmanager
def _delete_files_on_error() -> Iterator[list[str]]:
    """Give a list for the names of written files; these are deleted where an error prevents that their rows are stored."""
    written: list[str] = []
    try:
        yield written
    except Exception:
        storage.delete_files(written)
        raise


def _store_files(message: Message, files: Iterable[DjangoFile[Any]], written: list[str], first: int = 0) -> list[File]:
    """Store files as attachments of the message. first: the position of the first one."""
    attached = []
    for position, file in enumerate(files, first):
        item = Attachment(
            message=message,
            position=position,
            name=(sendable_name(file.name or "") or "file")[:255],
            size=file.size or 0,
            state=AttachmentState.READY,
        )
        item.kind, mime = filetypes.recognise(
            _read_first_bytes(file), item.name, getattr(file, "content_type", None) or ""
        )
        item.mime = clean(mime)[:100]
        item.file.save("", file, save=False)
        written.append(str(item.file.name))
        item.save()
        attached.append(_describe_file(item))
    return attached


def _read_first_bytes(file: DjangoFile[Any]) -> bytes:
    file.seek(0)
    head = bytes(file.read(filetypes.HEAD_BYTES))
    file.seek(0)
    return head


def _describe_file(item: Attachment) -> File:
    return File(item.kind, item.name, item.mime, item.size, str(item.pk))  # type: ignore[arg-type]


def _clean_content(content: Content, source: str, allowed: Collection[str]) -> Content:
    """Return the content without characters that no platform accepts, and an agent's without what its mapping does not allow."""
    is_agents = source == Message.Source.AGENT
    text = restrict(content.text, allowed) if is_agents else sendable(content.text)
    return replace(content, text=text, data=clean_json(sendable_json(dict(content.data))), ai=is_agents)


def _queue_parts(path: ReplyPath, message: Message, content: Content, files: Iterable[DjangoFile[Any]]) -> None:
    """Store the files of a stored message, and a delivery for each part that its channel renders."""
    counters.add("messages", direction="out")
    with _delete_files_on_error() as written:
        content = replace(content, files=(*content.files, *_store_files(message, files, written)))
        content = _shorten_answer(path, message, content, written)
        deliveries = _build_deliveries(path, message, content)
        _store_deliveries(deliveries)
    if paths.holds_requests(message.account.kind):
        unread.wake_readers(message.account_id, message.peer_id)
    topics = {TOPIC_OF_CARRIER[Carrier(each.carrier)] for each in deliveries}
    transaction.on_commit(lambda: notify(*topics))


def _store_deliveries(deliveries: Sequence[Delivery]) -> None:
    _DELIVERIES.insert(deliveries)
    for delivery in deliveries:
        if delivery.state == State.DEAD:
            events.queue_failure_event(delivery)


def _build_deliveries(path: ReplyPath, message: Message, content: Content) -> list[Delivery]:
    try:
        payloads = path.channel.render(path.adapt_content(content))
    except ContentRefused as error:
        if message.source == Message.Source.AGENT:
            return [
                build_dead_part(message, 0, {}, Reason.CONTENT, Cause("content", {"because": error.cause.as_json()}))
            ]
        raise CannotSend(f"{error.field}: {error}") from error
    return _offer_to_fallbacks(message, path.plan(message, payloads))


def _offer_to_fallbacks(message: Message, deliveries: list[Delivery]) -> list[Delivery]:
    """Let the worker claim what its account has no way to send, where another account may: it is dead if none can."""
    first, named = deliveries[0], FallbackSender.objects.filter(conversation=message.conversation_id, on_window=True)
    if first.state != State.DEAD or first.reason != Reason.NO_REPLY or not named.exists():
        return deliveries
    return [build_part(message, 0, first.payload)]


def _shorten_answer(path: ReplyPath, message: Message, content: Content, written: list[str]) -> Content:
    """Return an agent's answer in as many parts as can be sent; a sentence says that it was cut, or the whole follows as a file."""
    channel, most = path.channel, path.max_parts(message.reply_to)
    if (
        content.kind != "text"
        or not content.ai
        or len(content.text.encode()) < SHORT_BYTES
        or _count_parts(channel, content) <= most
    ):
        return content
    as_file = "file" in channel.content_kinds and isinstance(channel, Uploads)
    text = _cut_text(channel, content, most, channel.identity.sentences.get("whole_as_file" if as_file else "too_long"))
    if not as_file:
        return replace(content, text=text)
    whole = ContentFile(content.text.encode(), name=WHOLE_ANSWER_NAME)
    whole.content_type = "text/plain"  # type: ignore[attr-defined]  # as an uploaded file has it
    attached = _store_files(message, [whole], written, len(content.files))
    return replace(content, text=text, files=(*content.files, *attached))


def _count_parts(channel: Channel, content: Content) -> int:
    """Count the wire messages of the text; 0 where it cannot be rendered, which raises its error later."""
    try:
        return len(channel.render(replace(content, files=())))
    except ContentRefused:
        return 0


def _cut_text(channel: Channel, content: Content, most: int, sentence: str) -> str:
    """Return as much of the text as fits with the sentence into `most` parts, with its code fences closed."""
    size, count = len(content.text.encode()), _count_parts(channel, content)
    while True:
        size = int(size * min(0.97, most / count))
        text = "".join(pieces(content.text, max(4, size))[0]).rstrip() + f"\n\n{sentence}"
        count = _count_parts(channel, replace(content, text=text))
        if count <= most or size < SHORT_BYTES:
            return text
