"""The statement that says of each delivery of a plan what would become of it; the same questions as `operations.replay` asks of one.

Everything is set-based: 100 000 deliveries are a second's work. The questions, in order; the first answer that fits holds:

cannot      `replay.find_obstacle`; what was dismissed since the plan was made; questions that the mapping, the present or the chosen
            one, or the conversation's mode refuses; with a changed text, `changes.find_obstacle`
no_route    no enabled mapping fits the person or group, or the chosen one is gone or disabled
unknown     `replay.find_possible_repeats`, and what another account says in a later message of the plan
answered    the agent or staff said something later that arrived, and of which nothing is in the plan
too_old     `retry_policy.is_expired`, as if it had not been queued again
window      no reply window of the person is open
quota       more than what is left of the account's limits or of the person's window
go          everything else

What only Python can say is found when an item is queued: whether an account lets a person talk to agents at all (`Channel.admits`), whether
anything is left of a question behind its prefix, and whether a changed text fits into as many messages as the stored one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime


class PlanGroup(NamedTuple):
    """Deliveries with the same outlook. detail: why it cannot be replayed; example: the number of the oldest delivery."""

    planned: str
    detail: str
    total: int
    oldest: datetime
    newest: datetime
    example: int


# `given` has one row: the run, and what the settings say; `facts` a row for each account, as `plan.AccountFacts`.
# What the planner assumes of functions of JSON and text would make it compile the statement, which takes longer than to execute it.
SETTINGS = "SET LOCAL jit = off; SET LOCAL work_mem = '64MB'"
# Columns of a delivery that the candidates need; and `call_erased`: whether it is the call of a webhook of which nothing is left.
CANDIDATE = (
    "id", "target", "state", "reason", "account_id", "endpoint_id", "lane", "created_at", "message_id", "part", "dismissed_at",
)  # fmt: skip
_GIVEN = """
WITH given AS MATERIALIZED (
  SELECT %s::bigint AS run, %s::timestamptz AS now, %s::float AS question_age, %s::float AS answer_age, %s::float AS webhook_age,
    %s::bigint AS route, %s::text[] AS chosen, %s::timestamptz AS planned_at, %s::boolean AS changes_text
), facts AS MATERIALIZED (
  SELECT * FROM jsonb_to_recordset(%s::jsonb)
    AS f(id bigint, blocked text, windows boolean, stream_seconds float, codes boolean, quota bigint)
), looked AS MATERIALIZED (
  SELECT candidate.*, m.conversation_id, m.peer_kind, m.peer_id, m.sender, m.addressed, m.reply_to_id, m.kind AS message_kind,
    COALESCE(m.instead_of_id, m.id) AS origin, CASE candidate.target WHEN 'agent' THEN m.text END AS text
  FROM ("""
# A scalar subquery with LIMIT keeps to its index; as a join, PostgreSQL may read all deliveries for each conversation.
# talks: the conversations, and of each the newest message of the agent or of staff that arrived behind the oldest of the plan, by the
# index message_transcript. Messages of the plan and their questions are passed over by their numbers, for which that index is enough: after
# a night's failure they are all of the newest, and looking up each costs a third of the plan.
# unproven: what may have arrived already, by the index attempt_unproven. taken: the messages that another account sends in the place of
# one, or has sent, as the least and the greatest number, so that one other than the message itself is seen without a list.
# copies: the newest message of the plan of those that say the same for several accounts. carriers: deliveries that others were merged into,
# by the index delivery_reason. route: the mapping that was chosen, or else the account's that fits best.
_LOOK = """
  ) AS candidate LEFT JOIN bridge_message m ON m.id = candidate.message_id
), talks AS MATERIALIZED (
  SELECT asked.conversation_id, (SELECT c.mode FROM bridge_conversation c WHERE c.id = asked.conversation_id) AS mode, (
    SELECT later.id FROM (
      SELECT id FROM bridge_message WHERE conversation_id = asked.conversation_id AND id > asked.oldest ORDER BY id DESC OFFSET 0) AS later
    WHERE later.id NOT IN (
      SELECT message_id FROM looked WHERE message_id IS NOT NULL UNION ALL SELECT reply_to_id FROM looked WHERE reply_to_id IS NOT NULL)
      AND (SELECT 1 FROM bridge_message o JOIN bridge_delivery x ON x.message_id = o.id
      WHERE o.id = later.id AND o.direction = 'out' AND o.source IN ('agent', 'staff') AND x.target = 'channel' AND x.state = 'delivered'
      LIMIT 1) IS NOT NULL
    LIMIT 1) AS newest
  FROM (SELECT conversation_id, min(message_id) AS oldest FROM looked WHERE target = 'agent' OR reply_to_id IS NOT NULL GROUP BY 1) AS asked
), unproven AS MATERIALIZED (
  SELECT DISTINCT delivery_id AS id FROM bridge_attempt WHERE outcome IN ('unknown', 'interrupted')
), taken AS MATERIALIZED (
  SELECT s.origin, min(s.id) AS first, max(s.id) AS last FROM (
    SELECT id, instead_of_id AS origin FROM bridge_message WHERE instead_of_id IS NOT NULL
    UNION SELECT instead_of_id, instead_of_id FROM bridge_message WHERE instead_of_id IS NOT NULL) AS s
  WHERE EXISTS (
    SELECT 1 FROM bridge_delivery x WHERE x.message_id = s.id AND x.target = 'channel' AND x.state NOT IN ('dead', 'skipped'))
  GROUP BY s.origin
), copies AS MATERIALIZED (
  SELECT origin, max(message_id) AS newest FROM looked
  WHERE target = 'channel' AND origin IN (SELECT origin FROM looked WHERE target = 'channel' AND origin <> message_id) GROUP BY origin
), carriers AS MATERIALIZED (
  SELECT (code_params->>'head')::bigint AS id FROM bridge_delivery
  WHERE (SELECT changes_text FROM given) AND reason = 'merged' AND state = 'skipped' AND code_params->>'head' IS NOT NULL
), asked AS (
  SELECT l.*, f.blocked, f.windows, f.stream_seconds, f.codes, f.quota, w.id AS window_id, w.until AS window_until, w."left" AS window_left,
    l.target = 'channel' AND (l.state = 'uncertain' OR unproven.id IS NOT NULL OR taken.first <> l.message_id OR taken.last <> l.message_id
      OR copies.newest <> l.message_id) AS may_have_arrived,
    talks.newest > l.message_id AS answered, CASE l.target WHEN 'agent' THEN talks.mode END AS mode,
    q.reply_until, q.created_at AS question_at, q.reply_address <> '' AS has_address,
    r.id AS route_id, r.enabled AS route_enabled, r.account_id AS route_account, r.trigger, r.trigger_words, r.allowed_senders
  FROM looked l
  LEFT JOIN facts f ON f.id = l.account_id
  LEFT JOIN accounts_replywindow w ON w.account_id = l.account_id AND w.peer_id = l.peer_id AND f.windows
  LEFT JOIN unproven ON unproven.id = l.id
  LEFT JOIN taken ON taken.origin = l.origin
  LEFT JOIN copies ON copies.origin = l.origin
  LEFT JOIN talks ON talks.conversation_id = l.conversation_id
  LEFT JOIN LATERAL (
    SELECT q.* FROM bridge_message q
    WHERE l.target = 'channel' AND (f.stream_seconds IS NOT NULL OR f.codes) AND q.id = l.reply_to_id LIMIT 1) AS q ON true
  LEFT JOIN LATERAL (
    SELECT * FROM bridge_route r
    WHERE l.target = 'agent' AND (r.id = (SELECT route FROM given) OR ((SELECT route FROM given) IS NULL AND r.account_id = l.account_id
      AND r.peer_kind IN ('', l.peer_kind) AND r.peer_id IN ('', l.peer_id)))
    ORDER BY r.peer_id <> '' DESC, r.peer_kind <> '' DESC LIMIT 1) AS r ON true
), judged AS (
  SELECT id, asked.target, account_id, asked.created_at, reply_to_id, route_id, quota, window_id, window_until, window_left,
    may_have_arrived, answered, CASE
    WHEN state = 'held' THEN CASE reason WHEN 'part_before' THEN 'held_part' WHEN 'window' THEN 'held_window' ELSE 'held_review' END
    WHEN state NOT IN ('dead', 'uncertain', 'skipped') THEN 'state'
    WHEN dismissed_at > given.planned_at THEN 'dismissed'
    WHEN peer_id LIKE 'erased-%%' OR call_erased THEN 'erased'
    WHEN account_id IS NOT NULL AND COALESCE(blocked, 'unregistered') <> '' THEN COALESCE(blocked, 'unregistered')
    WHEN target = 'agent' AND reason IN ('event', 'unsupported', 'command') THEN 'no_turn'
    WHEN target = 'agent' AND reason IN ('own', 'past', 'read_on', 'no_sender') THEN reason
    WHEN target = 'webhook' AND endpoint_id IS NULL AND lane <> 'hook:alerts' THEN 'no_endpoint'
    WHEN target <> 'agent' AND reason IN ('merged', 'content') THEN reason
    WHEN target = 'channel' AND stream_seconds IS NOT NULL AND (question_at IS NULL
      OR (question_at + make_interval(secs => stream_seconds) <= given.now
        AND (NOT has_address OR reply_until IS NULL OR reply_until <= given.now))) THEN 'no_reply'
    WHEN target = 'channel' AND codes AND reply_until <= given.now THEN 'no_reply'
    WHEN given.changes_text AND (message_kind IS DISTINCT FROM 'text'
      OR EXISTS (SELECT 1 FROM bridge_attachment f WHERE f.message_id = asked.message_id)) THEN 'not_text'
    WHEN given.changes_text AND EXISTS (
      SELECT 1 FROM bridge_delivery x WHERE x.message_id = asked.message_id AND x.target = 'channel' AND x.id <> asked.id
        AND x.state IN ('delivered', 'sending', 'pending', 'uncertain')) THEN 'sent_in_part'
    WHEN given.changes_text AND part > 0 THEN 'later_part'
    WHEN given.changes_text AND asked.id IN (SELECT carriers.id FROM carriers) THEN 'carries_others'
    WHEN target <> 'agent' THEN NULL
    WHEN route_id IS NULL THEN NULL
    WHEN route_account <> account_id THEN 'other_account'
    WHEN NOT route_enabled THEN NULL
    WHEN mode IN ('paused', 'human') THEN mode
    WHEN given.route IS NOT NULL THEN NULL
    WHEN allowed_senders <> '' AND lower(sender) NOT IN (SELECT lower(trim(one)) FROM regexp_split_to_table(allowed_senders, E'\\n') AS one)
      THEN 'sender'
    WHEN trigger = 'mention' AND NOT addressed THEN 'not_addressed'
    WHEN trigger IN ('prefix', 'keyword') AND NOT EXISTS (
      SELECT 1 FROM regexp_split_to_table(trigger_words, E'\\n') AS word
      WHERE trim(word) <> '' AND CASE trigger WHEN 'prefix' THEN starts_with(lower(text), lower(trim(word)))
        ELSE position(lower(trim(word)) IN lower(text)) > 0 END) THEN 'no_trigger'
  END AS obstacle,
  target = 'agent' AND (route_id IS NULL OR NOT route_enabled) AS unmapped,
  given.now - asked.created_at > make_interval(secs => CASE WHEN target = 'agent' THEN given.question_age
    WHEN endpoint_id IS NOT NULL THEN given.webhook_age ELSE given.answer_age END) AS expired,
  COALESCE(windows, false) AND target <> 'webhook' AND peer_kind = 'direct'
    AND NOT (target = 'channel' AND message_kind = 'subscribe') AS needs_window
  FROM asked CROSS JOIN given
  OFFSET 0
), ranked AS MATERIALIZED (
  SELECT id, target, account_id, created_at, obstacle, route_id, quota, needs_window, window_id, window_left, CASE
    WHEN obstacle IS NOT NULL THEN 'cannot'
    WHEN unmapped THEN 'no_route'
    WHEN may_have_arrived THEN 'unknown'
    WHEN COALESCE(answered, false) AND (target = 'agent' OR (target = 'channel' AND reply_to_id IS NOT NULL)) THEN 'answered'
    WHEN expired THEN 'too_old'
    WHEN needs_window AND (COALESCE(window_left, 0) = 0 OR window_until <= given.now) THEN 'window'
  END AS found FROM judged CROSS JOIN given
), crowded AS MATERIALIZED (
  SELECT account_id FROM ranked WHERE found IS NULL AND target = 'channel' GROUP BY 1 HAVING count(*) > min(quota)
), placed AS MATERIALIZED (
  SELECT id, row_number() OVER (PARTITION BY account_id ORDER BY id) > quota
    OR (needs_window AND row_number() OVER (PARTITION BY account_id, window_id ORDER BY id) > window_left) AS over_quota
  FROM ranked WHERE found IS NULL AND target = 'channel' AND (needs_window OR account_id IN (SELECT account_id FROM crowded))
), classified AS MATERIALIZED (
  SELECT r.id, r.created_at, COALESCE(r.found, CASE WHEN p.over_quota THEN 'quota' ELSE 'go' END) AS planned,
    COALESCE(r.obstacle, CASE WHEN r.found = 'no_route' THEN CASE WHEN r.route_id IS NULL THEN 'no_route' ELSE 'route_disabled' END END, '')
      AS detail
  FROM ranked r LEFT JOIN placed p ON p.id = r.id
)"""
_COUNT = """
SELECT planned, detail, count(*) AS total, min(created_at) AS oldest, max(created_at) AS newest, min(id) AS example
FROM classified GROUP BY planned, detail ORDER BY count(*) DESC, 1, 2"""
_INSERT = """, stored AS (
  INSERT INTO bridge_replayitem (run_id, delivery_id, planned, chosen, detail)
  SELECT given.run, c.id, c.planned, c.planned = ANY(given.chosen), c.detail FROM classified c CROSS JOIN given ORDER BY c.id
)"""
_UPDATE = """, stored AS (
  UPDATE bridge_replayitem i SET planned = c.planned, chosen = c.planned = ANY(given.chosen), detail = c.detail
  FROM classified c CROSS JOIN given WHERE i.run_id = given.run AND i.delivery_id = c.id
)"""


def build_plan(candidates: str) -> str:
    """Return the statement that stores an item for each candidate, and returns the groups. candidates: SQL of their numbers."""
    return _GIVEN + candidates + _LOOK + _INSERT + _COUNT


def build_second_look(candidates: str) -> str:
    """Return the statement that judges the stored items of a run anew."""
    return _GIVEN + candidates + _LOOK + _UPDATE + _COUNT
