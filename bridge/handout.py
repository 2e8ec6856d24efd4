"""A part of an answer given in an HTTP answer: to a poll of a stream, or to a callback."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import transaction

from bridge import delivery as work
from bridge.models import State, Wire

if TYPE_CHECKING:
    from bridge.models import Delivery


@transaction.atomic
def give(waiting: Delivery, via: str, **learned: Any) -> Delivery | None:
    """Claim and settle in one commit: who asks again is given the same again, so a lost process leaves no doubt.

    learned: the fields of `delivery.Done`. None: its lane is not free yet, or somebody else was given it.
    """
    claimed = work.claim(Wire.VIEW, _holder(), 1, only=waiting.pk)
    if not claimed:
        return None
    delivery = claimed[0]
    if delivery.pk != waiting.pk:
        raise ValueError("another delivery was claimed than the one that was asked for")
    attempt = work.begin(delivery, {"via": via, **delivery.payload})
    work.succeed(delivery, attempt, **learned)
    delivery.state = State.DELIVERED
    return delivery


@cache
def _holder() -> str:
    return work.holder_name()
