"""The places of requests that wait for their answer: few, woken by name, and given up to a later delivery."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from accounts import capabilities
from bridge.pipeline.replies import unread, waiting_requests
from channels_wechat.weixin.official_account import OfficialAccount
from tests.support.factories import FAN

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A platform in a hurry."""
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 30.0)
    monkeypatch.setattr(OfficialAccount, "last_seconds", 0.1)
    capabilities._known.clear()
    yield
    capabilities._known.clear()


def test_places_are_few_and_woken_by_name() -> None:
    places = waiting_requests.WaitSlots(2)
    one, two, three = uuid4(), uuid4(), uuid4()
    with (
        places.take_slot("a", one) as first,
        places.take_slot("b", two) as second,
        places.take_slot("a", three) as third,
    ):
        assert first
        assert second
        assert third is None
        places.wake("a")
        assert (first.woken.is_set(), second.woken.is_set()) == (True, False)
    assert places.taken == {}


def test_a_later_delivery_takes_the_place_of_the_one_before() -> None:
    places, message = waiting_requests.WaitSlots(1), uuid4()
    with places.take_slot("a", message) as before:
        assert before
        with places.take_slot("a", message) as now:
            assert now
            assert (before.replaced, before.woken.is_set(), now.replaced) == (True, True, False)
        assert places.taken == {}
    with places.take_slot("b", uuid4()) as free:
        assert free


def test_a_word_wakes_who_waits(valkey: redis.Redis) -> None:
    assert asyncio.run(_woken(valkey))


async def _woken(valkey: redis.Redis) -> bool:
    places = waiting_requests.WaitSlots(2)
    places.listen()
    try:
        with places.take_slot(unread.wait_key(7, FAN), uuid4()) as place:
            assert place
            for _ in range(100):
                valkey.publish(unread.UNREAD_CHANNEL, unread.wait_key(7, FAN))
                with contextlib.suppress(TimeoutError):
                    return await asyncio.wait_for(place.woken.wait(), 0.1)
    finally:
        places.close()
        assert places.listener
        await asyncio.to_thread(places.listener.thread.join, 10)
    return False


def test_many_who_wait_look_less_often() -> None:
    places = waiting_requests.WaitSlots(500)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(places.take_slot("a", uuid4()))
        assert places.check_seconds == 3
    assert places.check_seconds == waiting_requests.CHECK_SECONDS
