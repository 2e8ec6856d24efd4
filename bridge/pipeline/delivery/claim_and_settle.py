"""A part of an answer given in an HTTP answer: to a poll of a stream, or to a callback."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction

from bridge.models import Carrier, Delivery, State
from bridge.pipeline.delivery import state as work
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from channels_wechat.contract.messages import Answer

# A request that finds its part in one of these states is given it, again if need be.
OFFERED_STATES = (State.SENDING, State.UNCERTAIN, State.DELIVERED)


class HttpReply(NamedTuple):
    """part: the delivery to be confirmed when this was sent."""

    answer: Answer
    part: int | None = None


@transaction.atomic
def offer(waiting: Delivery, via: str, remote_id: str = "") -> Delivery | None:
    """Claim and begin in one commit; `confirm` settles it when it was sent.

    A platform that did not get it asks again, but not for ever: where the process or the database is lost until then, the sweep finds the
    open attempt, and the delivery becomes uncertain. remote_id: of the request that is answered, by which its repetitions find this part.
    None: its lane is not free yet, or somebody else was given it.
    """
    claimed = work.claim(Carrier.HTTP_REPLY, _holder(), 1, only=waiting.pk)
    if not claimed:
        return None
    delivery = claimed[0]
    if delivery.pk != waiting.pk:
        raise ValueError("another delivery was claimed than the one that was asked for")
    work.open_attempt(delivery, {"via": via, **delivery.payload})
    if remote_id:
        Delivery.objects.filter(pk=delivery.pk).update(remote_id=clean(remote_id)[:200])
    delivery.state = State.SENDING
    return delivery


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
        with contextlib.suppress(work.LostLease):
            work.mark_delivered(delivery, attempt, remote_id=delivery.remote_id)


@cache
def _holder() -> str:
    return work.holder_name()
