"""Callbacks become rows: one statement for a message and its attachments; `bridge.inbound` routes them later."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts import counters
from accounts.fields import encrypt
from bridge import database
from bridge.doorbell import Bell, ring_soon
from channels_wechat.messages import message_uuid

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.messages import Inbound

_INSERT = """
WITH stored AS (
  INSERT INTO bridge_message (uuid, account_id, peer_kind, peer_id, direction, source, client, idempotency_key, request_hash,
    kind, text, data, sender, addressed, raw, reply_address, reply_until, occurred_at, created_at)
  VALUES (%(uuid)s, %(account)s, %(peer_kind)s, %(peer_id)s, 'in', 'channel', '', %(key)s, '',
    %(kind)s, %(text)s, '{}', %(sender)s, %(addressed)s, %(raw)s, %(reply)s, %(reply_until)s, %(occurred_at)s, %(now)s)
  ON CONFLICT DO NOTHING RETURNING id
)"""
ROW_ONLY = f"{_INSERT} SELECT id FROM stored"  # noqa: S608  two constants
_WITH_MEDIA = f"""{_INSERT}, files AS (
  INSERT INTO bridge_attachment (uuid, message_id, position, kind, name, mime, size, file, source, handle, state, error, tries, due_at)
  SELECT gen_random_uuid(), stored.id, item.position - 1, item.value->>'kind', item.value->>'name', item.value->>'mime', 0, '',
    item.value->>'source', '', 'pending', '', 0, %(now)s
  FROM stored, jsonb_array_elements(%(media)s::jsonb) WITH ORDINALITY AS item(value, position)
)
SELECT id FROM stored"""  # noqa: S608  two constants


def receive(account: ChannelAccount, inbound: Inbound) -> int | None:
    """Store and ring. Returns the new row's id, or None for a repetition. One statement, one commit, no platform call."""
    stored = database.run(_WITH_MEDIA if inbound.media else ROW_ONLY, values_of(account, inbound))
    if not stored:
        return None
    counters.add("messages", direction="in")
    ring_soon(Bell.ROUTE, *([Bell.FETCH] if inbound.media else []))
    return int(stored[0][0])


def values_of(account: ChannelAccount, inbound: Inbound) -> dict[str, Any]:
    """What the statement takes."""
    now = timezone.now()
    reply = inbound.peer.reply
    media = [{"kind": m.kind, "name": m.name[:255], "mime": m.mime[:100], "source": m.handle} for m in inbound.media]
    return {
        "uuid": message_uuid(str(account.key), inbound.key),
        "account": account.pk,
        "peer_kind": inbound.peer.kind,
        "peer_id": inbound.peer.id,
        "key": inbound.key,
        "kind": inbound.kind,
        "text": inbound.text,
        "sender": inbound.sender,
        "addressed": inbound.addressed,
        "raw": json.dumps(_raw(inbound), ensure_ascii=False),
        "reply": encrypt(reply, "bridge.message.reply_address") if reply else "",
        "reply_until": now + timedelta(seconds=inbound.reply_seconds) if reply else None,
        "occurred_at": datetime.fromtimestamp(inbound.occurred_at, UTC) if inbound.occurred_at else None,
        "now": now,
        "media": json.dumps(media, ensure_ascii=False),
    }


def _raw(inbound: Inbound) -> dict[str, Any]:
    """The platform's body, and what its parser made of it for the router."""
    extra = {"refers_to": inbound.refers_to, "contacts": dict(inbound.contacts)}
    return {**inbound.raw, **({"_bridge": extra} if any(extra.values()) else {})}
