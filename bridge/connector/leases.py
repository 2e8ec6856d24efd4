"""The lease of each connection, kept in its row. It allows only one connection, and another connector can take over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Case, F, Q, When
from django.utils import timezone

from accounts import lease
from accounts.fields import Undecryptable, sealed
from accounts.health import Health
from accounts.models import ChannelAccount, Connection
from bridge.security import logs
from channels_wechat import KINDS, can, channel_class
from channels_wechat.contract.connection import Connection as ConnectedChannel
from openclaw.device import Device
from openclaw.models import Gateway
from openclaw.turns import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openclaw.turns import AgentInfo

log = logging.getLogger(__name__)
# Renewed every five seconds. After this time another connector takes over the connections of one that was lost.
LEASE_SECONDS = 15
# Of the accounts whose credentials cannot be decrypted: when that is logged again.
_undecryptable: dict[int, logs.Rarely] = {}


def acquire(holder: str) -> list[Connection]:
    """Take the lease of every connection without a holder, renew our own, and return those that we hold."""
    accounts, gateways = _find_usable_accounts(), Gateway.objects.filter(enabled=True).exclude(state=Health.STOPPED)
    _create_missing(accounts, gateways)
    usable = Connection.objects.filter(Q(account__in=accounts) | Q(gateway__in=gateways))
    # The condition of the lease must be one of the row alone: one in a subquery is not looked at again after waiting for another connector.
    rows = Connection.objects.filter(pk__in=list(usable.values_list("pk", flat=True)))
    since = Case(When(owner=holder, then=F("held_since")), default=timezone.now())
    lease.acquire(rows, holder, LEASE_SECONDS, held_since=since)
    return list(rows.filter(owner=holder).select_related("account", "gateway").order_by("pk"))


def release(holder: str) -> None:
    """Give our connections back. The moment stays in the rows: it says since when no connector holds them."""
    Connection.objects.filter(owner=holder).update(owner="", owner_until=timezone.now())


def _find_usable_accounts() -> list[int]:
    """Return the ids of the accounts that want a connection: a kind may have a mode without one, which only the credentials tell."""
    kinds = [kind for kind in KINDS if can(kind, ConnectedChannel)]
    rows = ChannelAccount.objects.filter(kind__in=kinds, enabled=True).exclude(state=Health.STOPPED)
    return [row.pk for row in rows if _wants_connection(row)]


def _wants_connection(account: ChannelAccount) -> bool:
    """False too where the credentials cannot be decrypted: that must not end the connections of all others."""
    try:
        return issubclass(channel_class(account.kind, account.credentials), ConnectedChannel)
    except Undecryptable as error:
        if _undecryptable.setdefault(account.pk, logs.Rarely()).is_due(str(error)):
            log.warning("account %s: the credentials cannot be read (%s)", account.pk, error)
        return False


def _create_missing(accounts: Iterable[int], gateways: Iterable[Gateway]) -> None:
    known = Connection.objects.values_list("account_id", "gateway_id")
    known_accounts, known_gateways = ({row[place] for row in known} for place in (0, 1))
    new = [Connection(account_id=pk) for pk in accounts if pk not in known_accounts]
    new += [Connection(gateway=gateway) for gateway in gateways if gateway.pk not in known_gateways]
    Connection.objects.bulk_create(new, ignore_conflicts=True)


def make_endpoint(gateway: Gateway) -> Endpoint:
    device = Device(gateway.device_key) if gateway.device_key else None
    private = tuple(settings.ALLOWED_PRIVATE_HOSTS)
    return Endpoint(gateway.base_url, gateway.token, device, gateway.device_token, private)


def read_connection_settings(connection: Connection) -> tuple[str, ...]:
    """Return what a connection depends on. Any other change of its owner takes effect without a new connection.

    The fence is part of it: if another connector had the row in between, our own connection is not valid any more.
    """
    if gateway := connection.gateway:
        return gateway.base_url, gateway.transport, gateway.token, gateway.device_key, str(connection.fence)
    account = connection.account
    return (account.api_base_url, repr(sorted(account.credentials.items())), str(connection.fence)) if account else ()


def store_hello(
    connection: Connection, version: str, boot_id: str, agents: Iterable[AgentInfo], device_token: str = ""
) -> None:
    """Store what the gateway told about itself when the connection opened."""
    gateway = connection.gateway
    if gateway is None:
        raise ValueError("this is the connection of an account")
    gateway.version, gateway.boot_id = version[:40], boot_id[:80]
    gateway.agents = [{"id": agent.id, "name": agent.name} for agent in agents]
    gateway.device_token = device_token or gateway.device_token
    fields = {name: getattr(gateway, name) for name in ("version", "boot_id", "agents")}
    if device_token:
        fields["device_token"] = sealed(Gateway, "device_token", gateway.key, device_token)
    # Nothing is stored if staff changed the address meanwhile, or if another connector holds the gateway.
    gateway.as_held().filter(base_url=gateway.base_url).update(**fields)
    gateway.set_state_as_holder(Health.OK)
