"""The statements that count the figures of an hour or a day from messages, deliveries and attempts."""

from __future__ import annotations

from typing import NamedTuple

from bridge.operations.figures.times import BOUNDS, BUCKETS
from bridge.runtime.db.prepared import Statement

# The columns that are added up, beside `answer_times`.
SUMS = (
    "messages_in",
    "messages_out",
    "failed",
    "uncertain",
    "questions",
    "tokens_input",
    "tokens_output",
    "tokens_cache_read",
    "tokens_cache_write",
    "cost_microdollars",
)
# The histogram of a group of rows, from the bucket of each, or from the histogram of each.
HISTOGRAM_OF_BUCKETS = f"ARRAY[{', '.join(f'count(*) FILTER (WHERE bucket = {n})' for n in range(BUCKETS))}]"
SUM_OF_HISTOGRAMS = f"ARRAY[{', '.join(f'sum(answer_times[{n + 1}])' for n in range(BUCKETS))}]"


class Stored(NamedTuple):
    """total: how many rows of figures were stored."""

    total: int


# What there is to count, one row for each message, delivery, answer and attempt of [since, until).
# talks: the messages, by the index message_day. work: the deliveries to agents and to WeChat, by the index delivery_day. An answer belongs
# to the agent of its question, which is found by the constraint delivery_part; its time is the first part that was delivered, by the index
# on reply_to. A part that was sent within another one ("merged") was delivered with it.
_FACTS = f"""
WITH talks AS (
  SELECT m.id, m.account_id, m.conversation_id, m.direction, CASE
    WHEN m.direction = 'in' THEN m.id WHEN m.source = 'agent' THEN m.reply_to_id END AS question_id
  FROM bridge_message m
  WHERE m.created_at >= %(since)s AND m.created_at < %(until)s AND m.kind <> 'event'
), work AS (
  SELECT d.id, d.target, d.state, d.reason, d.account_id, m.conversation_id, m.id AS message_id, m.created_at AS asked_at, CASE
    WHEN d.target = 'agent' THEN m.id WHEN m.source = 'agent' THEN m.reply_to_id END AS question_id
  FROM bridge_delivery d JOIN bridge_message m ON m.id = d.message_id
  WHERE d.created_at >= %(since)s AND d.created_at < %(until)s AND d.target IN ('agent', 'channel')
), facts AS (
  SELECT account_id, conversation_id, question_id, (direction = 'in')::int AS messages_in, (direction = 'out')::int AS messages_out,
    0 AS failed, 0 AS uncertain, 0 AS questions, -1 AS bucket, NULL::jsonb AS usage
  FROM talks
  UNION ALL
  SELECT account_id, conversation_id, question_id, 0, 0,
    (state = 'dead')::int, (state = 'uncertain')::int, (target = 'agent' AND state <> 'skipped')::int, -1, NULL
  FROM work WHERE state IN ('dead', 'uncertain') OR target = 'agent' AND state <> 'skipped'
  UNION ALL
  SELECT work.account_id, work.conversation_id, work.question_id, 0, 0, 0, 0, 0,
    width_bucket(extract(epoch FROM answer.at - work.asked_at)::float8, ARRAY{list(BOUNDS)}::float8[]), NULL
  FROM work JOIN LATERAL (
    SELECT min(part.finished_at) AS at FROM bridge_message r JOIN bridge_delivery part ON part.message_id = r.id
    WHERE r.reply_to_id = work.message_id AND r.source = 'agent' AND part.target = 'channel'
      AND (part.state = 'delivered' OR part.state = 'skipped' AND part.reason = 'merged')) AS answer ON answer.at IS NOT NULL
  WHERE work.target = 'agent' AND work.state = 'delivered'
  UNION ALL
  SELECT work.account_id, work.conversation_id, work.question_id, 0, 0, 0, 0, 0, -1, t.usage
  FROM work JOIN bridge_attempt t ON t.delivery_id = work.id WHERE work.target = 'agent' AND t.usage IS NOT NULL
), named AS (
  SELECT facts.*, q.gateway_id, COALESCE(q.payload->>'agent_id', route.agent_id, '') AS agent_id
  FROM facts LEFT JOIN bridge_delivery q ON q.message_id = facts.question_id AND q.target = 'agent' AND q.part = 0
  LEFT JOIN bridge_route route ON route.id = q.route_id
), summed AS (
  SELECT account_id, gateway_id, agent_id, {{group}}
    sum(messages_in) AS messages_in, sum(messages_out) AS messages_out, sum(failed) AS failed, sum(uncertain) AS uncertain,
    sum(questions) AS questions, {HISTOGRAM_OF_BUCKETS} AS answer_times,
    COALESCE(sum((usage->>'input')::bigint), 0) AS tokens_input, COALESCE(sum((usage->>'output')::bigint), 0) AS tokens_output,
    COALESCE(sum((usage->>'cache_read')::bigint), 0) AS tokens_cache_read,
    COALESCE(sum((usage->>'cache_write')::bigint), 0) AS tokens_cache_write,
    COALESCE(round(sum((usage->>'cost')::float8) * 1000000), 0)::bigint AS cost_microdollars
  FROM named {{where}} GROUP BY {{group}} account_id, gateway_id, agent_id
)"""  # noqa: S608  constants
# In the order of the INSERTs.
_SUMMED = ", ".join(f"sum({name})" for name in SUMS)
_COLUMNS = ", ".join(("account_id", "gateway_id", "agent_id", *SUMS, "answer_times"))

# Count an hour: `at` is its beginning.
COUNT_HOUR = Statement(
    Stored,
    f"""
{_FACTS.format(group="", where="")}, stored AS (
  INSERT INTO bridge_hourfigures (hour, account_id, gateway_id, agent_id, messages_in, messages_out, failed, uncertain, questions,
    tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, cost_microdollars, answer_times)
  SELECT %(at)s, {_COLUMNS} FROM summed RETURNING 1
)
SELECT count(*) AS total FROM stored""",  # noqa: S608  constants
)
# Count a day by conversation: `at` is its date.
COUNT_DAY_BY_CONVERSATION = Statement(
    Stored,
    f"""
{_FACTS.format(group="conversation_id,", where="WHERE conversation_id IS NOT NULL")}, stored AS (
  INSERT INTO bridge_conversationfigures (day, conversation_id,
    account_id, gateway_id, agent_id, messages_in, messages_out, failed, uncertain, questions,
    tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, cost_microdollars, answer_times)
  SELECT %(at)s, conversation_id, {_COLUMNS} FROM summed RETURNING 1
)
SELECT count(*) AS total FROM stored""",  # noqa: S608  constants
)
# Add up the hours of a day: `at` is its date, since and until its beginning and end.
SUM_DAY = Statement(
    Stored,
    f"""
WITH stored AS (
  INSERT INTO bridge_dayfigures (day, account_id, gateway_id, agent_id, messages_in, messages_out, failed, uncertain, questions,
    tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, cost_microdollars, answer_times)
  SELECT %(at)s, account_id, gateway_id, agent_id, {_SUMMED}, {SUM_OF_HISTOGRAMS}
  FROM bridge_hourfigures WHERE hour >= %(since)s AND hour < %(until)s GROUP BY account_id, gateway_id, agent_id RETURNING 1
)
SELECT count(*) AS total FROM stored""",  # noqa: S608  constants
)
