"""Unread parts: answers of an account that can only reply to callbacks wait until their reader asks for them.

A part of such an answer is a delivery with the carrier HTTP_REPLY, in a lane of its own answer, so that unread answers block no others. It
waits up to `lanes.UNREAD_SECONDS` for its question's own request, or for the reader's CONTINUE_COMMAND; then the worker claims
it, and a gate closes it as unread.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from bridge.models import Delivery, Message
from bridge.pipeline.delivery import lanes
from bridge.pipeline.replies import sql
from bridge.runtime.wakeups import publish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from bridge.models import Conversation
    from channels_wechat.contract.capabilities import Passive

# The text of a message that asks for the next part, and of one that asks for an older unread answer.
CONTINUE_COMMAND = "1"
OLDER_COMMAND = "2"
# The Valkey channel that wakes waiting requests when there is an answer to read, or when there will be none.
UNREAD_CHANNEL = "readable"


def load_question_status(uuid: UUID) -> sql.QuestionStatus | None:
    """Return the status of a question. None: it is not stored, but perhaps in the spool."""
    return sql.QUESTION_STATUS.fetch_one(uuid=uuid)


def load_unread_parts(conversation_id: int) -> list[sql.UnreadPart]:
    """Return the unread parts in the order in which they are read: the newest answer's parts first."""
    return sql.UNREAD_PARTS.fetch(conversation=conversation_id)


def select_older_answers(waiting: list[sql.UnreadPart]) -> list[sql.UnreadPart]:
    """Return the parts of the answers before the newest unread one; where there are none, its own parts."""
    return [one for one in waiting if one.message != waiting[0].message] or waiting


def load_turns(conversation_id: int) -> list[sql.Turn]:
    """Return the turns of the conversation, the newest first."""
    since = timezone.now() - timedelta(seconds=lanes.UNREAD_SECONDS)
    return sql.TURNS.fetch(conversation=conversation_id, since=since)


def is_continue_command(message: Message) -> bool:
    """Whether this message is one of the commands that ask for another part of an answer."""
    return message.kind == "text" and message.text.strip() in (CONTINUE_COMMAND, OLDER_COMMAND)


def is_continue_request(message: Message, asked: Iterable[Delivery] = ()) -> bool:
    """Whether there is, or may soon be, a part that this command asks for. asked: turns whose rows are not written yet."""
    talk = message.conversation_id or 0
    if message.text.strip() == OLDER_COMMAND:
        return bool(load_unread_parts(talk))
    return (
        any(True for _turn in asked)
        or bool(load_unread_parts(talk))
        or any(turn.open for turn in load_turns(talk) if turn.message != message.pk)
    )


def find_open_question(conversation: Conversation, named: Message | None = None) -> Message | None:
    """Return the newest message that still waits for its first answer; or the named one, if it does."""
    waiting = [turn.message for turn in load_turns(conversation.pk) if turn.open]
    if named is not None:
        return named if named.pk in waiting else None
    return Message.objects.get(pk=waiting[0]) if waiting else None


# --- waiting requests


def wait_key(account_id: int, peer_id: str) -> str:
    """Return the key under which the requests of a person wait."""
    return f"{account_id}/{peer_id}"


def wake_readers(account_id: int, peer_id: str) -> None:
    """Wake the waiting requests of this person when the transaction is committed, so that they check the rows."""
    transaction.on_commit(lambda: publish.publish(UNREAD_CHANNEL, wait_key(account_id, peer_id)))


def wake_readers_of_turn(turn: Delivery) -> None:
    """Wake the waiting requests after a turn has ended, perhaps without an answer."""
    if turn.account_id and turn.message:
        publish.publish(UNREAD_CHANNEL, wait_key(turn.account_id, turn.message.peer_id))


def add_continue_hint(channel: Passive, text: str, name: str = "read_on") -> str:
    """Return the text with a line that says how to read on, where both fit. name: the name of the sentence."""
    longer = text + "\n\n" + channel.identity.sentences.get(name)
    return longer if len(longer.encode()) <= channel.passive_bytes else text
