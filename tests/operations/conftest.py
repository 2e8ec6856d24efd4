"""What every test of this folder begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import redis


@pytest.fixture(autouse=True)
def _empty_valkey(valkey: redis.Redis) -> None:
    """The time of the last sweep, which another test left there, would be an incident half a minute later."""
