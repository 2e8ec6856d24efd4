"""The statements that decide which deliveries use the last messages of a reply window."""

from __future__ import annotations

from typing import NamedTuple

from bridge.runtime.db.prepared import Statement

# Only this many of a lane's pending deliveries are looked at when they are merged.
MAX_LOOK_AHEAD = 50


class WaitingPart(NamedTuple):
    """A pending delivery of the same lane. payload: JSON as text; is_earlier: whether it is before the one that is sent now."""

    id: int
    message_id: int
    payload: str
    carrier: str
    is_reviewed: bool
    possibly_twice: bool
    is_earlier: bool


class Existence(NamedTuple):
    exists: bool


# Lock and return the pending deliveries of the lane of delivery `own`, in their order, by the index delivery_lane.
WAITING_PARTS = Statement(
    WaitingPart,
    f"""
SELECT d.id, d.message_id, d.payload, d.carrier, d.reviewed_at IS NOT NULL AS is_reviewed, d.possibly_twice,
  d.seq < own.seq AS is_earlier
FROM bridge_delivery AS d JOIN bridge_delivery AS own ON own.id = %(own)s
WHERE d.lane = own.lane AND d.state = 'pending' ORDER BY d.seq LIMIT {MAX_LOOK_AHEAD} FOR UPDATE OF d""",  # noqa: S608  a constant
)
# Return whether a question that came after message `since` waits: for its turn, found by the indexes message_transcript and delivery_part;
# or for its answer to go, found in the lane by the index delivery_lane.
NEWER_QUESTION = Statement(
    Existence,
    """
SELECT EXISTS (
  SELECT FROM bridge_message q JOIN bridge_delivery turn ON turn.message_id = q.id AND turn.target = 'agent'
  WHERE q.conversation_id = %(conversation)s AND q.direction = 'in' AND q.id > %(since)s AND turn.state IN ('pending', 'sending')
) OR EXISTS (
  SELECT FROM bridge_delivery d JOIN bridge_message a ON a.id = d.message_id
  WHERE d.lane = %(lane)s AND d.state = 'pending' AND d.part = 0 AND a.reply_to_id > %(since)s
) AS exists""",
)
