"""Finds questions that no agent was asked: of conversations that are paused or that staff answer, and of chats without a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import OuterRef, Subquery

from bridge.models import Conversation, Delivery, Message, Reason, State, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

# Staff can replay at most so many questions at once.
MAX_OFFERED = 200


def find_unanswered(conversation: Conversation) -> list[int]:
    """Return the deliveries of messages that came while it was paused or staff answered, oldest first, without those answered since."""
    answers = Message.objects.filter(conversation=conversation, direction="out")
    answers = answers.filter(source__in=(Message.Source.AGENT, Message.Source.STAFF))
    last = answers.order_by("-id").values_list("pk", flat=True).first() or 0
    rows = Delivery.objects.filter(message__conversation=conversation, message__gt=last, target=Target.AGENT)
    rows = rows.filter(state=State.SKIPPED, reason__in=(Reason.PAUSED, Reason.HUMAN), dismissed_at=None)
    return list(rows.order_by("id").values_list("pk", flat=True)[:MAX_OFFERED])


def find_skip_reasons(conversations: Iterable[Conversation]) -> dict[int, str]:
    """Return conversation → reason for which its newest message went to no agent; conversations whose newest message did are left out."""
    newest = Message.objects.filter(conversation=OuterRef("pk"), direction="in").exclude(kind="event").order_by("-id")
    chosen = Conversation.objects.filter(pk__in=[row.pk for row in conversations]).order_by()
    messages = dict(chosen.annotate(newest=Subquery(newest.values("pk")[:1])).values_list("newest", "pk"))
    rows = Delivery.objects.filter(message__in=[pk for pk in messages if pk], target=Target.AGENT, state=State.SKIPPED)
    return {messages[message]: reason for message, reason in rows.order_by().values_list("message", "reason")}
