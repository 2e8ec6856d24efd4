"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.factories import app, route, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import Delivery


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@pytest.fixture
def asked(account: ChannelAccount) -> Delivery:
    route(account)
    return turn(account)
