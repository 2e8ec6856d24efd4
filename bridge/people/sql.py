"""The statements that every message needs: the lock of its peer, and the session of its sender."""

from __future__ import annotations

from typing import NamedTuple

from bridge.runtime.db.prepared import Statement


class PeerLock(NamedTuple):
    """locked: empty, what the locking function returns."""

    locked: str


class Epoch(NamedTuple):
    epoch: int


# Locks the peer of each row that has these columns, until the transaction ends; a statement that locks several must sort them before.
LOCK = "pg_advisory_xact_lock(hashtextextended(account_id || '/' || peer_kind || '/' || peer_id, 7))"
# Lock one peer, and return one row. Reads no table.
LOCK_PEER = Statement(
    PeerLock,
    f"""
SELECT {LOCK} AS locked
FROM (VALUES (%(account)s::bigint, %(kind)s::text, %(id)s::text)) AS peer(account_id, peer_kind, peer_id)""",  # noqa: S608  a constant
)
# Return how often a session was begun anew, by the unique index on its key; no row where it never was.
SESSION_EPOCH = Statement(Epoch, "SELECT epoch FROM bridge_sessionepoch WHERE key = %(key)s")
# Lock several peers in the order in which the router locks them, and return one row for each.
LOCK_PEERS = Statement(
    PeerLock,
    f"""
WITH peer AS MATERIALIZED (
  SELECT account_id, peer_kind, peer_id
  FROM jsonb_to_recordset(%(peers)s::jsonb) AS given(account_id bigint, peer_kind text, peer_id text)
  ORDER BY account_id, peer_kind, peer_id
)
SELECT {LOCK} AS locked FROM peer""",  # noqa: S608  a constant
)
