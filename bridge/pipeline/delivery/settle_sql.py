"""The statements that write the state of deliveries: claimed, attempt opened, delivered; each for many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.runtime.db.prepared import Statement

if TYPE_CHECKING:
    from datetime import datetime


class OpenedAttempt(NamedTuple):
    """dedup_until: until when the platform drops repetitions; None where it is not asked to."""

    delivery_id: int
    id: int
    number: int
    dedup_until: datetime | None


class SettledDelivery(NamedTuple):
    """parts: later parts of its message are held for it; next: its lane has more pending work."""

    id: int
    parts: bool
    next: bool


# pending → sending; how the claim's own statement goes on is in `claim_sql`.
TAKE = """
UPDATE bridge_delivery d
SET state = 'sending', holder = %(holder)s, lease_until = statement_timestamp() + make_interval(secs => %(lease)s), carrier = %(carrier)s"""
# Open an attempt for each delivery that its holder still leases and whose account may send, and return the attempts: who claimed it just
# before staff stopped all sending opens none. The platform is not asked to drop repetitions if an equal payload was sent in this lane after
# `dedup_unless_sent_since` and not definitely refused: it would drop a legitimate repeat. Equal payloads are found by the index
# delivery_repeats, their attempts and the next number by the constraint attempt_number.
BEGIN = Statement(
    OpenedAttempt,
    """
WITH asked AS (
  SELECT x.id, x.holder, x.request, CASE WHEN NOT EXISTS (
    SELECT 1 FROM bridge_delivery d JOIN bridge_delivery s ON s.lane = d.lane AND s.fingerprint = d.fingerprint AND s.id <> d.id
    JOIN bridge_attempt t ON t.delivery_id = s.id AND t.started_at > x.dedup_unless_sent_since AND t.outcome <> 'error'
    WHERE d.id = x.id AND s.fingerprint <> ''
  ) THEN x.dedup_until END AS dedup_until
  FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS x(id bigint, holder text, request jsonb, dedup_until timestamptz, dedup_unless_sent_since timestamptz)
), held AS (
  UPDATE bridge_delivery d SET tries = d.tries + 1, dedup_until = COALESCE(x.dedup_until, d.dedup_until)
  FROM asked x WHERE d.id = x.id AND d.holder = x.holder AND d.state = 'sending' AND (d.target <> 'channel' OR NOT EXISTS (
    SELECT 1 FROM accounts_channelaccount a WHERE a.id = d.account_id AND a.sending_stopped_at IS NOT NULL))
  RETURNING d.id, x.request, x.dedup_until, d.possibly_twice
), opened AS (
  INSERT INTO bridge_attempt (delivery_id, number, started_at, outcome, code, code_params, request, response, possibly_twice)
  SELECT held.id, 1 + COALESCE((SELECT max(number) FROM bridge_attempt t WHERE t.delivery_id = held.id), 0), %(now)s, '', '', '{}',
    held.request, '{}', held.possibly_twice
  FROM held RETURNING delivery_id, id, number
)
SELECT opened.delivery_id, opened.id, opened.number, held.dedup_until FROM opened JOIN held ON held.id = opened.delivery_id""",
)
# sending or uncertain → delivered, for each delivery that its holder still leases or that nobody settled since; returns these. Attempts are
# closed in any case. Held parts are found by the constraint delivery_part, the lane's pending work by the index delivery_lane.
SUCCEED = Statement(
    SettledDelivery,
    """
WITH done AS (
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS x(id bigint, holder text, attempt bigint, remote_id text, reason text, code text, params jsonb, response jsonb)
), closed AS (
  UPDATE bridge_attempt t SET finished_at = %(now)s, outcome = 'ok', code = '', code_params = '{}', response = x.response
  FROM done x WHERE t.id = x.attempt
)
UPDATE bridge_delivery d SET state = 'delivered', finished_at = %(now)s, lease_until = NULL, reason = x.reason, code = x.code,
  code_params = x.params, remote_id = x.remote_id
