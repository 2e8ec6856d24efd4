"""The guarded way to Valkey: it never waits long, never raises, and rests after a failure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from accounts import valkey as guarded

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _rested() -> Iterator[None]:
    guarded.circuit_breaker.until = 0.0
    yield
    guarded.circuit_breaker.until = 0.0


def fail(error: Exception) -> Any:
    def question(_client: Any) -> str:
        raise error

    return question


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), redis.TimeoutError("slow"), OSError("no route")])
def test_after_a_failure_nobody_asks_for_a_while(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[Any] = []
    assert guarded.try_valkey(fail(error), "default") == "default"
    until = guarded.circuit_breaker.until
    assert 0 < until - time.monotonic() <= guarded.REST_SECONDS
    assert guarded.try_valkey(asked.append, "default") == "default"
    guarded.circuit_breaker.begin(error)  # of another thread that had asked before
    assert (asked, guarded.circuit_breaker.until >= until) == ([], True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    until = guarded.circuit_breaker.until
    guarded.try_valkey(asked.append, "default")
    assert guarded.circuit_breaker.until == until  # whoever does not ask prolongs nothing
    guarded.circuit_breaker.until = time.monotonic()  # five seconds later
    assert guarded.try_valkey(lambda _client: "found", "default") == "found"
    guarded.try_valkey(fail(error), "default")
    assert len(caplog.records) == 2


def test_a_fault_of_the_question_is_no_failure_of_valkey() -> None:
    with pytest.raises(ValueError, match="ours"):
        guarded.try_valkey(fail(ValueError("ours")), "default")
    assert guarded.circuit_breaker.over
