"""The statements that find, of many conversations at once, which questions nobody has answered."""

from __future__ import annotations

from typing import NamedTuple

from bridge.runtime.db.prepared import Statement

# Joins to `chat` as `answered.id` the message up to which all is answered, as `unanswered.find_unanswered` does for one: an agent answers
# its question and what came before it, staff and who writes in the platform's own client answer what they see. By the indexes
# message_transcript and delivery_own; messages of staff are looked for behind the agent's question alone. LIMIT keeps PostgreSQL from
# looking for `said` at each place where it is named.
ANSWERED = """
LEFT JOIN LATERAL (
  SELECT CASE WHEN answer.source = 'agent' THEN COALESCE(answer.reply_to_id, answer.id) ELSE answer.id END AS id
  FROM bridge_message answer
  WHERE answer.conversation_id = chat.id AND answer.direction = 'out' AND answer.source IN ('agent', 'staff')
  ORDER BY answer.id DESC LIMIT 1
) AS said ON true
CROSS JOIN LATERAL (
  SELECT GREATEST(0, said.id, (
    SELECT answer.id FROM bridge_message answer
    WHERE answer.conversation_id = chat.id AND answer.direction = 'out' AND answer.source = 'staff' AND answer.id > said.id
    ORDER BY answer.id DESC LIMIT 1), (
    SELECT message_id FROM bridge_delivery WHERE lane = 'in:' || chat.id AND reason = 'own' ORDER BY message_id DESC LIMIT 1)) AS id
) AS answered"""
# Behind ANSWERED: its questions that no agent was asked, by the index delivery_unanswered.
UNASKED = """
FROM bridge_delivery
WHERE lane = 'in:' || chat.id AND state = 'skipped' AND reason IN ('paused', 'human') AND dismissed_at IS NULL
  AND message_id > answered.id"""


class IdleChat(NamedTuple):
    id: int


# Find conversations in which staff have written nothing for as long as the account says, the longest idle first; only: look at this one
# alone, or NULL. Left out is what its agent handed over and staff have not answered: its person was told that a colleague answers. It goes
# back only where the agent has something to be asked. By the indexes conversation_without_agent and entry_transcript: conversations that
# staff answer are few.
IDLE_CHATS = Statement(
    IdleChat,
    f"""
SELECT chat.id
FROM bridge_conversation chat
JOIN accounts_channelaccount account ON account.id = chat.account_id{ANSWERED}
WHERE chat.mode = 'human' AND chat.servicer = '' AND chat.staff_active_at < now() - account.staff_minutes * interval '1 minute'
  AND (%(only)s::bigint IS NULL OR chat.id = %(only)s)
  AND (chat.waiting_since IS NULL OR EXISTS (SELECT 1 {UNASKED}) OR NOT EXISTS (
    SELECT 1 FROM bridge_conversationentry entry
    WHERE entry.conversation_id = chat.id AND entry.kind = 'handed_over' AND entry.created_at >= chat.waiting_since))
ORDER BY chat.staff_active_at, chat.id LIMIT %(most)s""",  # noqa: S608  constants
)
