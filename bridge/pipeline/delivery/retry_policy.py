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
    from datetime import datetime

    from bridge.models import Delivery
    from bridge.pipeline.delivery.types import Failure

# Seconds before the next attempt after a failure that certainly had no effect; the last one repeats until all tries are used.
RETRY_SECONDS = (2, 5, 15, 60, 120, 300, 600, 900)
MAX_TRIES = 20
# The outcomes of attempts whose request may have been carried out.
UNPROVEN_OUTCOMES = (Outcome.UNKNOWN, Outcome.INTERRUPTED)


class NextState(NamedTuple):
    """The next state of a delivery, for `settle` to write. columns: the other columns that change."""

    state: State
    columns: Mapping[str, Any]


def is_safe_to_retry(delivery: Delivery) -> bool:
    """Whether the request can be repeated. A turn is looked up by its key first; the platform drops a repetition until `dedup_until`.

    A webhook's receiver recognises a repetition by its id, and an alert that comes twice does no harm.
    """
    if delivery.target in (Target.AGENT, Target.WEBHOOK):
        return True
    return delivery.dedup_until is not None and delivery.dedup_until > timezone.now()


def may_have_arrived(ids: Iterable[int]) -> set[int]:
    """Return the deliveries to WeChat of which an earlier attempt may have been carried out, so that they may arrive twice."""
    unproven = Attempt.objects.filter(
        delivery__in=list(ids), outcome__in=UNPROVEN_OUTCOMES, delivery__target=Target.CHANNEL
    )
    return set(unproven.values_list("delivery_id", flat=True))


def is_expired(delivery: Delivery, since: datetime | None = None) -> bool:
    """Whether it is too old to be sent. Webhooks have a longer limit, because their receivers read the time in the event.

    since: what was queued before counts from then, because nothing could be sent.
    """
    max_age = settings.MAX_AGE_WEBHOOK if delivery.endpoint_id else settings.MAX_AGE_ANSWER
    limit = settings.MAX_AGE_QUESTION if delivery.target == Target.AGENT else max_age
    began = max(delivery.queued_at, since) if since else delivery.queued_at
    return bool((timezone.now() - began).total_seconds() > limit)


def is_repetition_visible(delivery: Delivery) -> bool:
    """Whether a person may read a repetition: an alert has no id by which its receiver could drop the second."""
    return delivery.target == Target.WEBHOOK and delivery.endpoint_id is None


def decide_next_state(delivery: Delivery, failure: Failure, *, began: bool) -> NextState:
    """Decide the state after this failure. began: an attempt was counted as a try."""
    now = timezone.now()
    uncounted = {"tries": F("tries") - 1} if began else {}  # a failure that is not the message's own counts no try
    if failure.action == Action.CONFIG:
        return NextState(State.PENDING, {"due_at": now, **uncounted, **_next_run_columns(delivery)})
    if failure.action == Action.WAIT:
        wait = timedelta(seconds=max(1.0, failure.retry_after or 60))
        return NextState(State.PENDING, {"due_at": now + wait, **uncounted, **_next_run_columns(delivery)})
    if failure.action == Action.READABLE:
        return NextState(State.PENDING, {**uncounted, **lanes.as_unread(delivery.message_id)})
    if failure.action == Action.PERMANENT:
        return _decide_dead_or_uncertain(delivery, failure.reason or Reason.PERMANENT)
    unknown = failure.action == Action.UNKNOWN
    if unknown and not is_safe_to_retry(delivery):
        return decide_uncertain()
    if delivery.tries >= (failure.max_tries or MAX_TRIES):
        return (
            decide_uncertain()
            if unknown and delivery.target == Target.CHANNEL
            else _decide_dead_or_uncertain(delivery, Reason.TRIES_SPENT)
        )
    # While the outcome is unknown the gateway's key stays the same, so that the gateway does not run the turn twice.
    run = {} if unknown else _next_run_columns(delivery)
    mark = {"possibly_twice": True} if unknown and is_repetition_visible(delivery) else {}
    return NextState(
        State.PENDING, {"due_at": now + _compute_backoff(delivery.tries, failure.retry_after), **run, **mark}
    )


def decide_uncertain() -> NextState:
    """Return the state of a delivery that may have been carried out."""
    return NextState(State.UNCERTAIN, {"reason": Reason.UNKNOWN, "finished_at": timezone.now()})


def _next_run_columns(delivery: Delivery) -> dict[str, Any]:
    return {"run_number": F("run_number") + 1} if delivery.target == Target.AGENT else {}


def _decide_dead_or_uncertain(delivery: Delivery, reason: str) -> NextState:
    """Return dead, but uncertain where an earlier attempt may have been carried out, however the last one failed."""
    if may_have_arrived([delivery.pk]):
        return decide_uncertain()
    return NextState(State.DEAD, {"reason": reason, "finished_at": timezone.now()})


def _compute_backoff(tries: int, retry_after: float | None) -> timedelta:
    """Return the time to wait, with jitter so that deliveries that failed together are not repeated together."""
    seconds = retry_after or RETRY_SECONDS[min(max(tries, 1), len(RETRY_SECONDS)) - 1]
    return timedelta(seconds=seconds * random.uniform(1.0, 1.2))  # noqa: S311  not a secret
