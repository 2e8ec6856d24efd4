"""Calls of one moment are made as one; each gets its own result or its own error, and none waits for ever."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import OperationalError

from bridge.runtime.db.batching import GroupCommit
from bridge.runtime.web.batches import Batches
from tests.support.factories import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLERS = 12


class Doubling:
    """Doubles numbers; a batch is held until `go`, and 13 breaks it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.together: GroupCommit[int, int] = GroupCommit(self.many, max_batch=8)

    def many(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        assert self.go.wait(30)
        if 13 in items:
            raise ValueError(13)
        return [2 * item for item in items]

    def crowd(self, pool: ThreadPoolExecutor, items: Sequence[int]) -> list[object]:
        """The first call is under way when the others come."""
        calls = [pool.submit(self.together, items[0])]
        eventually(lambda: bool(self.batches))
        calls += [pool.submit(self.together, item) for item in items[1:]]
        eventually(lambda: len(self.together.waiting) == len(items) - 1)
        self.go.set()
        return [call.exception(30) or call.result() for call in calls]


def test_a_call_alone_is_made_at_once_in_its_own_thread() -> None:
    here: set[int] = set()

    def many(items: Sequence[int]) -> Sequence[int]:
        here.add(threading.get_ident())
        return items

    alone: GroupCommit[int, int] = GroupCommit(many)
    assert [alone(1), alone(2)] == [1, 2]
    assert here == {threading.get_ident()}


def test_those_who_wait_are_the_next_batch_and_no_batch_is_too_large() -> None:
    doubling = Doubling()
    with ThreadPoolExecutor(CALLERS) as pool:
        assert doubling.crowd(pool, range(CALLERS)) == [2 * item for item in range(CALLERS)]
    assert [len(batch) for batch in doubling.batches] == [1, 8, 3]
    assert doubling.together(50) == 100  # and the next call alone leads again


def test_one_that_breaks_its_batch_breaks_for_nobody_else() -> None:
    doubling = Doubling()
    with ThreadPoolExecutor(CALLERS) as pool:
        found = doubling.crowd(pool, [1, 2, 13, 3])
    assert [item for item in found if isinstance(item, int)] == [2, 4, 6]
    assert isinstance(found[2], ValueError)
    assert [len(batch) for batch in doubling.batches[2:]] == [1, 1, 1]


def test_a_database_that_is_away_is_not_asked_for_each() -> None:
    tried: list[int] = []
    gate = threading.Event()

    def many(items: Sequence[int]) -> list[int]:
        assert gate.wait(30)
        tried.append(len(items))
        if len(items) > 1:
            raise OperationalError
        return list(items)

    together: GroupCommit[int, int] = GroupCommit(many)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(together, item) for item in range(4)]
        eventually(lambda: len(together.waiting) == 3)
        gate.set()
        away = [call for call in calls if isinstance(call.exception(30), OperationalError)]
    assert (tried, len(away)) == ([1, 3], 3)


def test_results_that_do_not_fit_the_calls_are_an_error() -> None:
    short: GroupCommit[int, int] = GroupCommit(lambda _items: [])
    with pytest.raises(ValueError, match="shorter"):
        short(1)


def gathered(error: Exception, numbers: Sequence[int]) -> tuple[list[object], list[int]]:
    """What each coroutine gets of one batch that the number 13 breaks, and how many each try was made for."""
    tried: list[int] = []

    async def many(items: Sequence[int]) -> list[int]:
        tried.append(len(items))
        if 13 in items:
            raise error
        return [2 * item for item in items]

    async def crowd() -> list[object]:
        batches: Batches[int, int] = Batches(many)
        return await asyncio.gather(*(batches(number) for number in numbers), return_exceptions=True)

    return asyncio.run(crowd()), tried


def test_of_coroutines_too_one_that_breaks_its_batch_breaks_for_nobody_else() -> None:
    error = ValueError(13)
    assert gathered(error, [1, 13, 3]) == ([2, error, 6], [3, 1, 1, 1])


def test_for_coroutines_too_a_database_that_is_away_is_not_asked_for_each() -> None:
    error = OperationalError()
    assert gathered(error, [1, 13, 3]) == ([error] * 3, [3])
