"""The statements that find problems among deliveries. None reads more of the table than a partial index has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.operations.unanswered_sql import ANSWERED, UNASKED
from bridge.runtime.db.prepared import Statement

if TYPE_CHECKING:
    from datetime import datetime


class FailureGroup(NamedTuple):
    """Failures with the same cause. newest: the id of the newest of them."""

    state: str
    target: str
    reason: str
    code: str
    account_id: int | None
    gateway_id: int | None
    endpoint_id: int | None
    total: int
    first: datetime | None
    last: datetime | None
    newest: int


# Group all failures that nobody dismissed, by the index delivery_failures alone. A failed question is its gateway's, whatever account it
# came from. An alert that fails must not raise an alert, so calls without a webhook are left out.
FAILURES_BY_CAUSE = Statement(
    FailureGroup,
    """
SELECT state, target, reason, code,
  CASE WHEN target = 'channel' OR (target = 'agent' AND gateway_id IS NULL) THEN account_id END AS account_id,
  CASE WHEN target = 'agent' THEN gateway_id END AS gateway_id,
  CASE WHEN target = 'webhook' THEN endpoint_id END AS endpoint_id,
  count(*) AS total, min(finished_at) AS first, max(finished_at) AS last, max(id) AS newest
FROM bridge_delivery
WHERE state IN ('dead', 'uncertain') AND dismissed_at IS NULL AND (target <> 'webhook' OR endpoint_id IS NOT NULL)
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY total DESC, newest LIMIT %(most)s""",
)


class WaitingChat(NamedTuple):
    """A chat with messages that nobody has answered. first, last: when they were received."""

    account_id: int
    conversation_id: int
    messages: int
    first: datetime
    last: datetime


# Find chats without a mapping, with what came lately, by the index delivery_unanswered: one scan of the reason's part of it, then a look
# at the conversation of each chat found. The lane of what goes to agents is "in:" and the id of its conversation.
UNMAPPED_CHATS = Statement(
    WaitingChat,
    """
WITH skipped AS (
  SELECT substr(lane, 4)::bigint AS conversation_id, count(*) AS messages, min(created_at) AS first, max(created_at) AS last
  FROM bridge_delivery
  WHERE state = 'skipped' AND reason = 'no_route' AND dismissed_at IS NULL AND created_at > %(since)s AND lane LIKE 'in:%%'
  GROUP BY lane
)
SELECT chat.account_id, chat.id AS conversation_id, skipped.messages, skipped.first, skipped.last
FROM skipped
JOIN bridge_conversation chat ON chat.id = skipped.conversation_id
JOIN accounts_channelaccount account ON account.id = chat.account_id AND account.enabled
WHERE (%(account)s::bigint IS NULL OR chat.account_id = %(account)s) AND chat.moved_to_id IS NULL AND NOT EXISTS (
  SELECT 1 FROM bridge_route route
  WHERE route.account_id = chat.account_id AND route.peer_kind IN ('', chat.peer_kind) AND route.peer_id IN ('', chat.peer_id))
ORDER BY skipped.first""",
)
# Find chats that staff answer or that are paused and in which questions wait, by the indexes conversation_without_agent,
# message_transcript, delivery_own and delivery_unanswered. A question waits that no agent was asked since the last answer of staff or
# agent, in the platform's client too; or that the conversation itself counts, as the one that its agent handed over to staff.
CHATS_FOR_STAFF = Statement(
    WaitingChat,
    f"""
SELECT chat.account_id, chat.id AS conversation_id, GREATEST(waiting.messages, chat.waiting_count) AS messages,
  LEAST(waiting.first, chat.waiting_since) AS first, GREATEST(waiting.last, chat.waiting_since) AS last
FROM bridge_conversation chat
JOIN accounts_channelaccount account ON account.id = chat.account_id AND account.enabled{ANSWERED}
CROSS JOIN LATERAL (SELECT count(*) AS messages, min(created_at) AS first, max(created_at) AS last {UNASKED}) AS waiting
WHERE chat.mode <> 'bot' AND chat.servicer = '' AND chat.moved_to_id IS NULL
  AND (waiting.messages > 0 OR chat.waiting_since IS NOT NULL)
  AND (%(account)s::bigint IS NULL OR chat.account_id = %(account)s)
ORDER BY first""",  # noqa: S608  constants
)
