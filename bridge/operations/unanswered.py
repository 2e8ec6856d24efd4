"""Finds questions that no agent was asked: of conversations that are paused or that staff answer, and of chats without a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Case, F, OuterRef, Subquery, When
from django.db.models.functions import Coalesce

from bridge.models import Conversation, Delivery, Message, Reason, State, Target
from bridge.pipeline.delivery.lanes import lane_of_turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet


def select_unanswered(conversation: Conversation) -> QuerySet[Delivery]:
    """Return the deliveries of messages that came while it was paused or staff answered, oldest first, without those answered since.

    By the index delivery_unanswered: there can be many of a group that was paused for months.
    """
    last = _find_last_answered(conversation.pk)
    rows = Delivery.objects.filter(lane=lane_of_turns(conversation.pk), message__gt=last, target=Target.AGENT)
    rows = rows.filter(state=State.SKIPPED, reason__in=(Reason.PAUSED, Reason.HUMAN), dismissed_at=None)
    return rows.order_by("id")


def _find_last_answered(conversation: int) -> int:
    """Return the id of the message up to which all is answered; 0: nothing is. `unanswered_sql` finds the same for many, in SQL.

    An agent answers its question and what came before it, not what came while it wrote; staff, and whoever writes in the platform's own
    client, answer what they see. Messages of staff are looked for behind the agent's question alone: no older ones are read.
    """
    said = Message.objects.filter(conversation=conversation, direction="out").order_by("-id")
    up_to = Case(When(source=Message.Source.AGENT, then=Coalesce("reply_to_id", "pk")), default=F("pk"))
    by_both = said.filter(source__in=(Message.Source.AGENT, Message.Source.STAFF))
    last: int = by_both.values_list(up_to, flat=True).first() or 0
    by_staff = said.filter(source=Message.Source.STAFF, pk__gt=last).values_list("pk", flat=True)
    own = Delivery.objects.filter(lane=lane_of_turns(conversation), reason=Reason.OWN, message__gt=last)
    newest = own.order_by("-message_id").values_list("message_id", flat=True)
    return max(last, (last and by_staff.first()) or 0, newest.first() or 0)


def find_unanswered(conversation: Conversation, most: int | None = None) -> list[int]:
    """Return the ids of all of them, or of the newest so many; oldest first."""
    newest_first = select_unanswered(conversation).order_by("-id").values_list("pk", flat=True)
    return list(newest_first[:most])[::-1]


def find_skip_reasons(conversations: Iterable[Conversation]) -> dict[int, str]:
    """Return conversation → reason for which its newest message went to no agent; conversations whose newest message did are left out."""
    newest = Message.objects.filter(conversation=OuterRef("pk"), direction="in").exclude(kind="event").order_by("-id")
    chosen = Conversation.objects.filter(pk__in=[row.pk for row in conversations]).order_by()
    messages = dict(chosen.annotate(newest=Subquery(newest.values("pk")[:1])).values_list("newest", "pk"))
    rows = Delivery.objects.filter(message__in=[pk for pk in messages if pk], target=Target.AGENT, state=State.SKIPPED)
    return {messages[message]: reason for message, reason in rows.order_by().values_list("message", "reason")}
