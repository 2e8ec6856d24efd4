"""A part of an answer given in an HTTP answer: to a poll of a stream, or to a callback."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction

from bridge import delivery as work
from bridge.models import Delivery, State, Wire

if TYPE_CHECKING:
    from bridge.models import Attempt
    from channels_wechat.messages import Answer

# A poll that finds its part in one of these states is given it, again if need be.
OFFERED = (State.SENDING, State.UNCERTAIN, State.DELIVERED)


class Given(NamedTuple):
    """part: the delivery to be confirmed when this was sent."""

    answer: Answer
    part: int | None = None


@transaction.atomic
def give(waiting: Delivery, via: str, **learned: Any) -> Delivery | None:
    """Claim and settle in one commit: who asks again is given the same again.

    learned: the fields of `delivery.Done`. None: its lane is not free yet, or somebody else was given it.
    """
    found = _begun(waiting, via)
    if found is None:
        return None
    delivery, attempt = found
    work.succeed(delivery, attempt, **learned)
    delivery.state = State.DELIVERED
    return delivery


@transaction.atomic
def offer(waiting: Delivery, via: str) -> Delivery | None:
    """Claim and begin in one commit; `confirm` settles it when it was sent. None: as in `give`.

    A platform that did not get it asks again, but not for ever: where the process or the database is lost until then, the sweep finds the
    open attempt, and the delivery becomes uncertain.
    """
    found = _begun(waiting, via)
    if found is None:
        return None
    found[0].state = State.SENDING
    return found[0]


def confirm(part: int) -> None:
    """What was offered was sent: sending or uncertain → delivered. Does nothing where somebody else settled it."""
    delivery = Delivery.objects.filter(pk=part, wire=Wire.VIEW, state__in=(State.SENDING, State.UNCERTAIN)).first()
    attempt = delivery and delivery.attempts.order_by("-number").first()
    if delivery and attempt:
        with contextlib.suppress(work.LostLease):
            work.succeed(delivery, attempt)


def _begun(waiting: Delivery, via: str) -> tuple[Delivery, Attempt] | None:
    claimed = work.claim(Wire.VIEW, _holder(), 1, only=waiting.pk)
    if not claimed:
        return None
    delivery = claimed[0]
    if delivery.pk != waiting.pk:
        raise ValueError("another delivery was claimed than the one that was asked for")
    return delivery, work.begin(delivery, {"via": via, **delivery.payload})


@cache
def _holder() -> str:
    return work.holder_name()
