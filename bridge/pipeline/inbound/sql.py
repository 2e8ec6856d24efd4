"""The statements that store messages of platforms, and that lock, load and write them in batches when they are routed.

The planner is led to one index each: a statement reads as much for a batch however many messages wait, and however many were ever routed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.models import Conversation, Message
from bridge.people.sql import LOCK
from bridge.runtime.db.prepared import Statement
from bridge.runtime.db.tables import Table

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

# How many messages one look at the unrouted takes.
BATCH_SIZE = 200


class StoredMessage(NamedTuple):
    """A message that was not stored before. uuid: as text."""

    uuid: str
    id: int


class LockedPeer(NamedTuple):
    """A peer whose lock this transaction holds. locked: empty, what the locking function returns."""

    account_id: int
    peer_kind: str
    peer_id: str
    locked: str


class UnroutedId(NamedTuple):
    account_id: int
    id: int


class UnroutedMessage(NamedTuple):
    """A message, its conversation from `conversation_id` on, and what its route depends on from `turns_until` on.

    turns_until, refused_at, sender_name: of the sender's contact. The last three are JSON as text, None where there is nothing:
    parsed_facts: what the platform's parser found for the router; routes: those that fit the peer; files: arrays of (id, kind, name).
    """

    id: int
    uuid: UUID
    account_id: int
    peer_kind: str
    peer_id: str
    kind: str
    text: str
    sender: str
    addressed: bool
    reply_to_id: int | None
    occurred_at: datetime | None
    created_at: datetime
    conversation_id: int
    title: str
    mode: str
    session_epoch: int
    told_title: str
    waiting_since: datetime | None
    turns_until: datetime | None
    refused_at: datetime | None
    sender_name: str
    parsed_facts: str | None
    routes: str | None
    files: str | None


class StoredDelivery(NamedTuple):
    id: int


# What is read of a row; Django reads the rest when somebody asks.
MESSAGE = Table(
    Message,
    "message",
    ("id", "uuid", "account_id", "peer_kind", "peer_id", "kind", "text", "sender", "addressed", "reply_to_id", "occurred_at", "created_at"),
)  # fmt: skip
CONVERSATION = Table(
    Conversation,
    "talk",
    ("id", "account_id", "peer_kind", "peer_id", "title", "mode", "session_epoch", "told_title", "waiting_since"),
)

# Store messages and their files. Returns those that were not there: a repetition meets the constraint message_idempotency, or the unique
# index on uuid, and is left out.
STORE_INBOUND = Statement(
    StoredMessage,
    """
WITH given AS (
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS given (
    uuid uuid, account_id bigint, peer_kind text, peer_id text, key text, kind text, text text, sender text, addressed boolean,
    raw jsonb, reply_address text, reply_until timestamptz, occurred_at timestamptz, now timestamptz, media jsonb)
), stored AS (
  INSERT INTO bridge_message (uuid, account_id, peer_kind, peer_id, direction, source, client, idempotency_key, request_hash,
    kind, text, data, sender, addressed, raw, reply_address, reply_until, occurred_at, created_at)
  SELECT uuid, account_id, peer_kind, peer_id, 'in', 'channel', '', key, '',
    kind, text, '{}', sender, addressed, raw, reply_address, reply_until, occurred_at, now
  FROM given
  ON CONFLICT DO NOTHING RETURNING id, uuid
), files AS (
  INSERT INTO bridge_attachment (uuid, message_id, position, kind, name, mime, size, file, source, fallback, key,
    handle, state, code, code_params, tries, due_at, owner, fence)
  SELECT (item.value->>'uuid')::uuid, stored.id, item.position - 1, item.value->>'kind', item.value->>'name', item.value->>'mime', 0, '',
    item.value->>'source', item.value->>'fallback', item.value->>'key', '', 'pending', '', '{}', 0, given.now, '', 0
  FROM stored JOIN given USING (uuid), jsonb_array_elements(given.media) WITH ORDINALITY AS item(value, position)
)
SELECT uuid::text AS uuid, id FROM stored""",
)
# Lock the peers of the oldest unrouted messages until the transaction ends, and return them, each once. They are sorted before the locks
# are asked for, so that two routers never wait for each other. The messages are looked for in the order of the index message_unrouted: by
# any other, PostgreSQL sometimes prefers to walk past all that was ever routed.
LOCK_PEERS = Statement(
    LockedPeer,
    f"""
