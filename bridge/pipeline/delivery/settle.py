"""The state machine of `Delivery`: the only place that writes a delivery's state. Its arrows are drawn in `models/deliveries.py`.

Every write to a claimed delivery compares the holder's name, so a process that lost its lease changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from accounts import counters
from accounts.health import CODE_LENGTH
from bridge.models import Attempt, Carrier, Delivery, Outcome, Reason, State, Target
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
from bridge.security.redaction import redact, redact_params
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
    """Commit an open attempt, after which the request may be sent. more: the other fields of `OpenAttempt`. Raises LostLease."""
    attempt = open_attempts([OpenAttempt(delivery, request, **more)])[0]
    if attempt is None:
        raise LostLease(delivery.pk)
    return attempt


def open_attempts(requested: Sequence[OpenAttempt]) -> list[Attempt | None]:
    """Do the same as `open_attempt` for several, in one statement. None: the lease was lost, or staff have stopped all sending."""
    now, requests = timezone.now(), [redact(one.request) for one in requested]
    values = {"rows": _json([_build_attempt_row(*one) for one in zip(requested, requests, strict=True)]), "now": now}
    opened = {row.delivery_id: row for row in settle_sql.BEGIN.fetch(**values)}
    attempts: list[Attempt | None] = []
    for one, request in zip(requested, requests, strict=True):
        row = opened.get(one.delivery.pk)
        one.delivery.dedup_until = row and row.dedup_until
        attempts.append(_build_attempt(one.delivery, row, now, request) if row else None)
    return attempts


def _build_attempt(delivery: Delivery, row: settle_sql.OpenedAttempt, now: datetime, request: Any) -> Attempt:
    delivery.tries += 1
    return Attempt(pk=row.id, delivery=delivery, number=row.number, started_at=now, request=request)


def _build_attempt_row(opening: OpenAttempt, request: Any) -> dict[str, Any]:
    until, since = opening.dedup_until, opening.dedup_unless_sent_since
    return {
        "id": opening.delivery.pk,
        "holder": opening.delivery.holder,
        "request": request,
        "dedup_until": until and until.isoformat(),
        "dedup_unless_sent_since": since and since.isoformat(),
    }


def mark_delivered(delivery: Delivery, attempt: Attempt, **result: Any) -> None:
    """sending → delivered; also uncertain → delivered when the proof comes after the lease expired. result: the fields of `Success`.

    Raises LostLease; the attempt stores the result in any case.
    """
    if mark_all_delivered([Success(delivery, attempt, **result)])[0] is None:
        raise LostLease(delivery.pk)


def mark_all_delivered(successes: Sequence[Success]) -> list[AfterSuccess | None]:
    """Do the same as `mark_delivered` for several, in one commit. None stands for a delivery whose lease was lost."""
    values = {"rows": _json([_build_success_row(success) for success in successes]), "now": timezone.now()}
    with transaction.atomic():
        settled = {row.id: AfterSuccess(row.parts, row.next) for row in settle_sql.SUCCEED.fetch(**values)}
        for success in successes:
            after = settled.get(success.delivery.pk)
            if success.then and after:
                success.then()
            if after and after.parts:
                _release_parts(success.delivery)
    for success in successes:
        counters.add("attempts", target=success.delivery.target, outcome=str(Outcome.OK))
        _wake_next(success.delivery)
    return [settled.get(success.delivery.pk) for success in successes]


def _build_success_row(success: Success) -> dict[str, Any]:
    cause = _cause_columns(success.note)
    return {
        "id": success.delivery.pk,
        "holder": success.delivery.holder,
        "attempt": success.attempt.pk,
        "remote_id": clean(success.remote_id)[:200],
        "reason": success.reason or (Reason.PARTIAL if success.note.code else ""),
        "code": cause["code"],
        "params": cause["code_params"],
        "response": redact(success.response or {}),
    }


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False)


def fail(
    delivery: Delivery, attempt: Attempt | None, failure: Failure, then: Callable[[], object] | None = None
) -> None:
    """sending → pending (again, later), dead or uncertain. then: as in `Success`. Raises LostLease."""
    state, columns = retry_policy.decide_next_state(delivery, failure, began=attempt is not None)
    fields = {"state": state, **columns, **_cause_columns(failure.cause), "lease_until": None}
    with transaction.atomic():
        if attempt:
            _close_attempt(attempt, _outcome_of(failure), failure.cause, failure.response)
        changed = _leased_by_us(delivery).update(**fields)
        if changed and state in (State.DEAD, State.UNCERTAIN):
            _report_failure(delivery)
        if changed and then:
            then()
    _check_lease(delivery, changed)


def skip(delivery: Delivery, attempt: Attempt | None, reason: Reason, failure: Failure | None = None) -> None:
    """sending → skipped: it has no receiver any more, staff answer it, or /stop stopped it. Raises LostLease.

    failure: what became of the attempt, where that is not the reason.
    """
    with transaction.atomic():
        if attempt and failure:
            _close_attempt(attempt, _outcome_of(failure), failure.cause, failure.response)
        elif attempt:
            _close_attempt(attempt, Outcome.ERROR, Cause(str(reason)))
        fields = {"state": State.SKIPPED, "reason": reason, "finished_at": timezone.now(), "lease_until": None}
        # What an earlier try met is not why it is skipped; its attempt keeps it.
        changed = _leased_by_us(delivery).update(**fields, **_cause_columns(NO_CAUSE))
    _check_lease(delivery, changed)


def withdraw(delivery: Delivery, reason: Reason) -> None:
    """sending → skipped although it succeeded, in the transaction that marked it as delivered: its result is not used."""
    Delivery.objects.filter(pk=delivery.pk, state=State.DELIVERED).update(state=State.SKIPPED, reason=reason)


def hand_over(delivery: Delivery, attempt: Attempt | None, failure: Failure | None, cause: Cause) -> None:
    """sending → skipped, with the parts behind it: another account sends the message. Raises LostLease."""
    now = timezone.now()
    with transaction.atomic():
        if attempt and failure:
            _close_attempt(attempt, Outcome.ERROR, failure.cause, failure.response)
        fields = {"state": State.SKIPPED, "reason": Reason.OTHER_SENDER, "finished_at": now, **_cause_columns(cause)}
        changed = _leased_by_us(delivery).update(**fields, lease_until=None)
        if changed:
            cancel(_later_parts(delivery), Reason.OTHER_SENDER, cause)
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
    """sending → held: it must wait for something else than itself, so the try is not counted. Its later parts wait with it.

    attempt: the open one, if any; failure: what is recorded in it; until: when the wait is checked again. Raises LostLease.
    """
    fields: dict[str, Any] = {"state": State.HELD, "reason": reason, **_cause_columns(cause), "lease_until": None}
    fields |= ({"tries": F("tries") - 1} if attempt else {}) | ({"due_at": until} if until else {})
    with transaction.atomic():
        if attempt:
            _close_attempt(
                attempt, Outcome.ERROR, failure.cause if failure else cause, failure.response if failure else None
            )
        changed = _leased_by_us(delivery).update(**fields)
        if changed:  # parts that wait for a window are released together, so they keep their places in the lane
            _hold_parts(delivery, reason if reason == Reason.WINDOW else Reason.PART_BEFORE)
    _check_lease(delivery, changed)


def count_try(delivery: Delivery) -> None:
    """Count a try of a delivery that failed before its attempt was open."""
    delivery.tries += 1
    Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder).update(tries=delivery.tries)


def postpone(delivery: Delivery, seconds: float, cause: Cause) -> None:
    """sending → pending, without counting a try, because no request was sent."""
    due_at = timezone.now() + timedelta(seconds=seconds)
    _leased_by_us(delivery).update(state=State.PENDING, due_at=due_at, lease_until=None, **_cause_columns(cause))


def put_back_unsent(delivery: Delivery) -> bool:
    """sending → pending, because staff have stopped all sending of its account. Return whether that was so; no try is counted."""
    unsent = _leased_by_us(delivery).filter(target=Target.CHANNEL, account__sending_stopped_at__isnull=False)
    unsent = unsent.exclude(Exists(Attempt.objects.filter(delivery=OuterRef("pk"), finished_at=None)))
    return bool(unsent.update(state=State.PENDING, due_at=timezone.now(), lease_until=None, **_cause_columns(NO_CAUSE)))


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
    """Wake the worker, because the lane is free. Only needed after an HTTP reply: other carriers claim the next delivery themselves."""
    if delivery.carrier == Carrier.HTTP_REPLY:
        transaction.on_commit(lambda: notify(Topic.SEND))


def unconfirmed_part(part: Delivery) -> int | None:
    """Return the id of a part that must be confirmed when the reply was sent; None where it is settled already."""
    return None if part.state == State.DELIVERED else part.pk


def confirm_sent(part: int) -> None:
    """sending or uncertain → delivered, because the reply with this part was sent. Does nothing where it was settled meanwhile."""
    delivery = Delivery.objects.filter(
        pk=part, carrier=Carrier.HTTP_REPLY, state__in=(State.SENDING, State.UNCERTAIN)
    ).first()
    attempt = delivery and delivery.attempts.order_by("-number").first()
    if delivery and attempt:
        with contextlib.suppress(LostLease):
            mark_delivered(delivery, attempt, remote_id=delivery.remote_id)


def recover_expired(delivery: Delivery) -> None:
    """sending → pending or uncertain. Without an open attempt no request was sent; with one it is repeated only where that is safe."""
    now = timezone.now()
    interrupted = delivery.attempts.filter(finished_at=None).update(
        finished_at=now, outcome=Outcome.INTERRUPTED, code="interrupted"
    )
    if interrupted:
        counters.add("attempts", interrupted, target=delivery.target, outcome=str(Outcome.INTERRUPTED))
    if not interrupted or retry_policy.is_safe_to_retry(delivery):
        mark = {"possibly_twice": True} if interrupted and retry_policy.is_repetition_visible(delivery) else {}
        state, columns = retry_policy.NextState(State.PENDING, {"due_at": now, **mark})
    else:
        state, columns = retry_policy.decide_uncertain()
    cause = _cause_columns(Cause("interrupted")) if interrupted else {}
    _leased_by_us(delivery).update(state=state, **columns, **cause, lease_until=None)
    if state == State.UNCERTAIN:
        _report_failure(delivery)


# --- deliveries that no process has claimed


def set_final_state(
    delivery: Delivery, state: State, reason: str = "", cause: Cause = NO_CAUSE, at: datetime | None = None
) -> Delivery:
    """Set the final state (dead, skipped or delivered) of a delivery that is not stored yet. at: when, if not now."""
    delivery.state, delivery.reason = state, reason
    for name, value in _cause_columns(cause).items():
        setattr(delivery, name, value)
    delivery.finished_at = at or timezone.now()
    return delivery


def release(held: QuerySet[Delivery], *, at_tail: bool = False, reviewed: bool = False) -> int:
    """held → pending, as if queued now, so that waiting does not make them too old. Return how many.

    at_tail: at the end of their lanes, else each in its old place. reviewed: the content check is not repeated.
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


