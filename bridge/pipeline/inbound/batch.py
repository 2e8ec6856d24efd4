"""The outbox: messages that were received and wait for their route, taken and written in batches.

A batch costs the same few statements for one message as for two hundred, in one transaction: lock its peers, take it, write what was
decided of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.utils import timezone

from accounts.channels import cached_by_id
from bridge.models import Conversation, Message, Route
from bridge.people import peers
from bridge.pipeline.delivery import sql
from bridge.pipeline.inbound.rate import SenderRate
from bridge.runtime.db.prepared import execute_prepared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.models import Delivery
    from channels_wechat.contract.channel import Channel

# How many messages one look at the outbox takes.
BATCH_SIZE = 200
# The peers are sorted before the locks are asked for, so that two routers never wait for each other. The messages are looked for in the
# order of the index message_unrouted: by any other, PostgreSQL sometimes prefers to walk past all that was ever routed.
_LOCK = f"""
WITH waiting AS (
  SELECT account_id, peer_kind, peer_id FROM bridge_message WHERE routed_at IS NULL AND direction = 'in'
  ORDER BY account_id, peer_kind, peer_id, id LIMIT {BATCH_SIZE}
), peer AS MATERIALIZED (
  SELECT DISTINCT account_id, peer_kind, peer_id FROM waiting ORDER BY account_id, peer_kind, peer_id
)
SELECT account_id, peer_kind, peer_id, {peers.LOCK} FROM peer"""  # noqa: S608  constants
# LATERAL: each peer's by the index message_unrouted, however many wait of others.
_WAITING = f"""
FROM jsonb_to_recordset(%(peers)s::jsonb) AS peer(account_id bigint, peer_kind text, peer_id text)
CROSS JOIN LATERAL (
  SELECT * FROM bridge_message AS its
  WHERE (its.account_id, its.peer_kind, its.peer_id) = (peer.account_id, peer.peer_kind, peer.peer_id)
    AND its.routed_at IS NULL AND its.direction = 'in'
  ORDER BY its.id LIMIT {BATCH_SIZE}
) AS message"""  # noqa: S608  constants
_IDS = f"SELECT message.account_id, message.id {_WAITING} ORDER BY message.id LIMIT {BATCH_SIZE}"
# What is read of a message, in the order of the model's fields; Django reads the rest when somebody asks.
_COLUMNS = (
    "id", "uuid", "account_id", "peer_kind", "peer_id", "kind", "text", "sender", "addressed", "reply_to_id", "occurred_at", "created_at",
)  # fmt: skip
_TALK_COLUMNS = ("id", "account_id", "peer_kind", "peer_id", "title", "mode", "session_epoch")
# Conversations are made on the first word, people met when they first speak; both sorted, as other routers do the same at this moment.
_TAKE = f"""
WITH taken AS MATERIALIZED (
  SELECT {", ".join(f"message.{name}" for name in _COLUMNS)}, message.raw->'_bridge' AS told
  {_WAITING} WHERE %(only)s::bigint IS NULL OR message.id = %(only)s
  ORDER BY message.id LIMIT {BATCH_SIZE}
), heard AS MATERIALIZED (
  SELECT DISTINCT account_id, peer_kind, peer_id FROM taken ORDER BY account_id, peer_kind, peer_id
), known AS (
  UPDATE bridge_conversation AS talk SET last_inbound_at = %(now)s FROM heard
  WHERE (talk.account_id, talk.peer_kind, talk.peer_id) = (heard.account_id, heard.peer_kind, heard.peer_id)
  RETURNING {", ".join(f"talk.{name}" for name in _TALK_COLUMNS)}
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
  RETURNING {", ".join(f"talk.{name}" for name in _TALK_COLUMNS)}
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
SELECT {", ".join(f"taken.{name}" for name in _COLUMNS)}, {", ".join(f"talk.{name}" for name in _TALK_COLUMNS)},
  contact.turns_until, contact.refused_at, coalesce(contact.name, ''), taken.told,
  (SELECT jsonb_agg(route) FROM bridge_route AS route WHERE route.account_id = taken.account_id
    AND route.peer_kind IN ('', taken.peer_kind) AND route.peer_id IN ('', taken.peer_id)),
  (SELECT jsonb_agg(jsonb_build_array(file.id, file.kind, file.name) ORDER BY file.position)
    FROM bridge_attachment AS file WHERE file.message_id = taken.id)
FROM taken JOIN talk USING (account_id, peer_kind, peer_id)
LEFT JOIN bridge_contact AS contact ON contact.account_id = taken.account_id AND contact.external_id = taken.sender
ORDER BY taken.id"""  # noqa: S608  constants
# `seq` is counted over the sorted rows, so the lanes are in the order of arrival.
_STORE = """
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
), behind AS MATERIALIZED (
  SELECT waiting.lane, (
    SELECT COALESCE(last.turn_at, last.due_at) FROM bridge_delivery AS last
    WHERE last.lane = waiting.lane AND last.state IN ('pending', 'sending') ORDER BY last.seq DESC LIMIT 1) AS last
  FROM (SELECT DISTINCT lane FROM given WHERE state = 'pending') AS waiting
)
INSERT INTO bridge_delivery (target, carrier, message_id, account_id, gateway_id, route_id, lane, seq, part, payload, fingerprint,
  state, reason, error, tries, run_number, replays, due_at, turn_at, holder, remote_id, queued_at, created_at, finished_at)
