"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.factories import official, route

if TYPE_CHECKING:
    from accounts.models import ChannelAccount


@pytest.fixture
def account() -> ChannelAccount:
    found = official(answers="passive")
    route(found)
    return found
