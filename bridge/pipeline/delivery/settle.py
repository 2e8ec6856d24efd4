"""The state machine of `Delivery`: the only place that writes a delivery's state. Its arrows are drawn in `models/deliveries.py`.

What settles a claimed delivery is fenced by the holder's name, so a process that lost its lease changes nothing any more.
"""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import counters
from accounts.health import CODE_LENGTH
from bridge.models import Attempt, Carrier, Delivery, Outcome, Reason, State
from bridge.pipeline.delivery import retry_policy, settle_sql
from bridge.pipeline.delivery.types import (
    AfterSuccess,
    Fail,
    Hold,
    LostLease,
    OpenAttempt,
    Postpone,
    Skip,
    Success,
    next_seq,
)
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.security.redaction import redact
from bridge.webhooks import events
from channels_wechat.contract.explanations import NO_CAUSE, Action, Cause
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from bridge.pipeline.delivery.types import Failure, GateOutcome


def open_attempt(delivery: Delivery, request: Any, **more: Any) -> Attempt:
    """Commit the open attempt; the request may leave when this returns. more: the other fields of `OpenAttempt`. Raises LostLease."""
    attempt = open_attempts([OpenAttempt(delivery, request, **more)])[0]
    if attempt is None:
        raise LostLease(delivery.pk)
    return attempt


def open_attempts(asked: Sequence[OpenAttempt]) -> list[Attempt | None]:
    """The same for several, in one statement. None: its lease was lost."""
    now, requests = timezone.now(), [redact(one.request) for one in asked]
    values = {"rows": _json([_attempt_row(*one) for one in zip(asked, requests, strict=True)]), "now": now}
    opened = {row.delivery_id: row for row in settle_sql.BEGIN.fetch(**values)}
    attempts: list[Attempt | None] = []
    for one, request in zip(asked, requests, strict=True):
        row = opened.get(one.delivery.pk)
        one.delivery.dedup_until = row and row.dedup_until
        attempts.append(_begun(one.delivery, row, now, request) if row else None)
    return attempts


def _begun(delivery: Delivery, row: settle_sql.OpenedAttempt, now: datetime, request: Any) -> Attempt:
    delivery.tries += 1
    return Attempt(pk=row.id, delivery=delivery, number=row.number, started_at=now, request=request)


def _attempt_row(asked: OpenAttempt, request: Any) -> dict[str, Any]:
    until, since = asked.dedup_until, asked.dedup_unless_sent_since
    return {
        "id": asked.delivery.pk,
        "holder": asked.delivery.holder,
        "request": request,
        "dedup_until": until and until.isoformat(),
        "dedup_unless_sent_since": since and since.isoformat(),
    }


def mark_delivered(delivery: Delivery, attempt: Attempt, **learned: Any) -> None:
    """sending → delivered; also uncertain → delivered when the proof comes after the lease was over. learned: the fields of `Success`.

    Raises LostLease; the attempt keeps what was learned.
    """
    if mark_all_delivered([Success(delivery, attempt, **learned)])[0] is None:
        raise LostLease(delivery.pk)


def mark_all_delivered(ended: Sequence[Success]) -> list[AfterSuccess | None]:
    """The same for several, in one commit. None: its lease was lost."""
    values = {"rows": _json([_success_row(done) for done in ended]), "now": timezone.now()}
    with transaction.atomic():
        settled = {row.id: AfterSuccess(row.parts, row.next) for row in settle_sql.SUCCEED.fetch(**values)}
        for done in ended:
            after = settled.get(done.delivery.pk)
            if done.then and after:
                done.then()
            if after and after.parts:
                _release_parts(done.delivery)
    for done in ended:
        counters.add("attempts", target=done.delivery.target, outcome=str(Outcome.OK))
        _wake_next(done.delivery)
    return [settled.get(done.delivery.pk) for done in ended]


def _success_row(done: Success) -> dict[str, Any]:
    return {
        "id": done.delivery.pk,
        "holder": done.delivery.holder,
        "attempt": done.attempt.pk,
        "remote_id": clean(done.remote_id)[:200],
        "reason": done.reason or (Reason.PARTIAL if done.note.code else ""),
        "code": done.note.code,
        "params": redact(done.note.params),
        "response": redact(done.response or {}),
    }


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False)


def fail(
    delivery: Delivery, attempt: Attempt | None, failure: Failure, then: Callable[[], object] | None = None
) -> None:
    """sending → pending (again, later), dead or uncertain. then: as in `Success`. Raises LostLease."""
    outcome = Outcome.UNKNOWN if failure.action == Action.UNKNOWN else Outcome.ERROR
    state, columns = retry_policy.next_state(delivery, failure, began=attempt is not None)
    fields = {"state": state, **columns, **_cause_columns(failure.cause), "lease_until": None}
    with transaction.atomic():
        if attempt:
            _close(attempt, outcome, failure.cause, failure.response)
        changed = _leased_by_us(delivery).update(**fields)
        if changed and state in (State.DEAD, State.UNCERTAIN):
            _on_failure(delivery)
        if changed and then:
            then()
    _check_lease(delivery, changed)


