"""Finds questions that no agent was asked: of conversations that are paused or that staff answer, and of chats without a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import OuterRef, Subquery

from bridge.models import Conversation, Delivery, Message, Reason, State, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

# So many are offered for a replay at once.
OFFERED = 200


def unanswered(conversation: Conversation) -> list[int]:
    """Return deliveries of messages that came while it was paused or staff answered, oldest first, without those answered since."""
    answers = Message.objects.filter(conversation=conversation, direction="out")
    answers = answers.filter(source__in=(Message.Source.AGENT, Message.Source.STAFF))
    last = answers.order_by("-id").values_list("pk", flat=True).first() or 0
    rows = Delivery.objects.filter(message__conversation=conversation, message__gt=last, target=Target.AGENT)
    rows = rows.filter(state=State.SKIPPED, reason__in=(Reason.PAUSED, Reason.HUMAN), dismissed_at=None)
    return list(rows.order_by("id").values_list("pk", flat=True)[:OFFERED])


def last_outcomes(conversations: Iterable[Conversation]) -> dict[int, str]:
    """Return conversation → why its newest message went to no agent, without conversations whose newest message did."""
    newest = Message.objects.filter(conversation=OuterRef("pk"), direction="in").exclude(kind="event").order_by("-id")
    found = Conversation.objects.filter(pk__in=[row.pk for row in conversations]).order_by()
    messages = dict(found.annotate(newest=Subquery(newest.values("pk")[:1])).values_list("newest", "pk"))
    rows = Delivery.objects.filter(message__in=[pk for pk in messages if pk], target=Target.AGENT, state=State.SKIPPED)
    return {messages[message]: reason for message, reason in rows.order_by().values_list("message", "reason")}