WITH waiting AS (
  SELECT account_id, peer_kind, peer_id FROM bridge_message WHERE routed_at IS NULL AND direction = 'in'
  ORDER BY account_id, peer_kind, peer_id, id LIMIT {BATCH_SIZE}
), peer AS MATERIALIZED (
  SELECT DISTINCT account_id, peer_kind, peer_id FROM waiting ORDER BY account_id, peer_kind, peer_id
)
SELECT account_id, peer_kind, peer_id, {LOCK} AS locked FROM peer""",  # noqa: S608  constants
)
# The unrouted messages of the given peers. LATERAL: each peer's by the index message_unrouted, however many wait of others.
_UNROUTED = f"""
FROM jsonb_to_recordset(%(peers)s::jsonb) AS peer(account_id bigint, peer_kind text, peer_id text)
CROSS JOIN LATERAL (
  SELECT * FROM bridge_message AS its
  WHERE (its.account_id, its.peer_kind, its.peer_id) = (peer.account_id, peer.peer_kind, peer.peer_id)
    AND its.routed_at IS NULL AND its.direction = 'in'
  ORDER BY its.id LIMIT {BATCH_SIZE}
) AS message"""  # noqa: S608  constants
# Return the ids of a batch, the oldest message first.
UNROUTED_IDS = Statement(
    UnroutedId, f"SELECT message.account_id, message.id {_UNROUTED} ORDER BY message.id LIMIT {BATCH_SIZE}"
)
# Return a batch, the oldest message first, and note in each conversation that it was written to. only: this message alone, or NULL.
# `known` finds a conversation by its unique constraint on account and peer, `made` makes it on the first word; `met` makes the contact of
# whoever speaks for the first time, found by the unique constraint on account and external id. Both are sorted, because other routers do
# the same at this moment. Routes are found by the index on their account, files by that on their message.
LOAD_BATCH = Statement(
    UnroutedMessage,
    f"""
WITH taken AS MATERIALIZED (
  SELECT {MESSAGE.columns}, message.raw->'_bridge' AS parsed_facts
  {_UNROUTED} WHERE %(only)s::bigint IS NULL OR message.id = %(only)s
  ORDER BY message.id LIMIT {BATCH_SIZE}
), heard AS MATERIALIZED (
  SELECT DISTINCT account_id, peer_kind, peer_id FROM taken ORDER BY account_id, peer_kind, peer_id
), known AS (
  UPDATE bridge_conversation AS talk SET last_inbound_at = %(now)s FROM heard
  WHERE (talk.account_id, talk.peer_kind, talk.peer_id) = (heard.account_id, heard.peer_kind, heard.peer_id)
  RETURNING {CONVERSATION.columns}
), made AS (
  INSERT INTO bridge_conversation AS talk (account_id, peer_kind, peer_id, title, mode, session_epoch, last_inbound_at, created_at)
  SELECT heard.account_id, peer_kind, peer_id, coalesce(contact.name, ''), 'bot', 0, %(now)s, %(now)s
  FROM heard LEFT JOIN bridge_contact AS contact
    ON peer_kind = 'direct' AND contact.account_id = heard.account_id AND contact.external_id = peer_id
  WHERE NOT EXISTS (
    SELECT FROM bridge_conversation AS talk
    WHERE (talk.account_id, talk.peer_kind, talk.peer_id) = (heard.account_id, heard.peer_kind, heard.peer_id))
  ORDER BY heard.account_id, peer_kind, peer_id
  ON CONFLICT (account_id, peer_kind, peer_id) DO UPDATE SET last_inbound_at = excluded.last_inbound_at
  RETURNING {CONVERSATION.columns}
), talk AS (
  SELECT * FROM known UNION ALL SELECT * FROM made
), met AS (
  INSERT INTO bridge_contact (account_id, external_id, name, created_at)
  SELECT DISTINCT account_id, sender, '', %(now)s::timestamptz FROM taken
  WHERE sender <> '' AND NOT EXISTS (
    SELECT FROM bridge_contact AS contact WHERE (contact.account_id, contact.external_id) = (taken.account_id, taken.sender))
  ORDER BY account_id, sender
  ON CONFLICT DO NOTHING
)
SELECT taken.id, taken.uuid, taken.account_id, taken.peer_kind, taken.peer_id, taken.kind, taken.text, taken.sender, taken.addressed,
  taken.reply_to_id, taken.occurred_at, taken.created_at, talk.id AS conversation_id, talk.title, talk.mode, talk.session_epoch,
  talk.told_title, talk.waiting_since, contact.turns_until, contact.refused_at,
  coalesce(contact.name, '') AS sender_name, taken.parsed_facts,
  (SELECT jsonb_agg(route) FROM bridge_route AS route WHERE route.account_id = taken.account_id
    AND route.peer_kind IN ('', taken.peer_kind) AND route.peer_id IN ('', taken.peer_id)) AS routes,
  (SELECT jsonb_agg(jsonb_build_array(file.id, file.kind, file.name) ORDER BY file.position)
    FROM bridge_attachment AS file WHERE file.message_id = taken.id) AS files
