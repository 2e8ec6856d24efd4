"""The retry table: what becomes of a delivery after a failure."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from bridge.models import Attempt, Outcome, Reason, State, Target
from bridge.pipeline.delivery import lanes
from channels_wechat.contract.explanations import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.models import Delivery
    from bridge.pipeline.delivery.types import Failure

# Seconds before the next attempt of something that definitely did not happen; the last one repeats until the try count is spent.
RETRY_SECONDS = (2, 5, 15, 60, 120, 300, 600, 900)
MAX_TRIES = 20
# How an attempt ends whose request may have been carried out.
UNPROVEN_OUTCOMES = (Outcome.UNKNOWN, Outcome.INTERRUPTED)


class NextState(NamedTuple):
    """What becomes of a delivery, for `settle` to write. columns: what changes with its state."""

    state: State
    columns: Mapping[str, Any]


def is_safe_to_retry(delivery: Delivery) -> bool:
    """An agent's turn is looked up by its key before it is asked again; the platform swallows a repetition until `dedup_until`.

    A webhook's receiver knows a repetition by its id, and an alert told twice does no harm.
    """
    if delivery.target in (Target.AGENT, Target.WEBHOOK):
        return True
    return delivery.dedup_until is not None and delivery.dedup_until > timezone.now()


def may_have_arrived(ids: Iterable[int]) -> set[int]:
    """Return those deliveries to WeChat of which an earlier attempt may have been carried out: sent again, they may arrive twice."""
    unproven = Attempt.objects.filter(
        delivery__in=list(ids), outcome__in=UNPROVEN_OUTCOMES, delivery__target=Target.CHANNEL
    )
    return set(unproven.values_list("delivery_id", flat=True))


def is_expired(delivery: Delivery) -> bool:
    """A webhook's endpoint is a machine that reads the event's own time, so it may hear of it later than a person should."""
    told = settings.MAX_AGE_WEBHOOK if delivery.endpoint_id else settings.MAX_AGE_ANSWER
    limit = settings.MAX_AGE_QUESTION if delivery.target == Target.AGENT else told
    return bool((timezone.now() - delivery.queued_at).total_seconds() > limit)


def would_repetition_be_seen(delivery: Delivery) -> bool:
    """Whether an automatic repetition may be read twice: an alert has no id by which its receiver could drop the second."""
    return delivery.target == Target.WEBHOOK and delivery.endpoint_id is None


def next_state(delivery: Delivery, failure: Failure, *, began: bool) -> NextState:
    """Decide what becomes of it after this failure. began: an attempt was counted as a try."""
    now = timezone.now()
    given_back = {"tries": F("tries") - 1} if began else {}  # what was not the message's fault burns no try
    if failure.action == Action.CONFIG:
        return NextState(State.PENDING, {"due_at": now, **given_back, **_next_run(delivery)})
    if failure.action == Action.WAIT:
        wait = timedelta(seconds=max(1.0, failure.retry_after or 60))
        return NextState(State.PENDING, {"due_at": now + wait, **given_back, **_next_run(delivery)})
    if failure.action == Action.READABLE:
        return NextState(State.PENDING, {**given_back, **lanes.as_unread(delivery.message_id)})
    if failure.action == Action.PERMANENT:
        return _dead_or_uncertain(delivery, failure.reason or Reason.PERMANENT)
    unknown = failure.action == Action.UNKNOWN
    if unknown and not is_safe_to_retry(delivery):
        return uncertain()
    if delivery.tries >= (failure.max_tries or MAX_TRIES):
        return (
            uncertain()
            if unknown and delivery.target == Target.CHANNEL
            else _dead_or_uncertain(delivery, Reason.TRIES_SPENT)
        )
    # While the outcome is unknown the gateway's key stays: it is the proof that nothing was asked twice.
    run = {} if unknown else _next_run(delivery)
    mark = {"possibly_twice": True} if unknown and would_repetition_be_seen(delivery) else {}
    return NextState(State.PENDING, {"due_at": now + _backoff(delivery.tries, failure.retry_after), **run, **mark})


def uncertain() -> NextState:
    """Of a delivery that may have been carried out."""
    return NextState(State.UNCERTAIN, {"reason": Reason.UNKNOWN, "finished_at": timezone.now()})


def _next_run(delivery: Delivery) -> dict[str, Any]:
    return {"run_number": F("run_number") + 1} if delivery.target == Target.AGENT else {}


def _dead_or_uncertain(delivery: Delivery, reason: str) -> NextState:
    """Dead; but uncertain where an earlier attempt may have been carried out, whatever the last one met."""
    if may_have_arrived([delivery.pk]):
        return uncertain()
    return NextState(State.DEAD, {"reason": reason, "finished_at": timezone.now()})


def _backoff(tries: int, retry_after: float | None) -> timedelta:
    """Jitter keeps what failed together from coming back together."""
    seconds = retry_after or RETRY_SECONDS[min(max(tries, 1), len(RETRY_SECONDS)) - 1]
    return timedelta(seconds=seconds * random.uniform(1.0, 1.2))  # noqa: S311  not a secret
