"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.connector import process
from tests.support.factories import app, gateway, route

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import Route
    from openclaw.models import Gateway
    from openclaw.stub import RunningStub


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@pytest.fixture
def home(stub: RunningStub) -> Gateway:
    return gateway(stub.base_url)


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connector looks after its gateways once a second; otherwise once in five."""
    monkeypatch.setattr(process, "LEASE_SECONDS", 1.0)


@pytest.fixture
def mapped(account: ChannelAccount, home: Gateway) -> Route:
    return route(account, home)
