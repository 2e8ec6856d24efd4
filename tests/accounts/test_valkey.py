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
    guarded.rest.until = 0.0
    yield
    guarded.rest.until = 0.0


def fail(error: Exception) -> Any:
    def question(_client: Any) -> str:
        raise error

    return question


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), redis.TimeoutError("slow"), OSError("no route")])
def test_after_a_failure_nobody_asks_for_a_while(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[Any] = []
    assert guarded.ask(fail(error), "default") == "default"
    until = guarded.rest.until
    assert 0 < until - time.monotonic() <= guarded.REST_SECONDS
    assert guarded.ask(asked.append, "default") == "default"
    guarded.rest.begin(error)  # of another thread that had asked before
    assert (asked, guarded.rest.until >= until) == ([], True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    until = guarded.rest.until
    guarded.ask(asked.append, "default")
    assert guarded.rest.until == until  # whoever does not ask prolongs nothing
    guarded.rest.until = time.monotonic()  # five seconds later
    assert guarded.ask(lambda _client: "found", "default") == "found"
    guarded.ask(fail(error), "default")
    assert len(caplog.records) == 2


def test_a_fault_of_the_question_is_no_failure_of_valkey() -> None:
    with pytest.raises(ValueError, match="ours"):
        guarded.ask(fail(ValueError("ours")), "default")
    assert guarded.rest.over
