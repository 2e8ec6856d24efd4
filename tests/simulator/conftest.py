from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from channels_wechat.simulator import RunningSimulator
from tests.simulator.bot_socket import SECRET, BotSocket
from tests.simulator.platform import Platform
from tests.simulator.receiver import CORP, KEY, TOKEN, Receiver
from tests.simulator.weixin import FAN, MINI, OFFICIAL, USER, Api, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def client(receiver: Receiver) -> Iterator[SimulatorClient]:
    """A company of three, one app, one bot, one group with the bot in it; fast times."""
    with RunningSimulator() as simulator:
        client = simulator.client
        client.settings(poll_interval=0.03, retry_pause=0.02, callback_timeout=2, hang_seconds=2)
        client.member("zhangsan", "张三")
        client.member("lisi", "李四", department=[1, 2])
        client.member("WangWu", "王五")
        account = {"token": TOKEN, "aes_key": KEY, "callback_url": receiver.url}
        client.app(1, corpid=CORP, secret="app-secret", name="助手", **account)
        client.bot("AIBOT", name="Robot A", **account)
        client.group("wrGroup", "项目群", members=["zhangsan", "lisi"])
        yield client


@pytest.fixture
def loose(client: SimulatorClient) -> Iterator[BotSocket]:
    """A connection that nobody has subscribed yet, and the bot that may."""
    client.bot("SOCKETBOT", name="Robot S", mode="connection", secret=SECRET)
    with BotSocket(client.websocket_url) as socket:
        yield socket


@pytest.fixture
def socket(loose: BotSocket) -> BotSocket:
    """The bot's subscribed connection."""
    assert loose.subscribe()["errcode"] == 0
    return loose


@pytest.fixture
def platform(client: SimulatorClient) -> Iterator[Platform]:
    platform = Platform(client.url)
    yield platform
    platform.http.close()


@pytest.fixture
def developer() -> Iterator[Receiver]:
    """The developer's server of the WeChat accounts."""
    with Receiver(opened) as running:
        yield running


@pytest.fixture
def wechat(developer: Receiver) -> Iterator[SimulatorClient]:
    """A verified service account with a follower and a Mini Program with a user; fast times."""
    with RunningSimulator() as simulator:
        client = simulator.client
        client.settings(callback_timeout=2, delivery_interval=0.05, media_check_seconds=0.02, hang_seconds=2)
        account = {"secret": "weixin-secret", "token": TOKEN, "aes_key": KEY, "callback_url": developer.url}
        client.official(OFFICIAL, name="服务号", original_id="gh_official", **account)
        client.mini(MINI, name="小程序", original_id="gh_mini", **account)
        client.person(OFFICIAL, "小红", FAN)
        client.person(MINI, "小明", USER)
        yield client


@pytest.fixture
def api(wechat: SimulatorClient) -> Iterator[Api]:
    api = Api(wechat.url)
    yield api
    api.http.close()
