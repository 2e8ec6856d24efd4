"""Fixtures for every test. The servers themselves are started by `tests.support.servers`, named in pyproject.toml."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import redis
from django.conf import settings
from django.test import override_settings
from django.utils import translation

from accounts import valkey as guarded
from bridge.runtime.spool import journal
from bridge.runtime.wakeups import publish
from channels_wechat.simulator import RunningSimulator
from openclaw.stub import RunningStub
from tests.support import factories
from tests.support.rings import rings

# A busy machine makes the drawing of examples slow; that says nothing about the code under test.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords() -> Iterator[None]:
    """A hash of a password costs a fifth of a second of a core on purpose, and every test with a user pays for one."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    """A page that is asked for in Chinese leaves the thread in Chinese."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _empty_spool() -> Iterator[None]:
    """Callbacks that one test leaves on the disk would send those of all later tests there."""
    yield
    for name in journal.list_files():
        Path(settings.SPOOL_DIR, name).unlink()


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    """An empty Valkey. Name it in every test that touches Valkey."""
    address = settings.REDIS_URL
    with redis.Redis.from_url(address) as client:
        client.flushall()
        yield client
        with override_settings(
            REDIS_URL=address
        ):  # a test may have moved Valkey away, and this ends before `settings` does
            _await_published(client)


def _await_published(client: redis.Redis) -> None:
    """Wait until the wake-ups of this test were published, in their order, so that none reaches another test."""
    if publish._pending_topics.cache_info().currsize:
        guarded.client.cache_clear()  # a test that took Valkey away; without this each waits five seconds for nobody
        guarded.circuit_breaker.until = 0.0
        with rings(client) as heard, contextlib.suppress(AssertionError):
            publish.notify_soon(publish.Topic.HOOK)
            factories.eventually(lambda: heard.rung("hook"), seconds=5)


@pytest.fixture
def company(valkey: redis.Redis) -> Iterator[SimulatorClient]:
    """WeCom with three members, an app, a bot and a group, as `factories.app` and `factories.bot` know them; fast times."""
    with RunningSimulator() as simulator:
        client = simulator.client
        client.settings(poll_interval=0.05, retry_pause=0.05, hang_seconds=1)
        for userid, name in (("zhangsan", "张三"), ("lisi", "李四"), ("wangwu", "王五")):
            client.member(userid, name)
        keys = {"token": factories.TOKEN, "aes_key": factories.KEY}
        client.app(factories.AGENT, corpid=factories.CORP, secret=factories.SECRET, name="助手", **keys)
        client.bot(factories.BOT, name="Robot A", **keys)
        client.group(factories.GROUP, "产品组", members=["zhangsan", "lisi"])
        yield client


@pytest.fixture
def stub() -> Iterator[RunningStub]:
    """A stand-in OpenClaw gateway with the agents main and support."""
    with RunningStub(tick=1.0) as running:
        yield running
