"""What `make demo` sets up and says; `make demo ONCE=1` in .ci/run does the same with every process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.demo import world as demo
from bridge.models import Delivery, FallbackSender, Reason, Route, State
from bridge.people import directory
from tests.end_to_end.test_end_to_end import worker
from tests.support import factories
from tests.support.callbacks import web_server
from tests.support.connecting import RunningConnector
from tests.support.factories import in_thread

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_surface_is_answered(company: SimulatorClient, stub: RunningStub, settings: Any) -> None:
    lines: list[str] = []
    with web_server() as url, worker():
        settings.PUBLIC_URL = url
        world = demo.build(company.url, stub.base_url, "stub-token")
        with (
            RunningConnector()
        ):  # it finds the gateway at once; one that it started before it would find in five seconds
            assert demo.converse(world, lines.append)
    answers = [line.partition("✓ ")[2] for line in lines if "✓" in line]
    assert len(answers) == 11
    assert [answer.replace("lisi", "zhangsan") for answer in answers[:2]] == answers[
        :1
    ] * 2  # by callback URL and by long connection
    assert answers[2] == "本周报告：一切正常。"  # by the robot, in the bot's place
    assert answers[4:] == [
        "收到：请问怎么退货?",
        "收到：今天有什么新闻?",
        "收到：周末有活动吗?",
        "收到：我的订单到哪了?",
        "收到，小周：周六几点集合?",
        "收到：提醒我明天开会",
        "收到，小林：今天几点开门?",
    ]
    (passive,) = company.sent_to(demo.READER[0])
    assert passive["data"]["delivery"] == 1
    # The notice of customer service is an event of the app, which asks no agent.
    others = Delivery.objects.exclude(reason__in=(Reason.EVENT, Reason.OTHER_SENDER))
    assert set(others.values_list("state", flat=True)) == {State.DELIVERED}
    assert Delivery.objects.filter(reason=Reason.OTHER_SENDER).count() == 1
    assert company.record()["violations"] == []


def test_it_can_be_set_up_again(company: SimulatorClient) -> None:
    first, again = (demo.build(company.url, company.url, "stub-token") for _twice in range(2))
    made = [first.app, first.bot, first.connected_bot, first.robot]
    made += [first.service, first.news, first.club, first.shop, first.personal, first.own, first.ilink]
    assert [row.credentials for row in ChannelAccount.objects.order_by("pk")] == [row.credentials for row in made]
    assert FallbackSender.objects.count() == 2
    assert (again.shop, Route.objects.count()) == (first.shop, 10)


def test_no_account_is_stopped_while_it_is_set_up(company: SimulatorClient) -> None:
    """The clock reads directories all the time, and the simulator refuses tokens to an account that it does not know yet."""
    factories.app(api_base_url=company.url)
    assert directory.read_due() == 1  # so that the first call below is as quick as every other
    built = threading.Event()

    def read() -> None:
        while not built.is_set():
            directory.read_due()

    with ThreadPoolExecutor() as threads:
        reading = threads.submit(in_thread(read))
        try:
            demo.build(company.url, company.url, "stub-token")
        finally:
            built.set()
        reading.result()
    rows = ChannelAccount.objects.values_list("name", "enabled", "state")
    assert [row for row in rows if not row[1] or row[2] == Health.STOPPED] == []
