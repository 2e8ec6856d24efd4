"""Tells a person that no agent answers: one sentence, only in a one-to-one chat, and only where the account can push messages.

Bots and accounts that answer in the reply to the callback say it there (`replies.streams`, `replies.passive`).
The words are in `channels_wechat.contract.sentences`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from accounts.channels import cached_by_id
from bridge.models import Conversation, Delivery, Message, Route, State
from bridge.pipeline.outbound import outbox
from bridge.pipeline.replies.paths import path_for

if TYPE_CHECKING:
    from channels_wechat.contract.channel import Channel


def notify_unmapped(message: Message, conversation: Conversation, channel: Channel) -> None:
    """Tell a person that nobody is mapped to them, at most once a day and not where staff answer; in the transaction of the routing.

    Only for an account that has mappings, but none for this person: an account without any serves staff and scripts, or is being set up.
    """
    if conversation.mode != Conversation.Mode.BOT or not _can_notify(message, channel):
        return
    key = f"unmapped:{conversation.pk}:{timezone.localdate():%Y-%m-%d}"
    sent = {"account": message.account_id, "direction": "out", "source": Message.Source.BRIDGE, "idempotency_key": key}
    already_sent = Message.objects.filter(**sent, client="").exists()
    if not already_sent and Route.objects.filter(account=message.account_id).exists():
        _send_notice(message, "unmapped", key)


def notify_failed(delivery: Delivery) -> None:
    """Tell a person, once for each question, that its turn has failed for good; in the transaction of the failure."""
    state = Delivery.objects.filter(pk=delivery.pk).values_list("state", flat=True).first()
    message = delivery.message
    if message is None or state not in (State.DEAD, State.UNCERTAIN):
        return
    if _can_notify(message, cached_by_id(message.account_id)[1]):
        _send_notice(message, "failed", f"failed:{message.pk}")


def _can_notify(message: Message, channel: Channel) -> bool:
    if message.peer_kind != "direct" or message.kind in ("event", "action"):
        return False
    return path_for(channel, message.account_id).can_push


def _send_notice(message: Message, sentence: str, key: str) -> None:
    outbox.send_answer(message, message.account.sentence(sentence), source=Message.Source.BRIDGE, key=key)
