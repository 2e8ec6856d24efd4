"""The switch by which staff stop all sending of an account at once, while what comes is still received.

What is to be sent waits: claims leave it alone, no attempt is opened for what was claimed a moment before, and no sign or text is shown
that is not a delivery. When sending is allowed again it goes in its order.
"""

from __future__ import annotations

from django.db.models.functions import Now

from accounts.models import ChannelAccount
from bridge.models import Delivery, State, Target
from bridge.runtime.wakeups.publish import Topic, notify


def stop_sending(account: ChannelAccount) -> bool:
    """Return whether this stopped it; False where it was stopped already. No attempt is opened after this returns."""
    changed = ChannelAccount.objects.filter(pk=account.pk, sending_stopped_at=None).update(sending_stopped_at=Now())
    return _take_over(account, changed)


def allow_sending(account: ChannelAccount) -> bool:
    """Return whether this allowed it; False where it was allowed already. What waits is sent from now on."""
    stopped = ChannelAccount.objects.filter(pk=account.pk, sending_stopped_at__isnull=False)
    changed = stopped.update(sending_stopped_at=None)
    notify(Topic.SEND, Topic.SOCKET)
    return _take_over(account, changed)


def count_waiting(account: ChannelAccount) -> int:
    """Return how many deliveries wait to be sent by the account."""
    return Delivery.objects.filter(account=account, target=Target.CHANNEL, state=State.PENDING).count()


def _take_over(account: ChannelAccount, changed: int) -> bool:
    account.refresh_from_db(fields=["sending_stopped_at"])
    return bool(changed)
