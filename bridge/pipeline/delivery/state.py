"""The state machine of `Delivery`: claim, begin, settle, sweep. Every arrow of the drawing in `models/deliveries.py` is here.

A claim is conditional and a settle is fenced by the holder's name, so a process that lost its lease changes nothing any more.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F, Func, Value, prefetch_related_objects
from django.utils import timezone
from django.utils.encoding import force_str

from accounts import counters
from accounts.channels import cached_by_id
from bridge.models import Attempt, Carrier, Delivery, Outcome, Reason, State, Target
from bridge.pipeline.delivery import retry_policy, sql
from bridge.runtime.db.prepared import execute_prepared
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.security.redaction import redact, redact_text
from bridge.webhooks import events
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from bridge.models import Message
    from bridge.pipeline.delivery.retry_policy import Failure

# A dead process's work is given out again after this; a living one renews every RENEW_SECONDS.
LEASE_SECONDS = 30
RENEW_SECONDS = 10
SWEEP_BATCH = 500
# Who carries what; a stream's row that its view left behind is the worker's.
TOPIC_OF_CARRIER = {
    Carrier.WORKER: Topic.SEND,
    Carrier.HTTP_REPLY: Topic.SEND,
    Carrier.CONNECTOR: Topic.ASK,
    Carrier.WEBHOOK: Topic.HOOK,
}

next_seq = Func(Value("bridge_delivery_seq"), function="nextval")


class LostLease(Exception):
    """Somebody else has this delivery now; whatever came of ours is kept with the attempt only."""


class OpenAttempt(NamedTuple):
    """A request about to be sent. dedup_until: the platform drops repetitions until then.

    It is ignored if the same payload was sent in this lane after `dedup_unless_sent_since`.
    """

    delivery: Delivery
    request: Any
    dedup_until: datetime | None = None
    dedup_unless_sent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """The other side took it. note: what it did not do; reason: a `Reason`, where it was not simply delivered.

    then: called in the transaction that settles it, unless the lease was lost.
    """

    delivery: Delivery
    attempt: Attempt
    remote_id: str = ""
    note: str = ""
    reason: str = ""
    response: Any = field(default_factory=dict)
    then: Callable[[], object] | None = None


class AfterSuccess(NamedTuple):
    """What follows a delivered one. parts: some of its message were held for it; next: its lane goes on."""

    parts: bool
    next: bool


def holder_name() -> str:
    """Unique for each process that claims."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


def claim(
    carrier: Carrier,
    holder: str,
    limit: int,
    *,
    gateway_id: int | None = None,
    only: int | None = None,
    most: int | None = None,
) -> list[Delivery]:
    """Take the heads of idle lanes, many in one statement. A stream's row that no poll fetched in time is the worker's to take.

    The accounts with the least under way come first, and within an account the conversations take turns. only: this one delivery, due or
    not (a poll takes what waits for it). most: how many the holder carries at a time, of which one account leaves a part to others; a
    gateway's turns have this limit in its row.
    """
    carriers = [Carrier.WORKER, Carrier.HTTP_REPLY] if carrier == Carrier.WORKER else [carrier]
    values: dict[str, Any] = {
        "carriers": [str(w) for w in carriers],
        "carrier": str(carrier),
        "holder": holder,
        "lease": LEASE_SECONDS,
    }
    if only:
        rows = execute_prepared(sql.CLAIM_ONE, {**values, "only": only})
    else:
        first, last = (gateway_id, gateway_id) if gateway_id else (0, sql.LAST_ID)
        horizon = 2 * sql.AHEAD_SECONDS if carrier == Carrier.CONNECTOR else 0
        values |= {"limit": limit, "first": first, "last": last, "most": most, "horizon": horizon}
        rows = execute_prepared(sql.CLAIM, {**values, "ahead": sql.AHEAD})
    claimed = sorted(map(_read_claimed, rows), key=lambda row: row.due_at)
    if carrier == Carrier.WEBHOOK:
        prefetch_related_objects(claimed, "endpoint")
    return claimed


def _read_claimed(values: Sequence[Any]) -> Delivery:
    row = sql.ROW.read(values)
    if row is None:
        raise ValueError("a claim returns rows")
    row.message = sql.MESSAGE.read(values[len(sql.ROW.fields) :])
    if row.account_id:
        row.account = cached_by_id(row.account_id)[0]
        row.account.state = values[-1]
    if row.message and row.account:
        row.message.account = row.account
    return row


def message_of(delivery: Delivery) -> Message:
    """Only a webhook's has none."""
    if delivery.message is None:
        raise ValueError("a delivery to a channel or an agent has a message")
    return delivery.message


