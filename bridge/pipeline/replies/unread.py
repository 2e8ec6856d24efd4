"""Answers that are read, not sent: of an account that speaks only in the reply to a callback. All of it follows from rows.

A part of such an answer is a delivery on the view's carrier, in a lane of its answer's own: an unread answer stands in no other's way. It
waits for `lanes.UNREAD_SECONDS` for its question's own request, or for the reader to ask by `READ_ON`; then the worker's claim takes
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

# The whole of a message that asks for the next part, and for an answer before the newest one that is unread.
CONTINUE_COMMAND = "1"
OLDER_COMMAND = "2"
# Where those hear of it who hold a request open: of whom something is to be read, or will never be.
UNREAD_CHANNEL = "readable"


def question_status(uuid: UUID) -> sql.QuestionStatus | None:
    """None: it is not stored, but perhaps in the spool."""
    return sql.QUESTION_STATUS.fetch_one(uuid=uuid)


def unread_parts(conversation_id: int) -> list[sql.UnreadPart]:
    """In the order in which they are read: the newest answer's parts first."""
    return sql.UNREAD_PARTS.fetch(conversation=conversation_id)


def parts_of_older_answers(waiting: list[sql.UnreadPart]) -> list[sql.UnreadPart]:
    """Those of the answers before the newest unread one; where it is the only one, its own."""
    return [one for one in waiting if one.message != waiting[0].message] or waiting


def turns(conversation_id: int) -> list[sql.Turn]:
    """The newest first."""
    since = timezone.now() - timedelta(seconds=lanes.UNREAD_SECONDS)
    return sql.TURNS.fetch(conversation=conversation_id, since=since)


def is_continue_command(message: Message) -> bool:
    """Whether this is one of the words by which an answer is read on."""
    return message.kind == "text" and message.text.strip() in (CONTINUE_COMMAND, OLDER_COMMAND)


def is_continue_request(message: Message, asked: Iterable[Delivery] = ()) -> bool:
    """Whether there is, or may soon be, a part that this command asks for. asked: turns under way of which the rows do not tell yet."""
    talk = message.conversation_id or 0
    if message.text.strip() == OLDER_COMMAND:
        return bool(unread_parts(talk))
    return (
        any(True for _turn in asked)
        or bool(unread_parts(talk))
        or any(turn.open for turn in turns(talk) if turn.message != message.pk)
    )


def open_question(conversation: Conversation, named: Message | None = None) -> Message | None:
    """The newest message that still waits for its first answer; or the named one, if it does."""
    waiting = [turn.message for turn in turns(conversation.pk) if turn.open]
    if named is not None:
        return named if named.pk in waiting else None
    return Message.objects.get(pk=waiting[0]) if waiting else None


# --- who waits


def wait_key(account_id: int, peer_id: str) -> str:
    """The name under which somebody's requests wait."""
    return f"{account_id}/{peer_id}"


def wake_readers(account_id: int, peer_id: str) -> None:
    """When this is committed: whoever holds a request of this person open looks at the rows."""
    transaction.on_commit(lambda: publish.publish(UNREAD_CHANNEL, wait_key(account_id, peer_id)))


def wake_readers_of_turn(turn: Delivery) -> None:
    """It came to its end, perhaps without an answer."""
    if turn.account_id and turn.message:
        publish.publish(UNREAD_CHANNEL, wait_key(turn.account_id, turn.message.peer_id))


def with_continue_hint(channel: Passive, text: str, name: str = "read_on") -> str:
    """The text with a line that says how to read on, where both fit. name: of the sentence."""
    longer = text + "\n\n" + channel.identity.sentences.get(name)
    return longer if len(longer.encode()) <= channel.passive_bytes else text
