"""The buttons *Switch on* and *Switch off* of accounts, gateways and webhooks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models.signals import post_save
from django.urls import reverse

from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

SWITCHED: dict[str, Callable[[], object]] = {
    "accounts_channelaccount": factories.account,
    "openclaw_gateway": factories.connected_gateway,
    "bridge_webhookendpoint": factories.endpoint_with_a_new_secret,
}


@pytest.mark.parametrize("name", SWITCHED)
def test_a_switch_is_a_change_and_writes_over_nothing_else(boss: Client, name: str) -> None:
    """What somebody else saves between the look and the press stays."""
    row: Any = SWITCHED[name]()
    model = type(row)
    model.objects.update(updated_at=row.updated_at - timedelta(days=1))
    written: list[Any] = []
    post_save.connect(
        lambda update_fields, **_: written.append(update_fields), sender=model, weak=False, dispatch_uid="switch"
    )
    try:
        boss.post(reverse(f"admin:{name}_switch", args=[row.pk]))
    finally:
        post_save.disconnect(sender=model, dispatch_uid="switch")
    found: Any = model.objects.get()
    assert (found.enabled, found.updated_at > row.updated_at) == (False, True)
    assert {"enabled", "updated_at"} <= set(written[0]) <= {"enabled", "updated_at", "disabled_code"}