def skip(delivery: Delivery, attempt: Attempt | None, reason: Reason) -> None:
    """sending → skipped: there is nobody to be told, or it was stopped by /stop. Raises LostLease."""
    with transaction.atomic():
        if attempt:
            _close(attempt, Outcome.ERROR, Cause(str(reason)))
        fields = {"state": State.SKIPPED, "reason": reason, "finished_at": timezone.now(), "lease_until": None}
        changed = _leased_by_us(delivery).update(**fields)
    _check_lease(delivery, changed)


def hold(
    delivery: Delivery,
    reason: Reason,
    cause: Cause = NO_CAUSE,
    *,
    attempt: Attempt | None = None,
    failure: Failure | None = None,
    until: datetime | None = None,
) -> None:
    """sending → held: it may not go now, which is no fault of its own, so no try is burned. Its later parts wait with it.

    failure: what closes the attempt; until: when whoever waits for something looks again. Raises LostLease.
    """
    fields: dict[str, Any] = {"state": State.HELD, "reason": reason, **_cause_columns(cause), "lease_until": None}
    fields |= ({"tries": F("tries") - 1} if attempt else {}) | ({"due_at": until} if until else {})
    with transaction.atomic():
        if attempt:
            _close(attempt, Outcome.ERROR, failure.cause if failure else cause, failure.response if failure else None)
        changed = _leased_by_us(delivery).update(**fields)
        if changed:  # what waits for a window goes on all at once, so that it keeps its place in the lane
            _hold_parts(delivery, reason if reason == Reason.WINDOW else Reason.PART_BEFORE)
    _check_lease(delivery, changed)


def count_try(delivery: Delivery) -> None:
    """Something failed before the attempt was open: that burns a try too."""
    delivery.tries += 1
    Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder).update(tries=delivery.tries)


def postpone(delivery: Delivery, seconds: float, cause: Cause) -> None:
    """sending → pending without a try burned: nothing was asked of the other side."""
    due_at = timezone.now() + timedelta(seconds=seconds)
    _leased_by_us(delivery).update(state=State.PENDING, due_at=due_at, lease_until=None, **_cause_columns(cause))


def apply(delivery: Delivery, outcome: GateOutcome) -> None:
    """Write what a gate decided of a delivery whose attempt is not open. Raises LostLease."""
    if isinstance(outcome, Skip):
        skip(delivery, None, outcome.reason)
    elif isinstance(outcome, Fail):
        if outcome.counts_try:
            count_try(delivery)
        fail(delivery, None, outcome.failure)
    elif isinstance(outcome, Postpone):
        postpone(delivery, outcome.seconds, outcome.cause)
    else:
        _apply_hold(delivery, outcome)


def _apply_hold(delivery: Delivery, outcome: Hold) -> None:
    with transaction.atomic() if outcome.before else contextlib.nullcontext():
        if outcome.before:
            outcome.before()
        hold(delivery, outcome.reason, outcome.cause, until=outcome.until)
    if outcome.after:
        outcome.after()


def _check_lease(delivery: Delivery, changed: int) -> None:
    if not changed:
        raise LostLease(delivery.pk)
    _wake_next(delivery)


def _wake_next(delivery: Delivery) -> None:
    """The lane is free. Whoever carried this looks at once for what comes next; only a poll's parts may go on by another's carrier."""
    if delivery.carrier == Carrier.HTTP_REPLY:
        transaction.on_commit(lambda: notify(Topic.SEND))


def part_to_confirm(part: Delivery) -> int | None:
    """Its id, while it is to be confirmed when it was sent."""
    return None if part.state == State.DELIVERED else part.pk


def confirm(part: int) -> None:
    """What was offered was sent: sending or uncertain → delivered. Does nothing where somebody else settled it."""
    delivery = Delivery.objects.filter(
        pk=part, carrier=Carrier.HTTP_REPLY, state__in=(State.SENDING, State.UNCERTAIN)
    ).first()
    attempt = delivery and delivery.attempts.order_by("-number").first()
    if delivery and attempt:
        with contextlib.suppress(LostLease):
            mark_delivered(delivery, attempt, remote_id=delivery.remote_id)


def recover_expired(delivery: Delivery) -> None:
    """sending → pending or uncertain. Without an open attempt nothing left; with one, only a provably safe repetition is tried again."""
    now = timezone.now()
    left = delivery.attempts.filter(finished_at=None).update(
        finished_at=now, outcome=Outcome.INTERRUPTED, code="interrupted"
    )
    if left:
        counters.add("attempts", left, target=delivery.target, outcome=str(Outcome.INTERRUPTED))
    if not left or retry_policy.is_safe_to_retry(delivery):
        mark = {"possibly_twice": True} if left and retry_policy.would_repetition_be_seen(delivery) else {}
        state, columns = retry_policy.NextState(State.PENDING, {"due_at": now, **mark})
    else:
        state, columns = retry_policy.uncertain()
    _leased_by_us(delivery).update(state=state, **columns, lease_until=None)
    if state == State.UNCERTAIN:
        _on_failure(delivery)


# --- what nobody is at work on


