"""The statements that read figures for the dashboard and the reports."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003  the row types are read at run time
from typing import NamedTuple

from bridge.operations.figures.counting_sql import SUM_OF_HISTOGRAMS, SUMS
from bridge.runtime.db.prepared import Statement


class HourRow(NamedTuple):
    """failed: deliveries to agents and WeChat that failed."""

    hour: datetime
    incoming: int
    outgoing: int
    failed: int


class DayRow(NamedTuple):
    """The figures of one agent on one day; agent_id is empty for what no agent had part in."""

    day: date
    gateway_id: int | None
    agent_id: str
    incoming: int
    outgoing: int
    failed: int
    answer_times: list[int]


class OpenWork(NamedTuple):
    """total deliveries are open in this state, for this reason; oldest: since when the oldest is queued."""

    target: str
    account_id: int | None
    gateway_id: int | None
    state: str
    reason: str
    total: int
    oldest: datetime


# Today by the hour: counted figures up to the last hour that was counted after its end, by the constraint hour_figures_once, and from there
# on the rows themselves, by the indexes message_day and delivery_day.
TODAY_BY_HOUR = Statement(
    HourRow,
    """
WITH live AS (
  SELECT GREATEST(%(midnight)s::timestamptz, max(ends_at)) AS since FROM bridge_countedperiod
  WHERE kind = 'hour' AND counted_at >= ends_at AND ends_at > %(midnight)s
), rows AS (
  SELECT hour, messages_in, messages_out, failed FROM bridge_hourfigures
  WHERE hour >= %(midnight)s AND hour < (SELECT since FROM live)
  UNION ALL
  SELECT date_trunc('hour', created_at, %(zone)s), (direction = 'in')::int, (direction = 'out')::int, 0 FROM bridge_message
  WHERE created_at >= (SELECT since FROM live) AND kind <> 'event'
  UNION ALL
  SELECT date_trunc('hour', created_at, %(zone)s), 0, 0, 1 FROM bridge_delivery
  WHERE created_at >= (SELECT since FROM live) AND state = 'dead' AND target IN ('agent', 'channel')
)
SELECT hour, sum(messages_in) AS incoming, sum(messages_out) AS outgoing, sum(failed) AS failed FROM rows GROUP BY hour ORDER BY hour""",
)
# The last days by day and agent, by the constraint day_figures_once.
BY_DAY_AND_AGENT = Statement(
    DayRow,
    f"""
SELECT day, gateway_id, agent_id, sum(messages_in) AS incoming, sum(messages_out) AS outgoing, sum(failed) AS failed,
  {SUM_OF_HISTOGRAMS} AS answer_times
FROM bridge_dayfigures WHERE day >= %(since)s GROUP BY day, gateway_id, agent_id""",  # noqa: S608  constants
)
# What is open, by account and gateway, by the index delivery_lane.
OPEN_WORK = Statement(
    OpenWork,
    """
SELECT target, account_id, gateway_id, state, reason, count(*) AS total, min(queued_at) AS oldest FROM bridge_delivery
WHERE state IN ('pending', 'sending', 'held') GROUP BY target, account_id, gateway_id, state, reason""",
)


class ReportRow(NamedTuple):
    """number, text: what it was grouped by; the names of the sums are those of the models of figures."""

    number: int | None
    text: str
    messages_in: int
    messages_out: int
    failed: int
    uncertain: int
    questions: int
    tokens_input: int
    tokens_output: int
    tokens_cache_read: int
    tokens_cache_write: int
    cost_microdollars: int
    answer_times: list[int]


_SUMS = ", ".join(f"sum({name})::bigint AS {name}" for name in SUMS)
_OF_DAYS = "day BETWEEN %(first)s AND %(last)s"


def _report(number: str, text: str, table: str, where: str, order: str) -> Statement[ReportRow]:
    return Statement(
        ReportRow,
        f"""
SELECT {number} AS number, {text} AS text, {_SUMS}, {SUM_OF_HISTOGRAMS} AS answer_times
FROM {table} WHERE {where} GROUP BY 1, 2 ORDER BY {order} LIMIT %(most)s""",  # noqa: S608  constants
    )


# There can be a million rows of conversations in a range: only their messages are added up to find those that are shown.
_AMONG_MOST = f"""conversation_id IN (
  SELECT conversation_id FROM bridge_conversationfigures WHERE {_OF_DAYS}
  GROUP BY conversation_id ORDER BY sum(messages_in + messages_out) DESC, conversation_id LIMIT %(most)s)"""  # noqa: S608  constants
_MOST_FIRST = "sum(messages_in + messages_out) DESC, 1, 2"
# The reports by what they are grouped by; the total has one row, or none. All read by the constraints *_figures_once.
REPORTS = {
    "account": _report("account_id", "''::text", "bridge_dayfigures", _OF_DAYS, _MOST_FIRST),
    "agent": _report("gateway_id", "agent_id::text", "bridge_dayfigures", _OF_DAYS, _MOST_FIRST),
    "conversation": _report("conversation_id", "''::text", "bridge_conversationfigures", f"{_OF_DAYS} AND {_AMONG_MOST}", _MOST_FIRST),
    "day": _report("NULL::bigint", "day::text", "bridge_dayfigures", _OF_DAYS, "2"),
    "hour": _report(
        "extract(hour FROM hour AT TIME ZONE %(zone)s)::bigint", "''::text", "bridge_hourfigures",
        "hour >= %(since)s AND hour < %(until)s", "1",
    ),
    "total": _report("NULL::bigint", "''::text", "bridge_dayfigures", _OF_DAYS, "1"),
}  # fmt: skip
