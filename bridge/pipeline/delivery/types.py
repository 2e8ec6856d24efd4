"""What claims, `settle` and their callers hand each other, and what is true of every delivery."""

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

# A request that finds its part in one of these states is given it, again if need be.
OFFERED_STATES = (State.SENDING, State.UNCERTAIN, State.DELIVERED)

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
    note: Cause = NO_CAUSE
    reason: str = ""
    response: Any = field(default_factory=dict)
    then: Callable[[], object] | None = None


class AfterSuccess(NamedTuple):
    """What follows a delivered one. parts: some of its message were held for it; next: its lane goes on."""

    parts: bool
    next: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in the terms of the two wires' errors."""

    action: Action
    cause: Cause
    retry_after: float | None = None
    max_tries: int | None = None
    response: Any = field(default_factory=dict)
    reason: str = ""  # a more exact `Reason` than the action implies


def failure_for(reason: Reason) -> Failure:
    """For what we do not even try."""
    return Failure(Action.PERMANENT, Cause(str(reason)), reason=reason)


@dataclass(frozen=True, slots=True)
class Skip:
    """It is not sent, and nothing went wrong."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """It cannot be sent as it is, or not now. counts_try: what failed burns a try although no attempt was opened."""

    failure: Failure
    counts_try: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """It waits for somebody. until: when whoever waits for something looks again.

    before: called in the transaction that holds it; after: called when it is held.
    """

    reason: Reason
    cause: Cause = NO_CAUSE
    until: datetime | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Postpone:
    """It is sent later, and burns no try."""

    seconds: float
    cause: Cause = NO_CAUSE


# What a gate says of a delivery that it does not let pass.
GateOutcome = Skip | Fail | Hold | Postpone


class HttpReply(NamedTuple):
    """part: the delivery to be confirmed when this was sent."""

    answer: Answer
    part: int | None = None


def message_of(delivery: Delivery) -> Message:
    """Only a webhook's has none."""
    if delivery.message is None:
        raise ValueError("a delivery to a channel or an agent has a message")
    return delivery.message