def end_unstored(
    delivery: Delivery, state: State, reason: str = "", cause: Cause = NO_CAUSE, at: datetime | None = None
) -> Delivery:
    """Set the final state (dead, skipped or delivered) of a delivery that is not stored yet. at: when, if not now."""
    delivery.state, delivery.reason = state, reason
    delivery.code, delivery.code_params = cause.code, redact(cause.params)
    delivery.finished_at = at or timezone.now()
    return delivery


def release(held: QuerySet[Delivery], *, at_tail: bool = False, reviewed: bool = False) -> int:
    """held → pending, as if queued now: it was right to wait, and is not too old for it. Return how many.

    at_tail: behind all that waits in their lanes, else each in its old place. reviewed: the content check does not look at them again.
    """
    now = timezone.now()
    fields: dict[str, Any] = {"state": State.PENDING, "reason": "", **_cause_columns(NO_CAUSE)}
    fields |= {"due_at": now, "queued_at": now}
    fields |= ({"seq": next_seq} if at_tail else {}) | ({"reviewed_at": now} if reviewed else {})
    return held.filter(state=State.HELD).update(**fields)


def change_hold(held: QuerySet[Delivery], reason: Reason, cause: Cause) -> int:
    """held → held, for another reason. Return how many."""
    return held.filter(state=State.HELD).update(reason=reason, **_cause_columns(cause))


def cancel(waiting: QuerySet[Delivery], reason: Reason, cause: Cause = NO_CAUSE) -> int:
    """pending or held → skipped: they are not sent any more. Return how many."""
    rows = waiting.filter(state__in=(State.PENDING, State.HELD))
    return rows.update(state=State.SKIPPED, reason=reason, finished_at=timezone.now(), **_cause_columns(cause))


def dismiss_held(held: Delivery, by: User | None) -> None:
    """held → skipped, the reason kept. The later parts that are held go with it: half an answer would mislead."""
    now = timezone.now()
    rows = Delivery.objects.filter(message=held.message_id, target=held.target, part__gte=held.part, state=State.HELD)
    rows.update(state=State.SKIPPED, finished_at=now, dismissed_at=now, dismissed_by=by)


def skip_anew(delivery: Delivery, reason: str, route_id: int | None) -> None:
    """A question that is replayed, and still has no agent: skipped, for the reason of today."""
    Delivery.objects.filter(pk=delivery.pk).update(state=State.SKIPPED, reason=reason, route=route_id)


def requeue(delivery: Delivery, place: Mapping[str, Any]) -> int:
    """dead, uncertain or skipped → pending, at the tail of its lane and with all its tries, as it is said and routed now.

    place: the columns that say by whom and when it is carried. Return how many: none where the state changed meanwhile, say by a late
    proof that it had arrived.
    """
    return Delivery.objects.filter(pk=delivery.pk, state=delivery.state).update(
        **place,
        state=State.PENDING,
        reason="",
        code="",
        code_params={},
        gateway=delivery.gateway_id,
        route=delivery.route_id,
        payload=delivery.payload,
        possibly_twice=delivery.possibly_twice,
        seq=next_seq,
        tries=0,
        run_number=F("run_number") + 1,
        replays=F("replays") + 1,
        queued_at=timezone.now(),
        holder="",
        dedup_until=None,
        finished_at=None,
        stopped_at=None,
        dismissed_at=None,
        dismissed_by=None,
    )


def _leased_by_us(delivery: Delivery) -> Any:
    return Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder, state=State.SENDING)


def _cause_columns(cause: Cause) -> dict[str, Any]:
    return {"code": cause.code[:CODE_LENGTH], "code_params": redact(cause.params)}


def _close(attempt: Attempt, outcome: Outcome, cause: Cause, response: Any = None) -> None:
    fields = {**_cause_columns(cause), "response": redact(response or {})}
    Attempt.objects.filter(pk=attempt.pk).update(finished_at=timezone.now(), outcome=outcome, **fields)
    counters.add("attempts", target=attempt.delivery.target, outcome=str(outcome))


def _later_parts(delivery: Delivery) -> Any:
    if delivery.message is None:
        return Delivery.objects.none()
    return delivery.message.deliveries.filter(target=delivery.target, part__gt=delivery.part)


def _on_failure(delivery: Delivery) -> None:
    """Dead or uncertain. Half an answer after a gap would mislead: the later parts wait for somebody to replay this one."""
    events.queue_failure_event(delivery)
    _hold_parts(delivery, Reason.PART_BEFORE)


def _hold_parts(delivery: Delivery, reason: Reason) -> None:
    _later_parts(delivery).filter(state=State.PENDING).update(state=State.HELD, reason=reason)


def _release_parts(delivery: Delivery) -> None:
    """The part they waited for is there: they follow it, in order, at the tail of the lane."""
    for part in _later_parts(delivery).filter(state=State.HELD, reason=Reason.PART_BEFORE).order_by("part"):
        fields: dict[str, Any] = {"state": State.PENDING, "reason": "", "seq": next_seq, "due_at": timezone.now()}
        Delivery.objects.filter(pk=part.pk, state=State.HELD).update(**fields, queued_at=timezone.now())
