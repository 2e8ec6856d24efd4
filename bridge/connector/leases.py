"""Who holds which gateway: a lease in the row, so that there is one connection to it and another connector takes over."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from accounts.fields import sealed
from accounts.models import Health
from openclaw.device import Device
from openclaw.models import Gateway
from openclaw.turns import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openclaw.turns import AgentInfo

# Renewed every five seconds; a lost connector's gateways are taken over after this.
LEASE_SECONDS = 15


def acquire(holder: str) -> list[Gateway]:
    """Take every gateway that is free, renew what is ours; the fence counts the changes of hands."""
    now = timezone.now()
    free = Q(owner=holder) | Q(owner="") | Q(owner_until__lt=now) | Q(owner_until=None)
    usable = Gateway.objects.filter(free, enabled=True).exclude(state=Health.STOPPED)
    usable.update(
        fence=Case(When(owner=holder, then=F("fence")), default=F("fence") + Value(1)),
        owner=holder,
        owner_until=now + timedelta(seconds=LEASE_SECONDS),
    )
    return list(Gateway.objects.filter(owner=holder, enabled=True).exclude(state=Health.STOPPED))


def release(holder: str) -> None:
    Gateway.objects.filter(owner=holder).update(owner="", owner_until=None)


def endpoint(gateway: Gateway) -> Endpoint:
    device = Device(gateway.device_key) if gateway.device_key else None
    private = tuple(settings.ALLOWED_PRIVATE_HOSTS)
    return Endpoint(gateway.base_url, gateway.token, device, gateway.device_token, private)


def connection_settings(gateway: Gateway) -> tuple[str, ...]:
    """What a connection depends on; any other change of a gateway takes effect without a new one."""
    return gateway.base_url, gateway.transport, gateway.token, gateway.device_key


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
    # Of a gateway that staff gave another address meanwhile, nothing is kept.
    Gateway.objects.filter(pk=gateway.pk, base_url=gateway.base_url).update(**said)
    gateway.set_state(Health.OK)
