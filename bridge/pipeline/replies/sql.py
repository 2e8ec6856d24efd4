"""The statements that find the answer to a waiting request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.models import Reason, State
from bridge.pipeline.delivery import lanes
from bridge.runtime.db.prepared import Statement

if TYPE_CHECKING:
    from datetime import datetime

# Only this many of a conversation's newest messages are searched.
RECENT = 100


class QuestionStatus(NamedTuple):
    """The status of an inbound message. state, reason: of its turn, empty before it is routed; answered: whether it has an answer.

    given: the part that its request was answered with, which may not have arrived; ready: the part that it may be answered with. Both are
    ids of deliveries.
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
        """Whether an answer may still come, from the agent or from staff."""
        return not self.state or _is_open(self.state, self.reason, self.answered)

    @property
    def reads_on(self) -> bool:
        return self.reason == Reason.READ_ON


class Turn(NamedTuple):
    """The turn of an inbound message. answered: whether it has an answer."""

    message: int
    state: str
    reason: str
    answered: bool

    @property
    def open(self) -> bool:
        return _is_open(self.state, self.reason, self.answered)


class UnreadPart(NamedTuple):
    """A part of an answer that waits for its reader. delivery: its id."""

    delivery: int
    message: int
    part: int


def _is_open(state: str, reason: str, answered: bool) -> bool:
    if state in (State.PENDING, State.SENDING):
        return True
    return state == State.SKIPPED and reason == Reason.HUMAN and not answered


# The newest messages of a conversation, by the index message_transcript.
_RECENT = f"""
WITH recent AS (SELECT id FROM bridge_message WHERE conversation_id = %(conversation)s ORDER BY id DESC LIMIT {RECENT})"""  # noqa: S608
# Return the unread parts of a conversation, the newest answer first and its parts in their order. Each recent message's deliveries are
# found by the constraint delivery_part.
UNREAD_PARTS = Statement(
    UnreadPart,
    f"""{_RECENT}
SELECT d.id AS delivery, d.message_id AS message, d.part FROM recent JOIN bridge_delivery d ON d.message_id = recent.id
WHERE d.target = 'channel' AND d.carrier = 'http_reply' AND d.state = 'pending' AND starts_with(d.lane, '{lanes.UNREAD}')
ORDER BY d.message_id DESC, d.part""",  # noqa: S608  constants
)
# Return the turns of a conversation since a time, the newest first; those that only asked to read on are left out. They are found by the
# constraint delivery_part, and whether something was said to a message by the index on reply_to.
TURNS = Statement(
    Turn,
    f"""{_RECENT}
SELECT d.message_id AS message, d.state, d.reason,
  EXISTS (SELECT FROM bridge_message r WHERE r.reply_to_id = d.message_id) AS answered
FROM recent JOIN bridge_delivery d ON d.message_id = recent.id
WHERE d.target = 'agent' AND d.reason <> '{Reason.READ_ON}' AND d.created_at > %(since)s
ORDER BY d.message_id DESC""",  # noqa: S608  constants
)
# Return the status of one inbound message, found by its uuid, and of its turn, found by the constraint delivery_part.
# answered: by the index on reply_to. given: a request is answered with a delivery whose platform id is the message's own, by the index
# delivery_remote_id. ready: the newest answer's first part that waits to be fetched, by the index on reply_to and delivery_part.
QUESTION_STATUS = Statement(
    QuestionStatus,
    """
SELECT m.id AS message, m.conversation_id AS conversation, m.created_at, COALESCE(turn.state, '') AS state,
  COALESCE(turn.reason, '') AS reason,
  EXISTS (SELECT FROM bridge_message r WHERE r.reply_to_id = m.id) AS answered,
  (SELECT d.id FROM bridge_delivery d WHERE d.remote_id = m.idempotency_key AND d.remote_id <> '' AND d.account_id = m.account_id
   AND d.carrier = 'http_reply' AND d.state IN ('sending', 'uncertain', 'delivered') AND d.target = 'channel'
   ORDER BY d.id DESC LIMIT 1) AS given,
  (SELECT d.id FROM bridge_message r JOIN bridge_delivery d ON d.message_id = r.id AND d.target = 'channel'
   WHERE r.reply_to_id = m.id AND d.carrier = 'http_reply' AND d.state = 'pending' AND d.part = 0 ORDER BY d.id DESC LIMIT 1) AS ready
FROM bridge_message m LEFT JOIN bridge_delivery turn ON turn.message_id = m.id AND turn.target = 'agent'
WHERE m.uuid = %(uuid)s""",
)
