"""The columns of a conversation that say since when questions wait for staff, and how many: `waiting_since`, `waiting_count`.

A question waits that was given to no agent because the conversation is paused, staff answer it, or nobody is mapped to it. The router adds
to the columns in the statement that stores what it decided; an answer of the agent's to a question that was replayed, and an answer of
staff, end the wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F
from django.db.models.functions import Least, Now

from bridge.models import Conversation, Reason

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

# Why a question waits for staff.
WAITING_REASONS = frozenset({Reason.PAUSED, Reason.HUMAN, Reason.NO_ROUTE, Reason.ROUTE_DISABLED})
NOTHING_WAITS = {"waiting_since": None, "waiting_count": 0}


def note_waiting(conversation_id: int, times: Collection[datetime]) -> None:
    """Note that questions of these times wait, besides those that wait already."""
    since = Least("waiting_since", min(times))  # PostgreSQL leaves out what is null
    rows = Conversation.objects.filter(pk=conversation_id)
    rows.update(waiting_since=since, waiting_count=F("waiting_count") + len(times))


def end_wait(conversation_id: int) -> None:
    """Note that no question of this conversation waits any more."""
    waiting = Conversation.objects.filter(pk=conversation_id, waiting_since__isnull=False)
    waiting.update(**NOTHING_WAITS)


def note_staff_answer(conversation_id: int) -> None:
    """Note that staff have answered: nothing waits, and the time until the agent answers again begins anew."""
    Conversation.objects.filter(pk=conversation_id).update(staff_active_at=Now(), **NOTHING_WAITS)