def try_now(waiting: QuerySet[Delivery]) -> int:
    """pending → pending, due now instead of later: what they waited for may be over. Return how many."""
    now = timezone.now()
    return waiting.filter(state=State.PENDING, due_at__gt=now).update(due_at=now)


def mark_undelivered(accepted: QuerySet[Delivery], cause: Cause) -> int:
    """delivered → dead: the platform had accepted these, and tells now that they did not arrive. Return how many."""
    columns = {"state": State.DEAD, "reason": Reason.PERMANENT, "finished_at": timezone.now(), **_cause_columns(cause)}
    count = 0
    for delivery in accepted.filter(state=State.DELIVERED).order_by("pk"):
        if Delivery.objects.filter(pk=delivery.pk, state=State.DELIVERED).update(**columns):
            delivery.refresh_from_db()
            _report_failure(delivery)
            count += 1
    return count


def dismiss_held(held: Delivery, by: User | None) -> None:
    """held → skipped, with the same reason. Later parts that are held are skipped too, because half an answer would mislead."""
    now = timezone.now()
    rows = Delivery.objects.filter(message=held.message_id, target=held.target, part__gte=held.part, state=State.HELD)
    rows.update(state=State.SKIPPED, finished_at=now, dismissed_at=now, dismissed_by=by)


