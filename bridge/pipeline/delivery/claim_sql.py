"""The statements that claim deliveries, many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.models import Delivery, Message
from bridge.pipeline.delivery import settle_sql
from bridge.runtime.db.prepared import Statement
from bridge.runtime.db.tables import Table

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class ClaimedDelivery(NamedTuple):
    """The columns of a claimed delivery and, from `uuid` on, of its message; a webhook's has no message. payload: JSON as text.

    account_state: of the delivery's account; None where it has none.
    """

    id: int
    target: str
    message_id: int | None
    account_id: int | None
    gateway_id: int | None
    endpoint_id: int | None
    route_id: int | None
    carrier: str
    lane: str
    part: int
    payload: str
    fingerprint: str
    state: str
    tries: int
    run_number: int
    replays: int
    due_at: datetime
    holder: str
    dedup_until: datetime | None
    queued_at: datetime
    uuid: UUID | None
    message_account_id: int | None
    conversation_id: int | None
    peer_kind: str | None
    peer_id: str | None
    reply_to_id: int | None
    account_state: str | None


# What is read of a row; Django reads the rest when somebody asks.
DELIVERY = Table(
    Delivery,
    "d",
    (
        "id", "target", "message_id", "account_id", "gateway_id", "endpoint_id", "route_id", "carrier", "lane", "part", "payload",
        "fingerprint", "state", "tries", "run_number", "replays", "due_at", "holder", "dedup_until", "queued_at",
    ),
)  # fmt: skip
MESSAGE = Table(Message, "m", ("id", "uuid", "account_id", "conversation_id", "peer_kind", "peer_id", "reply_to_id"))
# Of several questions that wait in one conversation, each counts as asked so much later than the one before it, at most so far ahead:
# whoever asks less often has their turn first (CLAIM).
TURN_SECONDS = 10
AHEAD_SECONDS = 3600
# --- claim
#
# A claim is fair in two steps. Accounts: whoever has the fewest deliveries under way at this holder comes first, so that nobody's backlog
# stands before the first question of somebody else. Conversations within an account: in the order of `rank`, which for a turn is
# its `turn_at`: the second question of somebody counts as asked `TURN_SECONDS` after their first one. So each conversation has its
# turn, however many messages one of them holds, and nobody waits for ever, because time only grows.
#
# The index delivery_fair has the pending rows by carrier, gateway, account and rank. The queues (accounts with something pending) are
# found by jumping from one to the next, and each is walked from its start, so that the size of a backlog does not matter.
LAST_ID = 2**63 - 1
# So many heads are looked at, over all queues, before a claim decides whose are taken.
AHEAD = 200
_GATEWAY, _ACCOUNT = "COALESCE(d.gateway_id, 0)", "COALESCE(d.account_id, 0)"
_RANK = "GREATEST(d.due_at, d.turn_at)"
# Nothing of its lane is under way or stands before it, and no earlier part of its message is held. Each is a scalar subquery with an index
# of its own: as anti-joins, PostgreSQL may read the lanes of everybody.
_NEXT_IN_LANE = """
  (SELECT 1 FROM bridge_delivery b WHERE b.lane = d.lane AND b.state = 'sending' LIMIT 1) IS NULL
  AND (SELECT 1 FROM bridge_delivery b WHERE b.lane = d.lane AND b.state = 'pending' AND b.seq < d.seq LIMIT 1) IS NULL
  AND (d.part = 0 OR (
    SELECT 1 FROM bridge_delivery b
    WHERE b.message_id = d.message_id AND b.target = d.target AND b.part < d.part AND b.state = 'held' LIMIT 1) IS NULL)"""
# horizon: how far a rank may lie in the future; what waits for its time is not walked past.
_CLAIMABLE = f"""
  d.state = 'pending' AND d.carrier = queue.carrier AND {_GATEWAY} = queue.gateway AND {_ACCOUNT} = queue.account
  AND {_RANK} <= statement_timestamp() + make_interval(secs => %(horizon)s) AND d.due_at <= statement_timestamp()
  AND {_NEXT_IN_LANE}
  AND (d.endpoint_id IS NULL OR (SELECT e.enabled FROM bridge_webhookendpoint e WHERE e.id = d.endpoint_id))"""  # noqa: S608  constants
_USABLE = """
  (queue.carrier NOT IN ('worker', 'http_reply', 'socket') OR queue.account = 0
    OR (a.enabled AND a.state <> 'stopped' AND a.sending_stopped_at IS NULL))
  AND (queue.carrier <> 'socket' OR EXISTS (
    SELECT 1 FROM accounts_connection c WHERE c.account_id = queue.account AND c.state = 'connected'
      AND c.owner = %(holder)s AND c.owner_until > statement_timestamp()))
  AND (queue.carrier <> 'connector' OR (g.enabled AND g.state <> 'stopped'))"""
_TAKE = f"""{settle_sql.TAKE}
FROM heads LEFT JOIN bridge_message m ON m.id = heads.message_id
WHERE d.id = heads.id
RETURNING d.id, d.target, d.message_id, d.account_id, d.gateway_id, d.endpoint_id, d.route_id, d.carrier, d.lane, d.part, d.payload,
  d.fingerprint, d.state, d.tries, d.run_number, d.replays, d.due_at, d.holder, d.dedup_until, d.queued_at,
  m.uuid, m.account_id AS message_account_id, m.conversation_id, m.peer_kind, m.peer_id, m.reply_to_id, heads.account_state"""  # noqa: S608  constants
# most: how many the holder has room for altogether; of a gateway its turns at a time. reserve: room that only accounts with little under
# way may use. Both count only where several accounts share the room. share: `accounts.shares` has the same rule in Python.
CLAIM = Statement(
    ClaimedDelivery,
    f"""
