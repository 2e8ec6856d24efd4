"""Fixtures of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from channels_wechat.simulator import RunningSimulator
from tests.support.factories import KEY, MINI, SECRET, TOKEN, USER
from tests.support.followers import Crowd, crowd

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from channels_wechat.simulator import SimulatorClient


@pytest.fixture
def people(valkey: redis.Redis) -> Iterator[Crowd]:
    with crowd() as found:
        yield found


@pytest.fixture
def wechat(valkey: redis.Redis) -> Iterator[SimulatorClient]:
    """A Mini Program that objects to two words, and a person who is in it."""
    with RunningSimulator() as simulator:
        client = simulator.client
        client.settings(media_check_seconds=0.01, hang_seconds=1)
        words = {"赌": "risky", "骂": "review"}
        client.mini(MINI, secret=SECRET, token=TOKEN, aes_key=KEY, words=words)
        client.person(MINI, "小明", USER)
        client.say("hi", mini=MINI, from_=USER)
        yield client
