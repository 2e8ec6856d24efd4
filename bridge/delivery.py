"""The state machine of `Delivery`: claim, begin, settle, sweep. Every arrow of the drawing in `models/deliveries.py` is here.

A claim is conditional and a settle is fenced by the holder's name, so a process that lost its lease changes nothing any more.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Func, Max, Value
from django.utils import timezone
from django.utils.encoding import force_str

from accounts import counters
from bridge import events
from bridge.doorbell import Bell, ring
from bridge.models import Attempt, Delivery, Outcome, Reason, State, Target, Wire
from bridge.redact import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# A dead process's work is given out again after this; a living one renews every RENEW_SECONDS.
LEASE_SECONDS = 30
RENEW_SECONDS = 10
# Seconds before the next try of something that definitely did not happen; the last one repeats until the try count is spent.
RETRY_SECONDS = (2, 5, 15, 60, 120, 300, 600, 900)
MAX_TRIES = 20
SWEEP_AT_ONCE = 500
CLAIMED_WITH = ("message__account", "message__reply_to", "message__conversation", "account", "gateway", "endpoint")
# Who carries what; a stream's row that its view left behind is the worker's.
BELLS = {Wire.WORKER: Bell.SEND, Wire.VIEW: Bell.SEND, Wire.CONNECTOR: Bell.ASK, Wire.HOOK: Bell.HOOK}

next_seq = Func(Value("bridge_delivery_seq"), function="nextval")

_CLAIM = """
WITH heads AS (
  SELECT d.id FROM bridge_delivery d
  LEFT JOIN accounts_channelaccount a ON a.id = d.account_id
  LEFT JOIN openclaw_gateway g ON g.id = d.gateway_id
  LEFT JOIN bridge_webhookendpoint e ON e.id = d.endpoint_id
  WHERE d.state = 'pending' AND d.due_at <= statement_timestamp() AND d.wire = ANY(%(wires)s)
    AND (%(gateway)s::bigint IS NULL OR d.gateway_id = %(gateway)s)
    AND (%(only)s::bigint IS NULL OR d.id = %(only)s)
    AND (d.target <> 'channel' OR (a.enabled AND a.state <> 'stopped'))
    AND (d.target <> 'agent' OR (g.enabled AND g.state <> 'stopped'))
    AND (e.id IS NULL OR e.enabled)
    AND NOT EXISTS (
      SELECT 1 FROM bridge_delivery b WHERE b.lane = d.lane AND b.id <> d.id AND (
        b.state = 'sending' OR (b.seq < d.seq AND (
          b.state = 'pending' OR (b.state = 'held' AND b.message_id = d.message_id AND b.target = d.target AND b.part < d.part)))))
  ORDER BY d.due_at LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED
)
UPDATE bridge_delivery d
SET state = 'sending', holder = %(holder)s, lease_until = statement_timestamp() + make_interval(secs => %(lease)s), wire = %(wire)s
FROM heads WHERE d.id = heads.id RETURNING d.id
"""


class LostLease(Exception):
    """Somebody else has this delivery now; whatever came of ours is kept with the attempt only."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in the terms of the two wires' errors. action: retry, wait, configuration, permanent, unknown."""

    action: str
    code: str
    text: str
    retry_after: float | None = None
    max_tries: int | None = None
    response: Any = field(default_factory=dict)
    reason: str = ""  # a more exact `Reason` than the action implies


def refusal(reason: Reason) -> Failure:
    """For what we do not even try."""
    return Failure("permanent", str(reason), force_str(reason.label), reason=reason)


