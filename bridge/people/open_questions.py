"""The columns of a conversation that say since when questions wait for staff, and how many: `waiting_since`, `waiting_count`.

A question waits that was given to no agent because the conversation is paused, staff answer it, or nobody is mapped to it. The router adds
to the columns in the statement that stores what it decided; so does a take-over for what the agent has not answered. An answer of the
agent's to a question that was replayed, and an answer of staff, here or in the platform's own client, end the wait; a question that is
dismissed waits no more, and the wait of a conversation that moves goes along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Count, F, Min
from django.db.models.functions import Least, Now

from bridge.models import Conversation, Delivery, Message, Reason, State, Target
from bridge.people import peers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

# Why a question waits for staff.
WAITING_REASONS = frozenset({Reason.PAUSED, Reason.HUMAN, Reason.NO_ROUTE, Reason.ROUTE_DISABLED})
NOTHING_WAITS = {"waiting_since": None, "waiting_count": 0}
# The messages that wait for that reason and that nobody has dismissed.
_SKIPPED: dict[str, Any] = {
    "deliveries__target": Target.AGENT,
    "deliveries__state": State.SKIPPED,
    "deliveries__reason__in": WAITING_REASONS,
    "deliveries__dismissed_at": None,
}


def note_waiting(conversation_id: int, times: Collection[datetime]) -> None:
    """Note that questions of these times wait, besides those that wait already."""
    since = Least("waiting_since", min(times))  # PostgreSQL leaves out what is null
    rows = Conversation.objects.filter(pk=conversation_id)
    rows.update(waiting_since=since, waiting_count=F("waiting_count") + len(times))


def note_dismissed(deliveries: Iterable[int]) -> None:
    """Count the questions of these deliveries no more, in the transaction that dismisses them.

    Their peers are locked first, as the router locks them before it writes to their conversations.
    """
    ids = list(deliveries)
    asked = Message.objects.filter(**_SKIPPED, deliveries__in=ids)
    waiting = asked.filter(conversation__waiting_since__lte=F("created_at")).exclude(kind="event").order_by()
    peer = ("conversation__account", "conversation__peer_kind", "conversation__peer_id")
    peers.lock_peers(*waiting.values_list(*peer).distinct())
    for pk, *found in waiting.values_list("conversation").annotate(Count("pk"), Min("created_at"), Min("pk")):
        _count_fewer(pk, *found, dismissed=ids)


def _count_fewer(conversation_id: int, count: int, since: datetime, first: int, *, dismissed: Collection[int]) -> None:
    """Count so many questions less. since, first: the time and the message of the oldest of them.

    Where nothing has waited longer than that one, the wait begins with the oldest question that is left.
    """
    rows = Conversation.objects.filter(pk=conversation_id)
    if not rows.filter(waiting_count__gt=count).update(waiting_count=F("waiting_count") - count):
        rows.update(**NOTHING_WAITS)
    elif rows.filter(waiting_since=since).exists():
        # By message_transcript: a minimum, because for the first of an order PostgreSQL may walk through other conversations.
        later = Message.objects.filter(conversation=conversation_id, pk__gt=first, **_SKIPPED).exclude(kind="event")
        gone = Delivery.objects.filter(pk__in=dismissed, target=Target.AGENT).values("message")
        oldest = later.exclude(pk__in=gone).aggregate(oldest=Min("created_at"))["oldest"]
        rows.update(waiting_since=oldest or since)  # none is left where the agent handed a question over


def move_wait(source: Conversation, target: int) -> None:
    """Let what waits in `source` wait in the conversation in which it goes on; in the transaction that has locked both."""
    if source.waiting_since is not None:
        since = Least("waiting_since", source.waiting_since)
        count = F("waiting_count") + source.waiting_count
        Conversation.objects.filter(pk=target).update(waiting_since=since, waiting_count=count)
        end_wait(source.pk)


def end_wait(conversation_id: int) -> None:
    """Note that no question of this conversation waits any more."""
    waiting = Conversation.objects.filter(pk=conversation_id, waiting_since__isnull=False)
    waiting.update(**NOTHING_WAITS)


def note_staff_answer(conversation_id: int) -> None:
    """Note that staff have answered: nothing waits, and the time until the agent answers again begins anew."""
    Conversation.objects.filter(pk=conversation_id).update(staff_active_at=Now(), **NOTHING_WAITS)
