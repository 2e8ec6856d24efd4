"""The types that claims, `settle` and their callers exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import Func, Value

from bridge.models import State
from channels_wechat.contract.explanations import NO_CAUSE, Action, Cause

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bridge.models import Attempt, Delivery, Message, Reason
    from channels_wechat.contract.messages import Answer

# A request is answered with its part in these states, also when it repeats an earlier request.
HTTP_REPLY_STATES = (State.SENDING, State.UNCERTAIN, State.DELIVERED)

next_seq = Func(Value("bridge_delivery_seq"), function="nextval")


class LostLease(Exception):
    """Another process has claimed this delivery; the result of our request is stored in the attempt only."""


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
    """The other side accepted the delivery. note: what it did not do; reason: a `Reason`, where it was not simply delivered.

    then: called in the transaction that settles it, unless the lease was lost.
    """

    delivery: Delivery
    attempt: Attempt
    remote_id: str = ""
    note: Cause = NO_CAUSE
    reason: str = ""
    response: Any = field(default_factory=dict)
    then: Callable[[], object] | None = None


class AfterSuccess(NamedTuple):
    """What follows a success. parts: whether later parts of the message were held for it; next: whether its lane has more work."""

    parts: bool
    next: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in the terms of the errors of platforms and gateways."""

    action: Action
    cause: Cause
    retry_after: float | None = None
    max_tries: int | None = None
    response: Any = field(default_factory=dict)
    reason: str = ""  # a more exact `Reason` than the action implies


def build_failure(reason: Reason) -> Failure:
    """Return the failure of a delivery that is not attempted at all."""
    return Failure(Action.PERMANENT, Cause(str(reason)), reason=reason)


@dataclass(frozen=True, slots=True)
class Skip:
    """The delivery is not sent, and nothing went wrong."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """The delivery cannot be sent, or not now. counts_try: the failure counts as a try although no attempt was opened."""

    failure: Failure
    counts_try: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """The delivery must wait. until: when the wait is checked again.

    before: called in the transaction that holds it; after: called when it is held.
    """

    reason: Reason
    cause: Cause = NO_CAUSE
    until: datetime | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Postpone:
    """The delivery is sent later, and no try is counted."""

    seconds: float
    cause: Cause = NO_CAUSE


# The outcome of a gate that stops a delivery.
GateOutcome = Skip | Fail | Hold | Postpone


class HttpReply(NamedTuple):
    """An HTTP reply to a callback. part: the delivery to be confirmed when the reply was sent."""

    answer: Answer
    part: int | None = None


def message_of(delivery: Delivery) -> Message:
    """Return the message of a delivery to a channel or an agent; only a webhook's delivery has none."""
    if delivery.message is None:
        raise ValueError("a delivery to a channel or an agent has a message")
    return delivery.message
