"""The rows a measure begins with. Needs Django."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis
from django.conf import settings
from django.db import connection

from tests.bench import sealed
from tests.support import factories

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

TURNS = 1000  # that the gateway takes at a time


def clear() -> None:
    """Nothing is left of the measure before."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE accounts_channelaccount, openclaw_gateway CASCADE")
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushall()


def account(platform: str = factories.NOWHERE) -> ChannelAccount:
    """An app that the callbacks of `sealed` are for."""
    clear()
    keys = {"token": sealed.TOKEN, "encoding_aes_key": sealed.KEY}
    return factories.app(platform, corp_id=sealed.CORP, agent_id=sealed.AGENT, **keys)


def mapped(platform: str, gateway: str, token: str) -> ChannelAccount:
    """Everybody who writes to the app talks to an agent."""
    found = account(platform)
    factories.route(found, factories.gateway(gateway, token, max_in_flight=TURNS))
    return found
