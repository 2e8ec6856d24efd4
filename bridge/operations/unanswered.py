"""Finds questions that no agent was asked: of conversations that are paused or that staff answer, and of chats without a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import OuterRef, Subquery

from bridge.models import Conversation, Delivery, Message, Reason, State, Target
from bridge.pipeline.agent.takeover import find_last_answer
from bridge.pipeline.delivery.lanes import lane_of_turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet


def select_unanswered(conversation: Conversation) -> QuerySet[Delivery]:
    """Return the deliveries of messages that came while it was paused or staff answered, oldest first, without those answered since.

    By the index delivery_unanswered: there can be many of a group that was paused for months.
    """
    last = find_last_answer(conversation.pk, Message.Source.AGENT, Message.Source.STAFF)
    rows = Delivery.objects.filter(lane=lane_of_turns(conversation.pk), message__gt=last, target=Target.AGENT)
    rows = rows.filter(state=State.SKIPPED, reason__in=(Reason.PAUSED, Reason.HUMAN), dismissed_at=None)
    return rows.order_by("id")


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
