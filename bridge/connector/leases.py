"""Who holds which gateway: a lease in the row, so that there is one connection to it and another connector takes over."""

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

# Renewed every five seconds; a lost connector's gateways are taken over after this.
LEASE_SECONDS = 15


def acquire(holder: str) -> list[Gateway]:
    """Take every gateway that is free, renew what is ours."""
    usable = Gateway.objects.filter(enabled=True).exclude(state=Health.STOPPED)
    lease.acquire(usable, holder, LEASE_SECONDS)
    return list(usable.filter(owner=holder))


def release(holder: str) -> None:
    lease.release(Gateway.objects.all(), holder)


def endpoint(gateway: Gateway) -> Endpoint:
    device = Device(gateway.device_key) if gateway.device_key else None
    private = tuple(settings.ALLOWED_PRIVATE_HOSTS)
    return Endpoint(gateway.base_url, gateway.token, device, gateway.device_token, private)


def connection_settings(gateway: Gateway) -> tuple[str, ...]:
    """What a connection depends on; any other change of a gateway takes effect without a new one.

    With the fence: where another connector had the gateway in between, nothing of our own connection holds any more.
    """
    return gateway.base_url, gateway.transport, gateway.token, gateway.device_key, str(gateway.fence)


def connected(
    gateway: Gateway, version: str, boot_id: str, agents: Iterable[AgentInfo], device_token: str = ""
) -> None:
    """Keep what the gateway said of itself."""
    gateway.version, gateway.boot_id = version[:40], boot_id[:80]
    gateway.agents = [{"id": agent.id, "name": agent.name} for agent in agents]
    gateway.device_token = device_token or gateway.device_token
    said = {name: getattr(gateway, name) for name in ("version", "boot_id", "agents")}
    if device_token:
        said["device_token"] = sealed(Gateway, "device_token", gateway.key, device_token)
    # Of a gateway that staff gave another address meanwhile, or that another connector holds, nothing is kept.
    gateway.as_held().filter(base_url=gateway.base_url).update(**said)
    gateway.set_state_as_holder(Health.OK)
