"""What a platform reports of what was said before: a message that did not arrive or was taken back, and who answers a conversation now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Case, F, Value, When
from django.utils import timezone

from bridge.models import Conversation, Delivery, Message, Reason, State, Target
from bridge.people import contact_requests, peers
from bridge.pipeline.agent import takeover
from bridge.pipeline.delivery import settle
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import ContactRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.pipeline.inbound.batch import RoutingContext


def apply_reports(case: RoutingContext, before: Sequence[tuple[RoutingContext, Delivery]]) -> None:
    """Apply what an event reports. before: the messages of the same batch, whose rows are not written yet."""
    if failed := case.facts.get("failed"):
        _fail_message(case.message, *failed)
    if key := case.facts.get("recalls"):
        _recall(case.message, key, before)
    if request := case.facts.get("request"):
        contact_requests.store_request(case.message.account_id, ContactRequest(*request))
    if (servicer := case.facts.get("servicer")) is not None:
        set_servicer(case.conversation, servicer)


@transaction.atomic
def set_servicer(conversation: Conversation, servicer: str) -> None:
    """Store who answers in the platform's own client. Meanwhile staff answer; afterwards the agent does, unless staff paused it.

    servicer: empty: nobody any more.
    """
    rows, mode = Conversation.objects.filter(pk=conversation.pk), Conversation.Mode
    if servicer:
        peers.lock_peer(conversation.account_id, conversation.peer_kind, conversation.peer_id)
        rows.update(servicer=servicer[:200], assignee=None, mode=_instead_of(mode.BOT, mode.HUMAN))
        takeover.keep_for_staff(conversation)
    else:
        rows.exclude(servicer="").update(servicer="", assignee=None, mode=_instead_of(mode.HUMAN, mode.BOT))
    conversation.refresh_from_db(fields=["servicer", "mode", "waiting_since"])


def _instead_of(old: Conversation.Mode, new: Conversation.Mode) -> Case:
    return Case(When(mode=old, then=Value(new)), default=F("mode"))


def _fail_message(report: Message, remote_id: str, code: str, params: dict[str, object]) -> None:
    sent = Delivery.objects.filter(account=report.account_id, remote_id=remote_id, target=Target.CHANNEL)
    settle.mark_undelivered(sent, Cause(code, params))


def _recall(report: Message, key: str, before: Sequence[tuple[RoutingContext, Delivery]]) -> None:
    """Mark the message that was taken back, and ask no agent about it any more."""
    inbound = Message.objects.filter(account=report.account_id, direction=Message.Direction.IN, client="")
    taken_back = inbound.filter(source=Message.Source.CHANNEL, idempotency_key=key).first()
    if taken_back is None:
        return
    report.reply_to = taken_back
    for case, delivery in before:
        if case.message.pk == taken_back.pk and delivery.state == State.PENDING:
            settle.set_final_state(delivery, State.SKIPPED, Reason.RECALLED)
    turns = Delivery.objects.filter(message=taken_back, target=Target.AGENT)
    turns.update(recalled_at=timezone.now())
    settle.cancel(turns, Reason.RECALLED)