def update_skip_reason(delivery: Delivery, reason: str, route_id: int | None) -> None:
    """Store the present reason of a question that was replayed by itself and still goes to no agent."""
    Delivery.objects.filter(pk=delivery.pk).update(state=State.SKIPPED, reason=reason, route=route_id)


def requeue(delivery: Delivery, place: Mapping[str, Any]) -> int:
    """dead, uncertain or skipped → pending, at the end of its lane, with all its tries, its present text and its present route.

    place: the columns of its carrier and its time. Return how many: 0 where the state changed meanwhile, for example by a late
    proof that it had arrived, or somebody dismissed it.
    """
    as_read = Delivery.objects.filter(pk=delivery.pk, state=delivery.state, dismissed_at=delivery.dismissed_at)
    return as_read.update(
        **place,
        state=State.PENDING,
        reason="",
        code="",
        code_params={},
        gateway=delivery.gateway_id,
        route=delivery.route_id,
        payload=delivery.payload,
        fingerprint=delivery.fingerprint,
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


def change_payload(held: Delivery) -> None:
    """Store what a part that waits for the part before it says now."""
    rows = Delivery.objects.filter(pk=held.pk, state=State.HELD)
    rows.update(payload=held.payload, fingerprint=held.fingerprint)


def put_back(run_id: int) -> int:
    """pending or held → what it was before a run of replays queued it, where no attempt was made since. Return how many.

    In the caller's transaction, which has the lock of the run. The run's items say so too.
    """
    settle_sql.LOCK_QUEUED.fetch(run=run_id)
    return len(settle_sql.PUT_BACK.fetch(run=run_id))


def _leased_by_us(delivery: Delivery) -> Any:
    return Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder, state=State.SENDING)


