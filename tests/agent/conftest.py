"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
def mapped(account: ChannelAccount, home: Gateway) -> Route:
    return route(account, home)
