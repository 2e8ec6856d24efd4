"""The statements by which the items of a run are stored and follow their deliveries."""

from __future__ import annotations

from typing import NamedTuple

from bridge.runtime.db.prepared import Statement


class FollowedItem(NamedTuple):
    before: str
    after: str


class InFlight(NamedTuple):
    """How many deliveries of an account a run has queued that are not over; 0 stands for those without an account."""

    account_id: int
    total: int


# Write what became of items of a run that were queued, or could not be. items: a row for each, as JSON.
STORE = """
UPDATE bridge_replayitem i SET result = x.result, detail = x.detail, before = x.before, replays = x.replays
FROM jsonb_to_recordset(%(items)s::jsonb) AS x(delivery bigint, result text, detail text, before jsonb, replays int)
WHERE i.run_id = %(run)s AND i.delivery_id = x.delivery RETURNING i.delivery_id"""
# Write what became of the deliveries of a run that were not over, found by the index replay_item_result; returns those that changed.
FOLLOW = Statement(
    FollowedItem,
    """
WITH found AS (
  SELECT i.delivery_id, i.result AS before, CASE
    WHEN d.id IS NULL THEN 'skipped' WHEN d.replays > i.replays THEN 'failed'
    ELSE CASE d.state WHEN 'pending' THEN 'queued' WHEN 'sending' THEN 'queued' WHEN 'dead' THEN 'failed' ELSE d.state END
  END AS after, CASE
    WHEN d.id IS NULL THEN 'no_longer_there' WHEN d.replays > i.replays THEN 'replayed_again'
    WHEN d.state IN ('pending', 'sending', 'delivered') THEN '' WHEN d.code <> '' THEN d.code ELSE d.reason
  END AS detail
  FROM bridge_replayitem i LEFT JOIN bridge_delivery d ON d.id = i.delivery_id
  WHERE i.run_id = %(run)s AND i.result IN ('queued', 'held', 'uncertain')
)
UPDATE bridge_replayitem i SET result = found.after, detail = found.detail FROM found
WHERE i.run_id = %(run)s AND i.delivery_id = found.delivery_id AND found.before <> found.after RETURNING found.before, found.after""",
)
# Count what a run has under way, by account.
IN_FLIGHT = Statement(
    InFlight,
    """
SELECT COALESCE(d.account_id, 0) AS account_id, count(*) AS total
FROM bridge_replayitem i JOIN bridge_delivery d ON d.id = i.delivery_id
WHERE i.run_id = %(run)s AND i.result = 'queued' GROUP BY 1""",
)