FROM taken JOIN talk USING (account_id, peer_kind, peer_id)
LEFT JOIN bridge_contact AS contact ON contact.account_id = taken.account_id AND contact.external_id = taken.sender
ORDER BY taken.id""",  # noqa: S608  constants
)
# Store a delivery for each routed message, note that the message is routed, and store the senders' counted turns; returns the deliveries.
# `seq` is counted over the sorted rows, so that the lanes are in the order of arrival. `behind` is when the last turn of a lane counts as
# asked, by the index delivery_lane: the next one counts as asked %(turn)s seconds after it. `waiting` notes which conversations wait for
# staff, by their ids; of most batches none is given. `place` puts those that are routed together in
# the order of arrival, a microsecond apart. Contacts are locked in the order of their ids.
STORE_ROUTED = Statement(
    StoredDelivery,
    """
WITH given AS MATERIALIZED (
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS given(message bigint, conversation bigint, reply_to bigint, account bigint,
    gateway bigint, route bigint, lane text, state text, reason text, payload jsonb)
), routed AS (
  UPDATE bridge_message SET conversation_id = given.conversation, routed_at = %(now)s, reply_to_id = given.reply_to
  FROM given WHERE bridge_message.id = given.message
), person AS MATERIALIZED (
  SELECT contact.id, given.turns_until, given.refused_at
  FROM jsonb_to_recordset(%(people)s::jsonb)
    AS given(account bigint, sender text, turns_until timestamptz, refused_at timestamptz)
  JOIN bridge_contact AS contact ON contact.account_id = given.account AND contact.external_id = given.sender
  ORDER BY contact.id FOR NO KEY UPDATE OF contact
), counted AS (
  UPDATE bridge_contact SET turns_until = person.turns_until, refused_at = person.refused_at
  FROM person WHERE bridge_contact.id = person.id
), waiting AS (
  UPDATE bridge_conversation AS talk SET
    waiting_count = CASE WHEN given.ended THEN 0 ELSE talk.waiting_count END + given.count,
    waiting_since = CASE WHEN given.ended THEN given.since ELSE LEAST(talk.waiting_since, given.since) END,
    staff_active_at = CASE WHEN given.answered THEN %(now)s::timestamptz ELSE talk.staff_active_at END
  FROM jsonb_to_recordset(%(waits)s::jsonb)
    AS given(conversation bigint, ended boolean, since timestamptz, count integer, answered boolean)
  WHERE talk.id = given.conversation
), behind AS MATERIALIZED (
  SELECT waiting.lane, (
    SELECT COALESCE(last.turn_at, last.due_at) FROM bridge_delivery AS last
    WHERE last.lane = waiting.lane AND last.state IN ('pending', 'sending') ORDER BY last.seq DESC LIMIT 1) AS last
  FROM (SELECT DISTINCT lane FROM given WHERE state = 'pending') AS waiting
)
INSERT INTO bridge_delivery (target, carrier, message_id, account_id, gateway_id, route_id, lane, seq, part, payload, fingerprint,
  state, reason, code, code_params, tries, run_number, replays, due_at, turn_at, holder, remote_id, queued_at, created_at, finished_at)
SELECT 'agent', 'connector', message, account, gateway, route, lane, nextval('bridge_delivery_seq'), 0, payload, '',
  state, reason, '', '{}', 0, 0, 0, %(now)s, LEAST(
    %(now)s::timestamptz + make_interval(secs => %(ahead)s),
    GREATEST(%(now)s, (SELECT last FROM behind WHERE behind.lane = sorted.lane) + make_interval(secs => %(turn)s))
      + make_interval(secs => %(turn)s * (number - 1))) + make_interval(secs => place / 1e6),
  '', '', %(now)s, %(now)s, CASE WHEN state = 'skipped' THEN %(now)s::timestamptz END
FROM (SELECT *, row_number() OVER (PARTITION BY lane, state ORDER BY message) AS number,
  row_number() OVER (ORDER BY message) - 1 AS place FROM given ORDER BY message) AS sorted
RETURNING id""",
)
