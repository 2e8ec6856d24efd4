"""Which turns of an agent are staff's, because they took the conversation over: its answer is not sent, and no text of it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import OuterRef, Q, Subquery

from bridge.models import Conversation, ConversationEntry

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from bridge.models import Delivery

Kind, Mode = ConversationEntry.Kind, Conversation.Mode
# By these the conversation becomes theirs.
TAKES = (Kind.TAKEN, Kind.ASSIGNED, Kind.CALLED, Kind.HANDED_OVER)


def select_staffed(turns: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Return the turns that are staff's: they answer the conversation, or paused it after they took it over while the turn ran.

    By the index entry_transcript: the entries since the turn was queued are few.
    """
    since = ConversationEntry.objects.filter(
        conversation=OuterRef("message__conversation"), created_at__gt=OuterRef("queued_at")
    )
    newest = since.filter(kind__in=(*TAKES, Kind.HANDED_BACK)).order_by("-created_at", "-id").values("kind")[:1]
    turns = turns.annotate(became=Subquery(newest))
    taken = Q(message__conversation__mode=Mode.PAUSED, became__in=TAKES)
    return turns.filter(Q(message__conversation__mode=Mode.HUMAN) | taken)
