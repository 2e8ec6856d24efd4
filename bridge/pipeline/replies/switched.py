"""Moves what waits for a way that its account has no more, because staff chose another mode of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from accounts.channels import build_channel
from accounts.models import ChannelAccount
from bridge.models import Carrier, Delivery, State, Target
from bridge.pipeline.replies.paths import path_for
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

# How many deliveries of one account are moved at a time; the next sweep goes on.
BATCH = 200


def move_waiting() -> int:
    """Give each such delivery a carrier of its account's present mode. Return how many.

    What the present mode cannot send goes to the worker, which fails it with the reason.
    """
    return sum(_move(account) for account in _find_accounts())


def _find_accounts() -> Iterable[ChannelAccount]:
    """Return the accounts of kinds with modes for which something waits."""
    kinds = [kind for kind in KINDS if len(channel_class(kind).modes()) > 1]
    waiting = _waiting().filter(account__kind__in=kinds).values("account")
    return ChannelAccount.objects.filter(pk__in=waiting)


def _waiting() -> QuerySet[Delivery]:
    return Delivery.objects.filter(target=Target.CHANNEL, state__in=(State.PENDING, State.HELD))


def _move(account: ChannelAccount) -> int:
    channel = build_channel(account)
    path = path_for(channel, account.pk)
    of_connection = Q(carrier=Carrier.SOCKET)
    others = _waiting().filter(~of_connection if isinstance(channel, Connection) else of_connection, account=account)
    moved = 0
    for delivery in others.select_related("message__reply_to").order_by("seq")[:BATCH]:
        columns = path.requeue(delivery)
        if path.carrier_for(delivery) is None:
            columns["carrier"] = Carrier.WORKER
        unchanged = Delivery.objects.filter(pk=delivery.pk, state=delivery.state, carrier=delivery.carrier)
        moved += unchanged.update(**columns)
    return moved
