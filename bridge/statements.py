"""The three statements that every delivery passes: claimed, begun, delivered; each for many at once."""

from __future__ import annotations

from bridge.models import Delivery, Message
from bridge.rows import Table

# What a claim brings along: what carrying a delivery asks for; the rest is read where somebody asks.
ROW = Table(
    Delivery,
    "d",
    (
        "id",
        "target",
        "message_id",
        "account_id",
        "gateway_id",
        "endpoint_id",
        "route_id",
        "wire",
        "lane",
        "part",
        "payload",
    )
    + ("fingerprint", "state", "tries", "run", "due_at", "holder", "repeat_until", "queued_at"),
)
MESSAGE = Table(Message, "m", ("id", "uuid", "account_id", "conversation_id", "peer_kind", "peer_id", "reply_to_id"))
# Each wire's due rows are walked in the order of the index delivery_due until there are enough: a backlog costs no more than a few rows.
# What stands before a row in its lane is asked for in three questions, each with an index of its own; as one, PostgreSQL walked the lanes
# of all others.
CLAIM = f"""
WITH heads AS MATERIALIZED (
  SELECT head.* FROM unnest(%(wires)s::text[]) AS given(wire) CROSS JOIN LATERAL (
    SELECT d.id, d.message_id, d.due_at, a.state AS account_state FROM bridge_delivery d
    LEFT JOIN accounts_channelaccount a ON a.id = d.account_id
    LEFT JOIN openclaw_gateway g ON g.id = d.gateway_id
    LEFT JOIN bridge_webhookendpoint e ON e.id = d.endpoint_id
    WHERE d.state = 'pending' AND d.due_at <= statement_timestamp() AND d.wire = given.wire
      AND (%(gateway)s::bigint IS NULL OR d.gateway_id = %(gateway)s::bigint)
      AND (d.target <> 'channel' OR (a.enabled AND a.state <> 'stopped'))
      AND (d.target <> 'agent' OR (g.enabled AND g.state <> 'stopped'))
      AND (e.id IS NULL OR e.enabled)
      AND NOT EXISTS (SELECT 1 FROM bridge_delivery b WHERE b.lane = d.lane AND b.state = 'sending')
      AND NOT EXISTS (SELECT 1 FROM bridge_delivery b WHERE b.lane = d.lane AND b.state = 'pending' AND b.seq < d.seq)
      AND (d.part = 0 OR NOT EXISTS (
        SELECT 1 FROM bridge_delivery b
        WHERE b.message_id = d.message_id AND b.target = d.target AND b.part < d.part AND b.state = 'held'))
    ORDER BY d.due_at LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED
  ) AS head ORDER BY head.due_at LIMIT %(limit)s
)
UPDATE bridge_delivery d
SET state = 'sending', holder = %(holder)s, lease_until = statement_timestamp() + make_interval(secs => %(lease)s), wire = %(wire)s
FROM heads LEFT JOIN bridge_message m ON m.id = heads.message_id
WHERE d.id = heads.id RETURNING {ROW.columns}, {MESSAGE.columns}, heads.account_state
"""  # noqa: S608  the models' columns
CLAIM_ONE = CLAIM.replace("d.due_at <= statement_timestamp()", "d.id = %(only)s")
# Where the same may have been heard by the same people since then, a repetition is not asked to be swallowed: whatever became of the
# other's row, if only it was not refused.
BEGIN = """
WITH asked AS (
  SELECT x.id, x.holder, x.request, CASE WHEN NOT EXISTS (
    SELECT 1 FROM bridge_delivery d JOIN bridge_delivery s ON s.lane = d.lane AND s.fingerprint = d.fingerprint AND s.id <> d.id
    JOIN bridge_attempt t ON t.delivery_id = s.id AND t.started_at > x.unless_since AND t.outcome <> 'error'
    WHERE d.id = x.id AND s.fingerprint <> ''
  ) THEN x.repeat_until END AS repeat_until
  FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS x(id bigint, holder text, request jsonb, repeat_until timestamptz, unless_since timestamptz)
), held AS (
  UPDATE bridge_delivery d SET tries = d.tries + 1, repeat_until = COALESCE(x.repeat_until, d.repeat_until)
  FROM asked x WHERE d.id = x.id AND d.holder = x.holder AND d.state = 'sending'
  RETURNING d.id, x.request, x.repeat_until, d.possibly_twice
), opened AS (
  INSERT INTO bridge_attempt (delivery_id, number, started_at, outcome, code, error, request, response, possibly_twice)
  SELECT held.id, 1 + COALESCE((SELECT max(number) FROM bridge_attempt t WHERE t.delivery_id = held.id), 0), %(now)s, '', '', '',
    held.request, '{}', held.possibly_twice
  FROM held RETURNING delivery_id, id, number
)
SELECT opened.delivery_id, opened.id, opened.number, held.repeat_until FROM opened JOIN held ON held.id = opened.delivery_id
"""
SUCCEED = """
WITH done AS (
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS x(id bigint, holder text, attempt bigint, remote_id text, reason text, note text, response jsonb)
), closed AS (
  UPDATE bridge_attempt t SET finished_at = %(now)s, outcome = 'ok', code = '', error = '', response = x.response
  FROM done x WHERE t.id = x.attempt
)
UPDATE bridge_delivery d SET state = 'delivered', finished_at = %(now)s, lease_until = NULL, reason = x.reason, error = x.note,
  remote_id = x.remote_id
FROM done x WHERE d.id = x.id AND d.holder = x.holder AND d.state IN ('sending', 'uncertain')
RETURNING d.id, EXISTS (
  SELECT 1 FROM bridge_delivery p WHERE p.message_id = d.message_id AND p.target = d.target AND p.part > d.part AND p.state = 'held'
), EXISTS (SELECT 1 FROM bridge_delivery n WHERE n.lane = d.lane AND n.state = 'pending')
"""