def holder_name() -> str:
    """Unique for each process that claims."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


def claim(
    wire: Wire, holder: str, limit: int, *, gateway_id: int | None = None, only: int | None = None
) -> list[Delivery]:
    """Take the heads of idle lanes, many in one statement. A stream's row that no poll fetched in time is the worker's to take.

    only: this one delivery, due or not (a poll takes what waits for it).
    """
    wires = [Wire.WORKER, Wire.VIEW] if wire == Wire.WORKER else [wire]
    values: dict[str, Any] = {"wires": [str(w) for w in wires], "wire": str(wire), "holder": holder, "limit": limit}
    with connection.cursor() as cursor:
        sql = _CLAIM.replace("d.due_at <= statement_timestamp()", "true") if only else _CLAIM
        cursor.execute(sql, {**values, "gateway": gateway_id, "only": only, "lease": LEASE_SECONDS})
        ids = [row[0] for row in cursor.fetchall()]
    rows = Delivery.objects.filter(pk__in=ids).order_by("due_at")
    return list(rows.select_related(*CLAIMED_WITH))


def renew(holder: str, ids: Iterable[int]) -> int:
    """Prolong the leases of what this holder is still at work on; what it dropped runs out. Returns how many it still has."""
    lease = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    return Delivery.objects.filter(pk__in=list(ids), holder=holder, state=State.SENDING).update(lease_until=lease)


@transaction.atomic
def begin(delivery: Delivery, request: Any, *, repeat_until: Any = None) -> Attempt:
    """Commit the open attempt; the request may leave when this returns. Raises LostLease."""
    held = _held(delivery)
    changed = held.update(tries=F("tries") + 1, repeat_until=repeat_until or F("repeat_until"))
    if not changed:
        raise LostLease(delivery.pk)
    delivery.tries += 1
    number = (delivery.attempts.aggregate(last=Max("number"))["last"] or 0) + 1
    return Attempt.objects.create(delivery=delivery, number=number, request=redact(request))


def succeed(
    delivery: Delivery,
    attempt: Attempt,
    *,
    remote_id: str = "",
    note: str = "",
    reason: str = "",
    response: Any = None,
    then: Callable[[], object] | None = None,
) -> None:
    """sending → delivered; also uncertain → delivered when the proof comes after the lease was over. then: in the same transaction.

    Raises LostLease; the attempt keeps what was learned.
    """
    fields = {"reason": reason or (Reason.PARTIAL if note else ""), "error": note, "remote_id": remote_id[:200]}
    late = Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder, state__in=(State.SENDING, State.UNCERTAIN))
    with transaction.atomic():
        _close(attempt, Outcome.OK, response=response)
        changed = late.update(state=State.DELIVERED, finished_at=timezone.now(), lease_until=None, **fields)
        if changed and then:
            then()
        if changed:
            _release_parts(delivery)
    _settled(delivery, changed)


def fail(delivery: Delivery, attempt: Attempt | None, failure: Failure) -> None:
    """sending → pending (again, later), dead or uncertain. Raises LostLease."""
    outcome = Outcome.UNKNOWN if failure.action == "unknown" else Outcome.ERROR
    fields = {
        **_verdict(delivery, failure, began=attempt is not None),
        "error": redact_text(failure.text),
        "lease_until": None,
    }
    with transaction.atomic():
        if attempt:
            _close(attempt, outcome, code=failure.code, error=failure.text, response=failure.response)
        changed = _held(delivery).update(**fields)
        if changed and fields["state"] in (State.DEAD, State.UNCERTAIN):
            _given_up(delivery)
    _settled(delivery, changed)


def skip(delivery: Delivery, attempt: Attempt | None, reason: Reason) -> None:
    """sending → skipped: broken off by /stop. Raises LostLease."""
    with transaction.atomic():
        if attempt:
            _close(attempt, Outcome.ERROR, code=str(reason), error=force_str(reason.label))
        fields = {"state": State.SKIPPED, "reason": reason, "finished_at": timezone.now(), "lease_until": None}
        changed = _held(delivery).update(**fields)
    _settled(delivery, changed)


def _settled(delivery: Delivery, changed: int) -> None:
    if not changed:
        raise LostLease(delivery.pk)
    bell = BELLS[Wire(delivery.wire)]
    transaction.on_commit(lambda: ring(bell))


def too_old(delivery: Delivery) -> bool:
    """A webhook's endpoint is a machine that reads the event's own time, so it may hear of it later than a person should."""
    told = settings.MAX_AGE_HOOK if delivery.endpoint_id else settings.MAX_AGE_SEND
    limit = settings.MAX_AGE_ASK if delivery.target == Target.AGENT else told
    return bool((timezone.now() - delivery.queued_at).total_seconds() > limit)


def sweep() -> int:
    """Take back what lost processes held. Returns how many."""
    with transaction.atomic():
        over = Delivery.objects.filter(state=State.SENDING, lease_until__lt=timezone.now())
        rows = list(over.select_for_update(skip_locked=True)[:SWEEP_AT_ONCE])
        for delivery in rows:
            _take_back(delivery)
    return len(rows)


def hand_over(holder: str) -> None:
    """A holder that ends in order gives back all it has, as the sweep would after its lease."""
    with transaction.atomic():
        for delivery in Delivery.objects.filter(holder=holder, state=State.SENDING).select_for_update():
            _take_back(delivery)


def _take_back(delivery: Delivery) -> None:
    """Without an open attempt nothing had left. With one, only a provably safe repetition is tried again."""
    now = timezone.now()
    left = delivery.attempts.filter(finished_at=None).update(
        finished_at=now, outcome=Outcome.INTERRUPTED, error="the process that sent this was lost"
    )
    if left:
        counters.add("attempts", left, target=delivery.target, outcome=str(Outcome.INTERRUPTED))
    if not left or _repeatable(delivery):
        fields: dict[str, Any] = {"state": State.PENDING, "due_at": now}
    else:
        fields = {"state": State.UNCERTAIN, "reason": Reason.UNKNOWN, "finished_at": now}
    _held(delivery).update(**fields, lease_until=None)
    if fields["state"] == State.UNCERTAIN:
        _given_up(delivery)


def _repeatable(delivery: Delivery) -> bool:
    """An agent's turn is looked up by its key before it is asked again; the platform swallows a repetition until `repeat_until`.

    A webhook's receiver knows a repetition by its id, and an alert told twice does no harm.
    """
    if delivery.target in (Target.AGENT, Target.WEBHOOK):
        return True
    return delivery.repeat_until is not None and delivery.repeat_until > timezone.now()


def _verdict(delivery: Delivery, failure: Failure, *, began: bool) -> dict[str, Any]:
    """The retry table: what becomes of a delivery after this failure. began: an attempt was counted as a try."""
    now = timezone.now()
    given_back = {"tries": F("tries") - 1} if began else {}  # what was not the message's fault burns no try
    if failure.action == "configuration":
        return {"state": State.PENDING, "due_at": now, **given_back, **_next_run(delivery)}
    if failure.action == "wait":
        wait = timedelta(seconds=max(1.0, failure.retry_after or 60))
        return {"state": State.PENDING, "due_at": now + wait, **given_back, **_next_run(delivery)}
    if failure.action == "permanent":
        return _dead(failure.reason or Reason.PERMANENT)
    if failure.action == "unknown" and not _repeatable(delivery):
        return {"state": State.UNCERTAIN, "reason": Reason.UNKNOWN, "finished_at": now}
    if delivery.tries >= (failure.max_tries or MAX_TRIES):
        return _dead(Reason.TRIES_SPENT)
    # While the outcome is unknown the gateway's key stays: it is the proof that nothing was asked twice.
    run = {} if failure.action == "unknown" else _next_run(delivery)
    return {"state": State.PENDING, "due_at": now + _backoff(delivery.tries, failure.retry_after), **run}


def _next_run(delivery: Delivery) -> dict[str, Any]:
    return {"run": F("run") + 1} if delivery.target == Target.AGENT else {}


def _dead(reason: str) -> dict[str, Any]:
    return {"state": State.DEAD, "reason": reason, "finished_at": timezone.now()}


def _backoff(tries: int, retry_after: float | None) -> timedelta:
    """Jitter keeps what failed together from coming back together."""
    seconds = retry_after or RETRY_SECONDS[min(max(tries, 1), len(RETRY_SECONDS)) - 1]
    return timedelta(seconds=seconds * random.uniform(1.0, 1.2))  # noqa: S311  not a secret


def _held(delivery: Delivery) -> Any:
    return Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder, state=State.SENDING)


def _close(attempt: Attempt, outcome: Outcome, *, code: str = "", error: str = "", response: Any = None) -> None:
    fields = {"code": code[:64], "error": redact_text(error), "response": redact(response or {})}
    Attempt.objects.filter(pk=attempt.pk).update(finished_at=timezone.now(), outcome=outcome, **fields)
    counters.add("attempts", target=attempt.delivery.target, outcome=str(outcome))


def _later_parts(delivery: Delivery) -> Any:
    if delivery.message is None:
        return Delivery.objects.none()
    return delivery.message.deliveries.filter(target=delivery.target, part__gt=delivery.part)


def _given_up(delivery: Delivery) -> None:
    """Dead or uncertain. Half an answer after a gap would mislead: the later parts wait for somebody to replay this one."""
    events.died(delivery)
    _later_parts(delivery).filter(state=State.PENDING).update(state=State.HELD, reason=Reason.PART_BEFORE)


def _release_parts(delivery: Delivery) -> None:
    """The part they waited for is there: they follow it, in order, at the tail of the lane."""
    for part in _later_parts(delivery).filter(state=State.HELD, reason=Reason.PART_BEFORE).order_by("part"):
        fields: dict[str, Any] = {"state": State.PENDING, "reason": "", "seq": next_seq, "due_at": timezone.now()}
        Delivery.objects.filter(pk=part.pk, state=State.HELD).update(**fields, queued_at=timezone.now())


def waiting() -> Sequence[Bell]:
    """For the sweep: whom to ring because work is due."""
    due = Delivery.objects.filter(state=State.PENDING, due_at__lte=timezone.now())
    return list(dict.fromkeys(BELLS[wire] for wire in Wire if due.filter(wire=wire).exists()))