def renew(holder: str, ids: Iterable[int]) -> int:
    """Prolong the leases of what this holder is still at work on; what it dropped runs out. Returns how many it still has."""
    lease = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    return Delivery.objects.filter(pk__in=list(ids), holder=holder, state=State.SENDING).update(lease_until=lease)


def open_attempt(delivery: Delivery, request: Any, **more: Any) -> Attempt:
    """Commit the open attempt; the request may leave when this returns. more: the other fields of `Asked`. Raises LostLease."""
    attempt = open_attempts([OpenAttempt(delivery, request, **more)])[0]
    if attempt is None:
        raise LostLease(delivery.pk)
    return attempt


def open_attempts(asked: Sequence[OpenAttempt]) -> list[Attempt | None]:
    """The same for several, in one statement. None: its lease was lost."""
    now, requests = timezone.now(), [redact(one.request) for one in asked]
    values = {"rows": _json([_attempt_row(*one) for one in zip(asked, requests, strict=True)]), "now": now}
    opened = {pk: opened for pk, *opened in execute_prepared(sql.BEGIN, values)}
    attempts: list[Attempt | None] = []
    for one, request in zip(asked, requests, strict=True):
        pk, number, one.delivery.dedup_until = opened.get(one.delivery.pk, (0, 0, None))
        one.delivery.tries += bool(pk)
        attempt = Attempt(pk=pk, delivery=one.delivery, number=number, started_at=now, request=request)
        attempts.append(attempt if pk else None)
    return attempts


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
    """sending → delivered; also uncertain → delivered when the proof comes after the lease was over. learned: the fields of `Done`.

    Raises LostLease; the attempt keeps what was learned.
    """
    if mark_all_delivered([Success(delivery, attempt, **learned)])[0] is None:
        raise LostLease(delivery.pk)


def mark_all_delivered(ended: Sequence[Success]) -> list[AfterSuccess | None]:
    """The same for several, in one commit. None: its lease was lost."""
    values = {"rows": _json([_success_row(done) for done in ended]), "now": timezone.now()}
    with transaction.atomic():
        settled = {pk: AfterSuccess(*after) for pk, *after in execute_prepared(sql.SUCCEED, values)}
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
        "reason": done.reason or (Reason.PARTIAL if done.note else ""),
        "note": clean(done.note),
        "response": redact(done.response or {}),
    }


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False)


def fail(
    delivery: Delivery, attempt: Attempt | None, failure: Failure, then: Callable[[], object] | None = None
) -> None:
    """sending → pending (again, later), dead or uncertain. then: as in `Done`. Raises LostLease."""
    outcome = Outcome.UNKNOWN if failure.action == "unknown" else Outcome.ERROR
    fields = {
        **retry_policy.next_state(delivery, failure, began=attempt is not None),
        "error": redact_text(failure.text),
        "lease_until": None,
    }
    with transaction.atomic():
        if attempt:
            _close(attempt, outcome, code=failure.code, error=failure.text, response=failure.response)
        changed = _leased_by_us(delivery).update(**fields)
        if changed and fields["state"] in (State.DEAD, State.UNCERTAIN):
            _on_failure(delivery)
        if changed and then:
            then()
    _check_lease(delivery, changed)


def skip(delivery: Delivery, attempt: Attempt | None, reason: Reason) -> None:
    """sending → skipped: broken off by /stop. Raises LostLease."""
    with transaction.atomic():
        if attempt:
            _close(attempt, Outcome.ERROR, code=str(reason), error=force_str(reason.label))
        fields = {"state": State.SKIPPED, "reason": reason, "finished_at": timezone.now(), "lease_until": None}
        changed = _leased_by_us(delivery).update(**fields)
    _check_lease(delivery, changed)


def hold(
    delivery: Delivery,
    reason: Reason,
    text: str = "",
    *,
    attempt: Attempt | None = None,
    failure: Failure | None = None,
    until: datetime | None = None,
) -> None:
    """sending → held: it may not go now, which is no fault of its own, so no try is burned. Its later parts wait with it.

    failure: what closes the attempt; until: when whoever waits for something looks again. Raises LostLease.
    """
    fields: dict[str, Any] = {"state": State.HELD, "reason": reason, "error": redact_text(text), "lease_until": None}
    fields |= ({"tries": F("tries") - 1} if attempt else {}) | ({"due_at": until} if until else {})
    with transaction.atomic():
        if attempt:
            code, response = (failure.code, failure.response) if failure else (str(reason), None)
            _close(attempt, Outcome.ERROR, code=code, error=text, response=response)
        changed = _leased_by_us(delivery).update(**fields)
        if changed:  # what waits for a window goes on all at once, so that it keeps its place in the lane
            _hold_parts(delivery, reason if reason == Reason.WINDOW else Reason.PART_BEFORE)
    _check_lease(delivery, changed)


