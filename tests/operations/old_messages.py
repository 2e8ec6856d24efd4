"""Messages that are old enough to go."""

from __future__ import annotations

import math
from datetime import timedelta

from django.utils import timezone

from bridge.models import Delivery, Message, State
from bridge.operations import retention

DAYS = 30


def age(message: Message, days: float = DAYS + 1) -> Message:
    """Let its deliveries end, and time pass."""
    then = timezone.now() - timedelta(days=days)
    Message.objects.filter(pk=message.pk).update(created_at=then, routed_at=then)
    rows = Delivery.objects.filter(message=message, state=State.PENDING)
    rows.update(state=State.DELIVERED, finished_at=then)
    return message


def prune() -> int:
    return retention.prune(math.inf).messages


def left() -> int:
    return Message.objects.count()
