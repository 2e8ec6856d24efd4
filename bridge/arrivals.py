"""Callbacks become rows, those of one moment in one statement; `bridge.inbound` routes them later."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone

from accounts import counters
from accounts.fields import encrypt
from bridge import database
from bridge.doorbell import Bell, ring_soon
from bridge.together import Together
from channels_wechat.messages import message_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.models import ChannelAccount
    from channels_wechat.messages import Inbound

# Its uuid, by which the statement names those that are new, and the row as JSON.
Row = tuple[str, str]
# The id of a row that is new, None for a repetition.
Stored = int | None
ROWS_AT_ONCE = 64

_STORE = """
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
  INSERT INTO bridge_attachment (uuid, message_id, position, kind, name, mime, size, file, source, handle, state, error, tries, due_at)
  SELECT gen_random_uuid(), stored.id, item.position - 1, item.value->>'kind', item.value->>'name', item.value->>'mime', 0, '',
    item.value->>'source', '', 'pending', '', 0, given.now
  FROM stored JOIN given USING (uuid), jsonb_array_elements(given.media) WITH ORDINALITY AS item(value, position)
)
SELECT uuid::text, id FROM stored"""


def receive(account: ChannelAccount, inbound: Inbound) -> int | None:
    """Store and ring. Returns the new row's id, or None for a repetition. One statement, one commit, no platform call.

    Whoever is told 200 has its row committed. Raises what PostgreSQL says of this row alone, or OperationalError.
    """
    row = row_of(account, inbound)
    stored = _stored((row["uuid"], json.dumps(row)))
    if stored is None:
        return None
    counters.add("messages", direction="in")
    ring_soon(Bell.ROUTE, *([Bell.FETCH] if inbound.media else []))
    return stored


def row_of(account: ChannelAccount, inbound: Inbound) -> dict[str, Any]:
    """What the statement takes, as JSON has it."""
    now = timezone.now()
    reply = inbound.peer.reply
    occurred_at = datetime.fromtimestamp(inbound.occurred_at, UTC).isoformat() if inbound.occurred_at else None
    return {
        "uuid": str(message_uuid(str(account.key), inbound.key)),
        "account_id": account.pk,
        "peer_kind": inbound.peer.kind,
        "peer_id": inbound.peer.id,
        "key": inbound.key,
        "kind": inbound.kind,
        "text": inbound.text,
        "sender": inbound.sender,
        "addressed": inbound.addressed,
        "raw": _raw(inbound),
        "reply_address": encrypt(reply, "bridge.message.reply_address") if reply else "",
        "reply_until": (now + timedelta(seconds=inbound.reply_seconds)).isoformat() if reply else None,
        "occurred_at": occurred_at,
        "now": now.isoformat(),
        "media": [
            {"kind": m.kind, "name": m.name[:255], "mime": m.mime[:100], "source": m.handle} for m in inbound.media
        ],
    }


def _raw(inbound: Inbound) -> dict[str, Any]:
    """The platform's body, and what its parser made of it for the router."""
    window = inbound.window
    told = {
        "refers_to": inbound.refers_to or None,
        "contacts": dict(inbound.contacts) or None,
        "window": [window.count, window.seconds] if window else None,
        "follows": inbound.follows,
        "erase": inbound.erase or None,
        "verdict": asdict(inbound.verdict) if inbound.verdict else None,
    }
    extra = {name: value for name, value in told.items() if value is not None}
    return {**inbound.raw, **({"_bridge": extra} if extra else {})}


def _stored(row: Row) -> Stored:
    if connection.in_atomic_block:  # others must not be told of what this caller may still take back
        return _store([row])[0]
    return _together(row)


def _store(rows: Sequence[Row]) -> list[Stored]:
    """One commit for all. Of a message that is twice among them one is new."""
    distinct = dict(rows)
    new = dict(database.run(_STORE, {"rows": f"[{','.join(distinct.values())}]"}))
    return [new.pop(uuid, None) for uuid, _json in rows]


def _store_group(rows: Sequence[Row]) -> list[Stored]:
    """Two processes that store the same two messages in opposite order wait for each other until PostgreSQL ends one of them.

    That is no database that is away: its rows can be stored one by one.
    """
    try:
        return _store(rows)
    except OperationalError as error:
        if len(rows) == 1 or not connection.is_usable():
            raise
        raise DatabaseError("these rows cannot be stored in one statement") from error


_together = Together[Row, Stored](_store_group, most=ROWS_AT_ONCE)
