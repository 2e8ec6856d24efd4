"""The statements behind the figures of /metrics and of a gateway's page.

None counts all of a table: each reads a partial index, and at most %(most)s rows of it.
"""

from __future__ import annotations

from typing import NamedTuple

from bridge.runtime.db.prepared import Statement


class CountByState(NamedTuple):
    target: str
    state: str
    total: int


class CountByReason(NamedTuple):
    reason: str
    total: int


class LongestDue(NamedTuple):
    """seconds: how long the target's oldest delivery has been due."""

    target: str
    seconds: float


class TurnCount(NamedTuple):
    gateway_id: int
    total: int


class Figure(NamedTuple):
    figure: int


class AccountOfGateway(NamedTuple):
    """under_way, waiting: how many of its turns are at the gateway, and are due."""

    account_id: int
    under_way: int
    waiting: int


# Return how many deliveries are open, by the index delivery_lane.
OPEN_DELIVERIES = Statement(
    CountByState,
    """
SELECT target, state, count(*) AS total FROM (
  SELECT target, state FROM bridge_delivery WHERE state IN ('pending', 'sending', 'held') LIMIT %(most)s) AS open
GROUP BY target, state""",
)
# Return how many deliveries are held, by the index delivery_held.
HELD_DELIVERIES = Statement(
    CountByReason,
    """
SELECT reason, count(*) AS total FROM (SELECT reason FROM bridge_delivery WHERE state = 'held' LIMIT %(most)s) AS held
GROUP BY reason""",
)
# Return since when something is due, by the index delivery_due, the longest due first.
OLDEST_DUE = Statement(
    LongestDue,
    """
SELECT target, extract(epoch FROM statement_timestamp() - min(due_at))::float AS seconds
FROM unnest(%(carriers)s::text[]) AS given(carrier), LATERAL (
  SELECT target, due_at FROM bridge_delivery
  WHERE state = 'pending' AND bridge_delivery.carrier = given.carrier AND due_at <= statement_timestamp() ORDER BY due_at LIMIT 1000) AS due
GROUP BY target""",
)
# Return how many deliveries failed that nobody dealt with, by the index delivery_failures.
FAILED_DELIVERIES = Statement(
    CountByState,
    """
SELECT target, state, count(*) AS total FROM (
  SELECT target, state FROM bridge_delivery WHERE state IN ('dead', 'uncertain') AND dismissed_at IS NULL LIMIT %(most)s) AS failed
GROUP BY target, state""",
)
# Return how many messages wait for their route, by the index message_unrouted.
UNROUTED_MESSAGES = Statement(
    Figure,
    """
SELECT count(*) AS figure FROM (
  SELECT 1 FROM bridge_message WHERE routed_at IS NULL AND direction = 'in' LIMIT %(most)s) AS unrouted""",
)
# Return how many files are to be fetched, by the index attachment_due.
WAITING_FILES = Statement(
    Figure,
    """
SELECT count(*) AS figure FROM (SELECT 1 FROM bridge_attachment WHERE state = 'pending' LIMIT %(most)s) AS waiting""",
)
# Return how many turns are under way, by the index delivery_leased: never more than the gateways take.
TURNS_UNDER_WAY = Statement(
    TurnCount,
    """
SELECT gateway_id, count(*) AS total FROM bridge_delivery
WHERE state = 'sending' AND target = 'agent' AND gateway_id IS NOT NULL GROUP BY gateway_id""",
)
# Return the size of the database on disk, in bytes.
DATABASE_SIZE = Statement(Figure, "SELECT pg_database_size(current_database()) AS figure")
# Return the accounts that a gateway is mapped to or has turns of, the busiest first. `mapped` is found by the index on a route's gateway,
# `busy` by the index delivery_leased, what waits of each account by the index delivery_fair.
ACCOUNTS_OF_GATEWAY = Statement(
    AccountOfGateway,
    """
WITH mapped AS (
  SELECT DISTINCT account_id FROM bridge_route WHERE gateway_id = %(gateway)s AND enabled
), busy AS (
  SELECT account_id, count(*) AS count FROM bridge_delivery
  WHERE state = 'sending' AND gateway_id = %(gateway)s AND target = 'agent' GROUP BY account_id
), used AS (
  SELECT account_id FROM mapped UNION SELECT account_id FROM busy
)
SELECT used.account_id, COALESCE(busy.count, 0) AS under_way, (
  SELECT count(*) FROM (
    SELECT 1 FROM bridge_delivery d
    WHERE d.state = 'pending' AND d.carrier = 'connector' AND COALESCE(d.gateway_id, 0) = %(gateway)s
      AND COALESCE(d.account_id, 0) = used.account_id AND d.due_at <= statement_timestamp() LIMIT %(most)s) AS waiting) AS waiting
FROM used LEFT JOIN busy USING (account_id) ORDER BY 2 DESC, 3 DESC, 1 LIMIT 200""",
)
