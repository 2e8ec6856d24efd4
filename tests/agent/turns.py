"""What the tests of turns share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.models import Delivery, Message
from bridge.runtime.wakeups import publish
from openclaw.models import Gateway
from tests.support.factories import due, eventually, row, state

if TYPE_CHECKING:
    from openclaw.stub import RunningStub

OVER = ("delivered", "dead", "skipped", "uncertain")


def finished(delivery: Delivery, seconds: float = 15.0) -> Delivery:
    eventually(lambda: state(delivery) in OVER, seconds)
    return row(delivery)


def retry_until_finished(delivery: Delivery) -> Delivery:
    """As `finished`, where an attempt that failed is followed by the next at once."""

    def is_over() -> bool:
        due(delivery)
        publish.notify(publish.Topic.ASK)
        return state(delivery) in OVER

    eventually(is_over, 60, pause=0.05)
    return row(delivery)


def fresh(home: Gateway) -> Gateway:
    return Gateway.objects.get(pk=home.pk)


def answers(delivery: Delivery) -> list[str]:
    return list(Message.objects.filter(reply_to_id=delivery.message_id).order_by("pk").values_list("text", flat=True))


def ran(stub: RunningStub) -> list[tuple[str, int]]:
    """(key, how often) of each run, in order."""
    return [(run["key"], run["count"]) for run in stub.record]