WITH RECURSIVE queue(carrier, gateway, account) AS (
  SELECT first.* FROM unnest(%(carriers)s::text[]) AS given(carrier) CROSS JOIN LATERAL (
    SELECT d.carrier::text, {_GATEWAY}, {_ACCOUNT} FROM bridge_delivery d
    WHERE d.state = 'pending' AND d.carrier = given.carrier AND {_GATEWAY} BETWEEN %(first)s::bigint AND %(last)s::bigint
    ORDER BY {_GATEWAY}, {_ACCOUNT} LIMIT 1) AS first
  UNION ALL
  SELECT next.* FROM queue CROSS JOIN LATERAL (
    SELECT d.carrier::text, {_GATEWAY}, {_ACCOUNT} FROM bridge_delivery d
    WHERE d.state = 'pending' AND d.carrier = queue.carrier AND {_GATEWAY} <= %(last)s::bigint
      AND ({_GATEWAY}, {_ACCOUNT}) > (queue.gateway, queue.account)
    ORDER BY {_GATEWAY}, {_ACCOUNT} LIMIT 1) AS next
), busy AS MATERIALIZED (
  SELECT {_GATEWAY} AS gateway, {_ACCOUNT} AS account, count(*) AS count FROM bridge_delivery d
  WHERE d.state = 'sending' AND d.holder = %(holder)s GROUP BY 1, 2
), usable AS MATERIALIZED (
  SELECT queue.*, a.state AS account_state, COALESCE(a.gateway_share, 100) AS share, COALESCE(busy.count, 0) AS busy,
    COALESCE((SELECT sum(count) FROM busy WHERE busy.gateway = queue.gateway), 0) AS total,
    CASE WHEN queue.carrier = 'connector' THEN g.max_in_flight ELSE %(most)s::bigint END AS most,
    CASE WHEN queue.carrier = 'connector' THEN EXISTS (
      SELECT 1 FROM bridge_route r WHERE r.gateway_id = queue.gateway AND r.account_id <> queue.account AND r.enabled)
    ELSE EXISTS (SELECT 1 FROM accounts_channelaccount o WHERE o.id <> queue.account AND o.enabled) END AS shared
  FROM queue LEFT JOIN accounts_channelaccount a ON a.id = queue.account LEFT JOIN openclaw_gateway g ON g.id = queue.gateway
  LEFT JOIN busy USING (gateway, account)
  WHERE {_USABLE}
), reserved AS (
  SELECT usable.*, most IS NOT NULL AND shared AND most > 1 AS limited, GREATEST(1, most / 8) AS reserve,
    CASE WHEN carrier = 'connector' THEN most * share / 100 ELSE most END AS own FROM usable
), roomy AS MATERIALIZED (
  SELECT reserved.*, CASE WHEN limited
    THEN LEAST(GREATEST(1, LEAST(own, most - reserve)) - busy, GREATEST(reserve - busy, most - reserve - total), %(limit)s)
    ELSE LEAST(%(limit)s, COALESCE(most - total, %(limit)s)) END AS room
  FROM reserved
), ranked AS (
  SELECT carrier, gateway, account, limited, total, most, reserve, busy, head.rank,
    busy + row_number() OVER (PARTITION BY gateway, account ORDER BY head.rank) AS place
  FROM roomy AS queue CROSS JOIN LATERAL (
    SELECT {_RANK} AS rank FROM bridge_delivery d WHERE {_CLAIMABLE}
    ORDER BY {_RANK} LIMIT GREATEST(0, LEAST(queue.room, %(ahead)s::bigint / (SELECT count(*) FROM roomy) + 1))) AS head
  WHERE (SELECT count(*) FROM roomy WHERE room > 0) > 1
), counted AS (
  SELECT ranked.*, row_number() OVER (PARTITION BY gateway ORDER BY place, rank) AS number FROM ranked
), quota AS MATERIALIZED (
  SELECT carrier, gateway, account, count(*) AS room FROM (
    SELECT * FROM counted WHERE NOT limited OR place <= reserve OR total + number <= most - reserve
    ORDER BY place, rank LIMIT %(limit)s) AS chosen
  GROUP BY carrier, gateway, account
  UNION ALL
  SELECT carrier, gateway, account, room FROM roomy WHERE room > 0 AND (SELECT count(*) FROM roomy WHERE room > 0) = 1
), heads AS MATERIALIZED (
  SELECT head.*, a.state AS account_state FROM quota AS queue CROSS JOIN LATERAL (
    SELECT d.id, d.message_id FROM bridge_delivery d WHERE {_CLAIMABLE}
    ORDER BY {_RANK} LIMIT queue.room FOR UPDATE OF d SKIP LOCKED) AS head
  LEFT JOIN accounts_channelaccount a ON a.id = queue.account
)
{_TAKE}""",  # noqa: S608  constants
)
# Claim one delivery, due or not, whoever else waits: a request is there that can carry this and nothing else. Returns it, found by its id;
# no row where its lane is not free.
CLAIM_ONE = Statement(
    ClaimedDelivery,
    f"""
WITH heads AS MATERIALIZED (
  SELECT d.id, d.message_id, a.state AS account_state FROM bridge_delivery d
  CROSS JOIN LATERAL (SELECT d.carrier, COALESCE(d.gateway_id, 0) AS gateway, COALESCE(d.account_id, 0) AS account) AS queue
  LEFT JOIN accounts_channelaccount a ON a.id = d.account_id LEFT JOIN openclaw_gateway g ON g.id = d.gateway_id
  WHERE d.id = %(only)s AND d.state = 'pending' AND d.carrier = ANY(%(carriers)s::text[]) AND {_USABLE} AND {_NEXT_IN_LANE}
  FOR UPDATE OF d SKIP LOCKED
)
{_TAKE}""",  # noqa: S608  constants
)