def _cause_columns(cause: Cause) -> dict[str, Any]:
    return {"code": cause.code[:CODE_LENGTH], "code_params": redact_params(cause.params)}


def _outcome_of(failure: Failure) -> Outcome:
    return Outcome.UNKNOWN if failure.action == Action.UNKNOWN else Outcome.ERROR


def _close_attempt(attempt: Attempt, outcome: Outcome, cause: Cause, response: Any = None) -> None:
    fields = {**_cause_columns(cause), "response": redact(response or {})}
    Attempt.objects.filter(pk=attempt.pk).update(finished_at=timezone.now(), outcome=outcome, **fields)
    counters.add("attempts", target=attempt.delivery.target, outcome=str(outcome))


def _later_parts(delivery: Delivery) -> Any:
    if delivery.message is None:
        return Delivery.objects.none()
    return delivery.message.deliveries.filter(target=delivery.target, part__gt=delivery.part)


def _report_failure(delivery: Delivery) -> None:
    """Report a dead or uncertain delivery, and hold its later parts until staff replay it, because an answer with a gap would mislead."""
    events.queue_failure_event(delivery)
    _hold_parts(delivery, Reason.PART_BEFORE)


def _hold_parts(delivery: Delivery, reason: Reason) -> None:
    _later_parts(delivery).filter(state=State.PENDING).update(state=State.HELD, reason=reason)


def _release_parts(delivery: Delivery) -> None:
    """Release the later parts, because the part they waited for has arrived; in order, at the end of the lane."""
    for part in _later_parts(delivery).filter(state=State.HELD, reason=Reason.PART_BEFORE).order_by("part"):
        fields: dict[str, Any] = {"state": State.PENDING, "reason": "", "seq": next_seq, "due_at": timezone.now()}
        Delivery.objects.filter(pk=part.pk, state=State.HELD).update(**fields, queued_at=timezone.now())
