"""The statement that stores the usage of turns."""

from __future__ import annotations

from typing import NamedTuple

from bridge.runtime.db.prepared import Statement


class UpdatedAttempt(NamedTuple):
    id: int


# Store the usage of several attempts, found by their ids; returns those that are still there.
STORE_USAGE = Statement(
    UpdatedAttempt,
    """
UPDATE bridge_attempt t SET usage = x.usage
FROM jsonb_to_recordset(%(rows)s::jsonb) AS x(attempt bigint, usage jsonb) WHERE t.id = x.attempt RETURNING t.id""",
)
