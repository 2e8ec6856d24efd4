"""Fixtures for every test. The servers themselves are started by `tests.servers`, named in pyproject.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    """An empty Valkey. Name it in every test that touches Valkey."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushall()
        yield client
