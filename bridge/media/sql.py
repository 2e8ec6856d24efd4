"""The statement by which a worker takes files to fetch."""

from __future__ import annotations

from typing import NamedTuple

from bridge.runtime.db.prepared import Statement


class ClaimedFile(NamedTuple):
    id: int


# Lease the files that have been due longest and that nobody holds, at most %(limit)s for %(lease)s seconds, and return them: the same as
# `accounts.lease.acquire`, for as many as there is room for. They are found by the index attachment_due; those that another worker takes at
# this moment are passed over.
CLAIM_FILES = Statement(
    ClaimedFile,
    """
UPDATE bridge_attachment
SET owner = %(owner)s, owner_until = statement_timestamp() + make_interval(secs => %(lease)s), fence = fence + 1, tries = tries + 1
WHERE id IN (
  SELECT id FROM bridge_attachment
  WHERE state = 'pending' AND due_at <= statement_timestamp() AND (owner_until IS NULL OR owner_until < statement_timestamp())
  ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id""",
)
