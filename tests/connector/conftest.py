"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.connector import held, partials, process
from channels_wechat import KINDS
from tests.support.factories import account, gateway, route
from tests.support.fake_connection import KIND, FakeChat, fake_platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount
    from tests.support.fake_connection import FakePlatform


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with fake_platform() as running:
        yield running


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> ChannelAccount:
    """Everything said to it is a turn."""
    monkeypatch.setitem(KINDS, KIND, f"{FakeChat.__module__}.FakeChat")
    made = account(KIND, {"name": "shop"})
    route(made, gateway(enabled=False))
    return made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connector looks at its leases, and at the texts of answers, more often than in operation."""
    monkeypatch.setattr(process, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(process, "CLOSE_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(held, "OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr(partials, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(held, "BACKOFF_SECONDS", 0.02)