SELECT 'agent', 'connector', message, account, gateway, route, lane, nextval('bridge_delivery_seq'), 0, payload, '',
  state, reason, '', 0, 0, 0, %(now)s, LEAST(
    %(now)s::timestamptz + make_interval(secs => %(ahead)s),
    GREATEST(%(now)s, (SELECT last FROM behind WHERE behind.lane = sorted.lane) + make_interval(secs => %(turn)s))
      + make_interval(secs => %(turn)s * (number - 1))),
  '', '', %(now)s, %(now)s, CASE WHEN state = 'skipped' THEN %(now)s::timestamptz END
FROM (SELECT *, row_number() OVER (PARTITION BY lane, state ORDER BY message) AS number FROM given ORDER BY message) AS sorted
RETURNING id"""

Peers = list[dict[str, Any]]


@dataclass(slots=True)
class RoutingContext:
    """A message and all that its route and its prompt depend on.

    conversation: one object for all messages of a batch, so that what a message does to it counts for the next. routes: those that fit
    the peer, at least. files: (id, kind, name). told: what the platform's parser made of the message for the router. person: one object
    for all messages of a sender in a batch.
    """

    message: Message
    conversation: Conversation
    routes: Iterable[Route]
    channel: Channel
    sender_name: str
    files: Sequence[tuple[int, str, str]]
    told: Mapping[str, Any]
    person: SenderRate = field(default_factory=SenderRate)


def lock_peers() -> Peers:
    """The peers of a batch, held until the transaction ends. Empty: nothing waits."""
    return [
        {"account_id": one, "peer_kind": kind, "peer_id": pk} for one, kind, pk, _locked in execute_prepared(_LOCK, {})
    ]


def unrouted_ids(locked: Peers) -> list[tuple[int, int]]:
    """Waiting messages of these peers, oldest first: (account, message)."""
    rows = execute_prepared(_IDS, {"peers": json.dumps(locked)})
    return [(account, pk) for account, pk in rows]


def load_batch(locked: Peers, only: int | None = None) -> list[RoutingContext]:
    """The waiting messages of these peers, oldest first, each in its conversation; to be called when the locks are held.

    only: just this message. What another router took while this one waited for its locks is not seen any more.
    """
    rows = execute_prepared(_TAKE, {"peers": json.dumps(locked), "only": only, "now": timezone.now()})
    talks: dict[int, tuple[Conversation, list[Route]]] = {}
    people: dict[tuple[int, str], SenderRate] = {}
    return [_context_of(row, talks, people) for row in rows]


def store_routed(decided: Iterable[tuple[RoutingContext, Delivery]]) -> None:
    """The deliveries, pending or skipped, in this order, and that their messages are routed."""
    pairs = list(decided)
    if pairs:
        values = {"rows": [_row_of(*pair) for pair in pairs], "people": _people(case for case, _delivery in pairs)}
        given = {name: json.dumps(rows) for name, rows in values.items()}
        execute_prepared(_STORE, {**given, "now": timezone.now(), "turn": sql.TURN_SECONDS, "ahead": sql.AHEAD_SECONDS})


def _people(cases: Iterable[RoutingContext]) -> list[dict[str, Any]]:
    """The rows of those whose turns were counted."""
    counted = {(case.message.account_id, case.message.sender): case.person for case in cases if case.person.changed}
    return [
        {
            "account": account,
            "sender": sender,
            "turns_until": person.turns_until and person.turns_until.isoformat(),
            "refused_at": person.refused_at and person.refused_at.isoformat(),
        }
        for (account, sender), person in counted.items()
    ]


def _context_of(
    row: tuple[Any, ...],
    talks: dict[int, tuple[Conversation, list[Route]]],
    people: dict[tuple[int, str], SenderRate],
) -> RoutingContext:
    message = Message.from_db(connection.alias, _COLUMNS, row[: len(_COLUMNS)])
    talk, (until, refused, name, told, routes, files) = row[len(_COLUMNS) : -6], row[-6:]
    if talk[0] not in talks:
        conversation = Conversation.from_db(connection.alias, _TALK_COLUMNS, talk)
        talks[talk[0]] = conversation, [Route(**fields) for fields in json.loads(routes or "[]")]
    message.account, channel = cached_by_id(message.account_id)
    message.conversation, routes = talks[talk[0]]
    person = people.setdefault((message.account_id, message.sender), SenderRate(until, refused))
    given = (json.loads(files or "[]"), json.loads(told or "{}"), person)
    return RoutingContext(message, message.conversation, routes, channel, name, *given)


def _row_of(case: RoutingContext, delivery: Delivery) -> dict[str, Any]:
    return {
        "message": case.message.pk,
        "conversation": case.conversation.pk,
        "reply_to": case.message.reply_to_id,
        "account": delivery.account_id,
        "gateway": delivery.gateway_id,
        "route": delivery.route_id,
        "lane": delivery.lane,
        "state": delivery.state,
        "reason": delivery.reason,
        "payload": delivery.payload,
    }