def postpone(delivery: Delivery, seconds: float, text: str) -> None:
    """sending → pending without a try burned: nothing was asked of the other side."""
    due_at = timezone.now() + timedelta(seconds=seconds)
    _leased_by_us(delivery).update(state=State.PENDING, due_at=due_at, lease_until=None, error=text)


def _check_lease(delivery: Delivery, changed: int) -> None:
    if not changed:
        raise LostLease(delivery.pk)
    _wake_next(delivery)


def _wake_next(delivery: Delivery) -> None:
    """The lane is free. Whoever carried this looks at once for what comes next; only a poll's parts may go on by another's carrier."""
    if delivery.carrier == Carrier.HTTP_REPLY:
        transaction.on_commit(lambda: notify(Topic.SEND))


def is_expired(delivery: Delivery) -> bool:
    """A webhook's endpoint is a machine that reads the event's own time, so it may hear of it later than a person should."""
    told = settings.MAX_AGE_WEBHOOK if delivery.endpoint_id else settings.MAX_AGE_ANSWER
    limit = settings.MAX_AGE_QUESTION if delivery.target == Target.AGENT else told
    return bool((timezone.now() - delivery.queued_at).total_seconds() > limit)


def sweep() -> int:
    """Take back what lost processes held. Returns how many."""
    with transaction.atomic():
        over = Delivery.objects.filter(state=State.SENDING, lease_until__lt=timezone.now())
        rows = list(over.select_for_update(skip_locked=True)[:SWEEP_BATCH])
        for delivery in rows:
            _recover_expired(delivery)
    return len(rows)


def release_all(holder: str) -> None:
    """A holder that ends in order gives back all it has, as the sweep would after its lease."""
    with transaction.atomic():
        for delivery in Delivery.objects.filter(holder=holder, state=State.SENDING).select_for_update():
            _recover_expired(delivery)


def _recover_expired(delivery: Delivery) -> None:
    """Without an open attempt nothing had left. With one, only a provably safe repetition is tried again."""
    now = timezone.now()
    left = delivery.attempts.filter(finished_at=None).update(
        finished_at=now, outcome=Outcome.INTERRUPTED, error="the process that sent this was lost"
    )
    if left:
        counters.add("attempts", left, target=delivery.target, outcome=str(Outcome.INTERRUPTED))
    if not left or retry_policy.is_safe_to_retry(delivery):
        mark = {"possibly_twice": True} if left and retry_policy.is_repetition_visible(delivery) else {}
        fields: dict[str, Any] = {"state": State.PENDING, "due_at": now, **mark}
    else:
        fields = retry_policy.uncertain()
    _leased_by_us(delivery).update(**fields, lease_until=None)
    if fields["state"] == State.UNCERTAIN:
        _on_failure(delivery)


def _leased_by_us(delivery: Delivery) -> Any:
    return Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder, state=State.SENDING)


def _close(attempt: Attempt, outcome: Outcome, *, code: str = "", error: str = "", response: Any = None) -> None:
    fields = {"code": code[:64], "error": redact_text(error), "response": redact(response or {})}
    Attempt.objects.filter(pk=attempt.pk).update(finished_at=timezone.now(), outcome=outcome, **fields)
    counters.add("attempts", target=attempt.delivery.target, outcome=str(outcome))


def _later_parts(delivery: Delivery) -> Any:
    if delivery.message is None:
        return Delivery.objects.none()
    return delivery.message.deliveries.filter(target=delivery.target, part__gt=delivery.part)


def _on_failure(delivery: Delivery) -> None:
    """Dead or uncertain. Half an answer after a gap would mislead: the later parts wait for somebody to replay this one."""
    events.failed(delivery)
    _hold_parts(delivery, Reason.PART_BEFORE)


def _hold_parts(delivery: Delivery, reason: Reason) -> None:
    _later_parts(delivery).filter(state=State.PENDING).update(state=State.HELD, reason=reason)


def _release_parts(delivery: Delivery) -> None:
    """The part they waited for is there: they follow it, in order, at the tail of the lane."""
    for part in _later_parts(delivery).filter(state=State.HELD, reason=Reason.PART_BEFORE).order_by("part"):
        fields: dict[str, Any] = {"state": State.PENDING, "reason": "", "seq": next_seq, "due_at": timezone.now()}
        Delivery.objects.filter(pk=part.pk, state=State.HELD).update(**fields, queued_at=timezone.now())


def due_topics() -> Sequence[Topic]:
    """For the sweep: whom to ring because work is due."""
    due = Delivery.objects.filter(state=State.PENDING, due_at__lte=timezone.now())
    return list(dict.fromkeys(TOPIC_OF_CARRIER[carrier] for carrier in Carrier if due.filter(carrier=carrier).exists()))
