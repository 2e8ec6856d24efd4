"""Finds accounts, gateways and webhooks whose stored secrets no key of `FIELD_KEYS` opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.fields import list_unreadable
from accounts.models import ChannelAccount
from bridge.models import WebhookEndpoint
from bridge.operations.problems.problem import Problem
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.operations.problems.problem import Names

# What has secrets: how a code names it, and the column of an incident about it.
MODELS: dict[str, tuple[Any, str]] = {
    "account": (ChannelAccount, "account_id"),
    "gateway": (Gateway, "gateway_id"),
    "webhook": (WebhookEndpoint, "endpoint_id"),
}


def find_unreadable(_names: Names) -> Iterator[Problem]:
    """Decrypt the secrets of all that is enabled: what was opened lately is kept in memory."""
    for place, (model, column) in MODELS.items():
        for row in model.objects.filter(enabled=True).order_by("pk"):
            if list_unreadable(row):
                subject: dict[str, Any] = {column: row.pk}
                yield Problem(f"unreadable:{place}:{row.pk}", f"{place}_unreadable", {"name": row.name}, **subject)
