"""The lease of each gateway, kept in its row. It allows only one connection, and another connector can take over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from accounts import lease
from accounts.fields import sealed
from accounts.health import Health
from openclaw.device import Device
from openclaw.models import Gateway
from openclaw.turns import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openclaw.turns import AgentInfo

# Renewed every five seconds. After this time another connector takes over the gateways of one that was lost.
LEASE_SECONDS = 15


def acquire(holder: str) -> list[Gateway]:
    """Take the lease of every gateway without a holder, renew our own, and return the gateways that we hold."""
    usable = Gateway.objects.filter(enabled=True).exclude(state=Health.STOPPED)
    lease.acquire(usable, holder, LEASE_SECONDS)
    return list(usable.filter(owner=holder))


def release(holder: str) -> None:
    lease.release(Gateway.objects.all(), holder)


def make_endpoint(gateway: Gateway) -> Endpoint:
    device = Device(gateway.device_key) if gateway.device_key else None
    private = tuple(settings.ALLOWED_PRIVATE_HOSTS)
    return Endpoint(gateway.base_url, gateway.token, device, gateway.device_token, private)


def read_connection_settings(gateway: Gateway) -> tuple[str, ...]:
    """Return what a connection depends on. Any other change of a gateway takes effect without a new connection.

    The fence is part of it: if another connector had the gateway in between, our own connection is not valid any more.
    """
    return gateway.base_url, gateway.transport, gateway.token, gateway.device_key, str(gateway.fence)


def store_hello(
    gateway: Gateway, version: str, boot_id: str, agents: Iterable[AgentInfo], device_token: str = ""
) -> None:
    """Store what the gateway told about itself when the connection opened."""
    gateway.version, gateway.boot_id = version[:40], boot_id[:80]
    gateway.agents = [{"id": agent.id, "name": agent.name} for agent in agents]
    gateway.device_token = device_token or gateway.device_token
    fields = {name: getattr(gateway, name) for name in ("version", "boot_id", "agents")}
    if device_token:
        fields["device_token"] = sealed(Gateway, "device_token", gateway.key, device_token)
    # Nothing is stored if staff changed the address meanwhile, or if another connector holds the gateway.
    gateway.as_held().filter(base_url=gateway.base_url).update(**fields)
    gateway.set_state_as_holder(Health.OK)
