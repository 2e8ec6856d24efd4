"""Answers that are read, not sent: of an account that speaks only in the reply to a callback. All of it follows from rows.

A part of such an answer is a delivery on the view's carrier, in a lane of its answer's own: an unread answer stands in no other's way. It
waits for `lanes.UNREAD_SECONDS` for its question's own request, or for the reader to ask by `READ_ON`; then the worker's claim takes
it, and `sender` closes it as unread.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.utils import timezone

from bridge.models import Delivery, Message, Reason, State
from bridge.pipeline.delivery import lanes
from bridge.runtime.db.prepared import execute_prepared
from bridge.runtime.wakeups import publish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from bridge.models import Conversation
    from channels_wechat.contract.capabilities import Passive

# The whole of a message that asks for the next part, and for an answer before the newest one that is unread.
CONTINUE_COMMAND = "1"
OLDER_COMMAND = "2"
# Where those hear of it who hold a request open: of whom something is to be read, or will never be.
UNREAD_CHANNEL = "readable"
# In so many of a conversation's newest messages unread parts and open questions are looked for.
RECENT = 100

_RECENT = (
    f"WITH recent AS (SELECT id FROM bridge_message WHERE conversation_id = %(talk)s ORDER BY id DESC LIMIT {RECENT})"  # noqa: S608
)
_UNREAD = f"""{_RECENT}
SELECT d.id, d.message_id, d.part FROM recent JOIN bridge_delivery d ON d.message_id = recent.id
WHERE d.target = 'channel' AND d.carrier = 'http_reply' AND d.state = 'pending' AND starts_with(d.lane, '{lanes.UNREAD}')
ORDER BY d.message_id DESC, d.part"""  # noqa: S608  constants
_TURNS = f"""{_RECENT}
SELECT d.message_id, d.state, d.reason, EXISTS (SELECT FROM bridge_message r WHERE r.reply_to_id = d.message_id)
FROM recent JOIN bridge_delivery d ON d.message_id = recent.id
WHERE d.target = 'agent' AND d.reason <> '{Reason.READ_ON}' AND d.created_at > %(since)s
ORDER BY d.message_id DESC"""  # noqa: S608  constants
_STANDING = """
SELECT m.id, m.conversation_id, m.created_at, COALESCE(turn.state, ''), COALESCE(turn.reason, ''),
  EXISTS (SELECT FROM bridge_message r WHERE r.reply_to_id = m.id),
  (SELECT d.id FROM bridge_delivery d WHERE d.remote_id = m.idempotency_key AND d.remote_id <> '' AND d.account_id = m.account_id
   AND d.carrier = 'http_reply' AND d.state IN ('sending', 'uncertain', 'delivered') AND d.target = 'channel' ORDER BY d.id DESC LIMIT 1),
  (SELECT d.id FROM bridge_message r JOIN bridge_delivery d ON d.message_id = r.id AND d.target = 'channel'
   WHERE r.reply_to_id = m.id AND d.carrier = 'http_reply' AND d.state = 'pending' AND d.part = 0 ORDER BY d.id DESC LIMIT 1)
FROM bridge_message m LEFT JOIN bridge_delivery turn ON turn.message_id = m.id AND turn.target = 'agent'
WHERE m.uuid = %(uuid)s"""


class QuestionStatus(NamedTuple):
    """What the rows say of an inbound message. state, reason: of its turn, empty before it is routed; answered: something was said to it.

    given: the part that its request was answered with, perhaps in vain; ready: the part that it may be answered with. Ids of deliveries.
    """

    message: int
    conversation: int | None
    created_at: datetime
    state: str
    reason: str
    answered: bool
    given: int | None
    ready: int | None

    @property
    def open(self) -> bool:
        """Whether an answer may still come, from the agent or from staff who have taken over."""
        return not self.state or _is_open(self.state, self.reason, self.answered)

    @property
    def reads_on(self) -> bool:
        return self.reason == Reason.READ_ON


class Turn(NamedTuple):
    message: int
    state: str
    reason: str
    answered: bool

    @property
    def open(self) -> bool:
        return _is_open(self.state, self.reason, self.answered)


class UnreadPart(NamedTuple):
    delivery: int
    message: int
    part: int


def question_status(uuid: UUID) -> QuestionStatus | None:
    """None: it is not stored, but perhaps in the spool."""
    rows = execute_prepared(_STANDING, {"uuid": uuid})
    return QuestionStatus(*rows[0]) if rows else None


def unread_parts(conversation_id: int) -> list[UnreadPart]:
    """In the order in which they are read: the newest answer's parts first."""
    return [UnreadPart(*row) for row in execute_prepared(_UNREAD, {"talk": conversation_id})]


def parts_of_older_answers(waiting: list[UnreadPart]) -> list[UnreadPart]:
    """Those of the answers before the newest unread one; where it is the only one, its own."""
    return [one for one in waiting if one.message != waiting[0].message] or waiting


def turns(conversation_id: int) -> list[Turn]:
    """The newest first."""
    since = timezone.now() - timedelta(seconds=lanes.UNREAD_SECONDS)
    return [Turn(*row) for row in execute_prepared(_TURNS, {"talk": conversation_id, "since": since})]


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


def _is_open(state: str, reason: str, answered: bool) -> bool:
    if state in (State.PENDING, State.SENDING):
        return True
    return state == State.SKIPPED and reason == Reason.HUMAN and not answered


def with_continue_hint(channel: Passive, text: str, name: str = "read_on") -> str:
    """The text with a line that says how to read on, where both fit. name: of the sentence."""
    longer = text + "\n\n" + channel.identity.sentences.get(name)
    return longer if len(longer.encode()) <= channel.passive_bytes else text
