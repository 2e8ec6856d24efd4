"""Counting: all processes together, and nothing lost while Valkey is away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from accounts import counters, valkey
from tests.support.factories import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from pytest_django.fixtures import SettingsWrapper


@pytest.fixture(autouse=True)
def _from_nothing(valkey: redis.Redis) -> Iterator[None]:
    counters.flush()
    valkey.delete(counters.KEY)
    yield
    counters.flush()


def total(name: str, **labels: str) -> int:
    return (counters.read_totals() or {}).get((name, tuple(sorted(labels.items()))), 0)


def test_it_adds_up_by_name_and_labels() -> None:
    counters.add("a", direction="in")
    counters.add("a", 2, direction="in")
    counters.add("a", direction="out", more="x")
    assert total("a", direction="in") == 3
    assert total("a", direction="out", more="x") == 1
    assert total("b") == 0


def test_what_is_counted_is_written_within_a_second_unasked(valkey: redis.Redis) -> None:
    counters.add("a")
    assert eventually(lambda: valkey.hgetall(counters.KEY)) == {b'["a", []]': b"1"}


def test_threads_lose_nothing() -> None:
    def count() -> None:
        for number in range(500):
            counters.add("a")
            if number % 50 == 0:
                counters.flush()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(count) for _thread in range(8)]:
            done.result(30)
    assert total("a") == 4000


def test_nothing_is_lost_while_valkey_is_away(settings: SettingsWrapper) -> None:
    there = settings.REDIS_URL
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    valkey.client.cache_clear()
    counters.add("a")
    assert counters.read_totals() is None
    counters.add("a")
    settings.REDIS_URL = there
    valkey.client.cache_clear()
    valkey.circuit_breaker.until = 0.0
    assert total("a") == 2
