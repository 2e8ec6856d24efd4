"""For tests of kinds with a connection: what was heard over it, and what became of what is said."""

from __future__ import annotations

from bridge.models import Delivery, Message, State
from bridge.pipeline.inbound import router
from tests.support.factories import eventually, row


def heard(count: int = 1) -> Message:
    """The newest message, when so many are stored, routed."""
    eventually(lambda: Message.objects.filter(direction="in").count() == count)
    router.route_waiting()
    return Message.objects.filter(direction="in").latest("pk")


def settled(delivery: Delivery) -> Delivery:
    eventually(lambda: row(delivery).state not in (State.PENDING, State.SENDING), seconds=40)
    return row(delivery)


def delivered(message: Message) -> list[Delivery]:
    """Its deliveries, when all have arrived."""
    found = [settled(delivery) for delivery in message.deliveries.order_by("part")]
    assert [delivery.state for delivery in found] == [State.DELIVERED] * len(found), [d.code for d in found]
    return found
