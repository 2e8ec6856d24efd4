"""Stops turns that are under way: marks their rows and notifies the connector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from bridge.models import Delivery, State, Target
from bridge.pipeline.delivery.lanes import lane_of_turns
from bridge.runtime.wakeups.publish import publish

if TYPE_CHECKING:
    from django.db.models import QuerySet

# Where the connector hears of it: the ids of the deliveries, with commas.
STOP_CHANNEL = "stop"


def unfinished_turns(conversation_id: int) -> QuerySet[Delivery]:
    """Return the turns of a conversation that an agent was asked: they are under way, or wait to be asked again."""
    asked = Q(state=State.SENDING) | Q(state=State.PENDING) & (Q(tries__gt=0) | Q(run_number__gt=0))
    return Delivery.objects.filter(asked, target=Target.AGENT, lane=lane_of_turns(conversation_id))


def stop_turns(turns: QuerySet[Delivery]) -> int:
    """Mark these turns as stopped and notify the connector when that is committed. Return how many there are."""
    ids = list(turns.values_list("pk", flat=True))
    stopped = Delivery.objects.filter(pk__in=ids, state__in=(State.SENDING, State.PENDING))
    if not ids or not stopped.update(stopped_at=timezone.now()):
        return 0
    transaction.on_commit(lambda: publish(STOP_CHANNEL, ",".join(map(str, ids))))
    return len(ids)


def stopped_turns(ids: set[int]) -> set[int]:
    """Return those of these deliveries that somebody stopped."""
    rows = Delivery.objects.filter(pk__in=ids, stopped_at__isnull=False)
    return set(rows.values_list("pk", flat=True))
