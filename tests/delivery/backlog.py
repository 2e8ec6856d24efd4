"""Accounts that share a gateway, and their claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.models import Carrier, Delivery
from bridge.pipeline.delivery import settle
from bridge.pipeline.inbound import router
from tests.support.factories import app, claim, gateway, hear, official, route

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.models import Gateway


def two_accounts(most: int = 8, **columns: Any) -> tuple[ChannelAccount, ChannelAccount, Gateway]:
    """A public account and another one, mapped to one gateway."""
    home = gateway(max_in_flight=most)
    public, other = official(columns=columns), app()
    route(public, home)
    route(other, home)
    return public, other, home


def asked(account: ChannelAccount, *people: str) -> list[Delivery]:
    """A question of each, routed together, as a flood comes in."""
    messages = [hear(account, "?", person) for person in people]
    router.route_waiting()
    return [message.deliveries.get() for message in messages]


def strangers(count: int) -> list[str]:
    return [f"o{number}" for number in range(count)]


def take(home: Gateway, limit: int = 100, holder: str = "me") -> list[Delivery]:
    return claim(Carrier.CONNECTOR, holder, limit, gateway_id=home.pk)


def deliver(*deliveries: Delivery) -> None:
    for delivery in deliveries:
        settle.mark_delivered(delivery, settle.open_attempt(delivery, {}))
