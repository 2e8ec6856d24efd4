"""How many failed logins one address has: what is forgotten first, and what a success takes off."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from bridge.security import logins
from bridge.security.logins import LoginLimit

if TYPE_CHECKING:
    import redis

CALLER = "203.0.113.7"


@pytest.fixture(autouse=True)
def _two_failures(settings: Any) -> None:
    settings.LOGIN_ADDRESS_FAILURES = 2


def tried(limit: LoginLimit, *callers: str) -> list[bool]:
    """Whether each may try now, in this order."""

    async def ask() -> list[bool]:
        return [await limit.seconds_to_wait(caller) == 0 for caller in callers]

    return asyncio.run(ask())


def test_of_too_many_addresses_those_that_tried_last_are_remembered(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MAX_ADDRESSES", 2)
    with ThreadPoolExecutor(1) as threads:
        limit = LoginLimit(threads)
        assert tried(limit, "first", "second", "first", "third") == [True] * 4
        assert {caller: count for caller, (count, _until) in limit.counts.items()} == {"first": 2, "third": 1}


def test_a_success_takes_one_try_off_for_every_process(valkey: redis.Redis) -> None:
    with ThreadPoolExecutor(1) as threads:
        limit = LoginLimit(threads)
        assert tried(limit, CALLER, CALLER) == [True, True]
        limit.succeeded(CALLER)
    with ThreadPoolExecutor(1) as threads:
        assert tried(LoginLimit(threads), CALLER, CALLER) == [True, False]


def test_a_success_after_the_tries_are_over_leaves_nothing_that_counts_for_ever(valkey: redis.Redis) -> None:
    with ThreadPoolExecutor(1) as threads:
        limit = LoginLimit(threads)
        assert tried(limit, CALLER) == [True]
        valkey.delete(f"login:{CALLER}")  # as when its time ends while the password is compared
        limit.succeeded(CALLER)
    assert valkey.get(f"login:{CALLER}") == b"0"
    assert 0 < valkey.ttl(f"login:{CALLER}") <= logins._window()