FROM done x WHERE d.id = x.id AND d.holder = x.holder AND d.state IN ('sending', 'uncertain')
RETURNING d.id, EXISTS (
  SELECT 1 FROM bridge_delivery p WHERE p.message_id = d.message_id AND p.target = d.target AND p.part > d.part AND p.state = 'held'
) AS parts, EXISTS (SELECT 1 FROM bridge_delivery n WHERE n.lane = d.lane AND n.state = 'pending') AS next""",
)


class PutBackDelivery(NamedTuple):
    id: int


# Lock the deliveries of a run that wait since it queued them, in the order of their numbers, so that none is claimed meanwhile. They are
# found by the index replay_item_result.
LOCK_QUEUED = Statement(
    PutBackDelivery,
    """
SELECT d.id FROM bridge_replayitem i JOIN bridge_delivery d ON d.id = i.delivery_id
WHERE i.run_id = %(run)s AND i.result IN ('queued', 'held') AND d.replays = i.replays AND d.state IN ('pending', 'held')
ORDER BY d.id FOR UPDATE OF d""",
)
# What an undo writes back into a delivery d of the values `before` that were stored when it was queued; and where it may: no attempt was
# made since. Texts that were merged into it meanwhile are in its present payload alone, so that is kept.
_WRITE_BACK = """
  state = {before}->>'state', reason = {before}->>'reason', code = {before}->>'code', code_params = {before}->'code_params',
  carrier = {before}->>'carrier', lane = {before}->>'lane',
  gateway_id = (SELECT g.id FROM openclaw_gateway g WHERE g.id = ({before}->>'gateway_id')::bigint),
  route_id = (SELECT r.id FROM bridge_route r WHERE r.id = ({before}->>'route_id')::bigint),
  tries = ({before}->>'tries')::int, possibly_twice = ({before}->>'possibly_twice')::boolean,
  payload = CASE WHEN d.id::text IN (SELECT head FROM merged) THEN d.payload ELSE COALESCE({before}->'payload', d.payload) END,
  fingerprint = CASE WHEN d.id::text IN (SELECT head FROM merged) THEN d.fingerprint
    ELSE COALESCE({before}->>'fingerprint', d.fingerprint) END,
  finished_at = ({before}->>'finished_at')::timestamptz, dismissed_at = ({before}->>'dismissed_at')::timestamptz,
  dismissed_by_id = (SELECT u.id FROM auth_user u WHERE u.id = ({before}->>'dismissed_by_id')::bigint),
  replays = ({before}->>'replays')::int"""
_UNSENT = """
  d.state IN ('pending', 'held') AND NOT EXISTS (
    SELECT 1 FROM bridge_attempt t WHERE t.delivery_id = d.id AND t.number > ({before}->>'attempts')::int)"""
# pending or held → what it was before the run queued it, for what no attempt was made since; the item says so. In a statement of its own,
# behind the locks, so that it sees every attempt of whoever had them before. Of a changed text all parts of the message go back with the
# first, without which none of them is claimed. merged: what other texts were merged into since the run began, by the index delivery_reason.
PUT_BACK = Statement(
    PutBackDelivery,
    f"""
WITH merged AS MATERIALIZED (
  SELECT m.code_params->>'head' AS head FROM bridge_delivery m
  WHERE m.reason = 'merged' AND m.state = 'skipped' AND m.finished_at >= (SELECT r.started_at FROM bridge_replayrun r WHERE r.id = %(run)s)
    AND m.code_params->>'head' IS NOT NULL
), back AS (
  UPDATE bridge_delivery d SET {_WRITE_BACK.format(before="i.before")}
  FROM bridge_replayitem i
  WHERE i.run_id = %(run)s AND i.result IN ('queued', 'held') AND d.id = i.delivery_id AND d.replays = i.replays
    AND {_UNSENT.format(before="i.before")}
  RETURNING d.id, i.before
), parts AS (
  UPDATE bridge_delivery d SET {_WRITE_BACK.format(before="p.before")}
  FROM back, jsonb_array_elements(COALESCE(back.before->'parts', '[]')) AS p(before)
  WHERE d.id = (p.before->>'id')::bigint AND {_UNSENT.format(before="p.before")}
)
UPDATE bridge_replayitem i SET result = 'undone', detail = '' FROM back WHERE i.run_id = %(run)s AND i.delivery_id = back.id
RETURNING back.id""",  # noqa: S608  constants
)
