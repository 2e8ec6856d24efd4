"""Eight things that go wrong, made as they happen: in the simulator, at a gateway, by the functions of the worker.

A trouble is a context manager. It yields a Trouble while everything runs that the cure needs; no browser may be open before.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Conversation, Delivery, Incident, Message, Outcome, State
from bridge.operations import incidents
from bridge.operations.replays import runner
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox, sender
from channels_wechat.contract.messages import Content
from channels_wechat.simulator import RunningSimulator
from openclaw.models import Gateway
from tests.support import factories
from tests.support.connecting import RunningConnector
from tests.support.factories import AGENT, FAN, SECRET, eventually, in_thread
from tests.support.followers import crowd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub
    from tests.browser.clicks import Walk

BOT, BOT_SECRET = "SOCKETBOT", "geheim-geheim"
NOT_OURS = "S" * len(SECRET)


@dataclass
class Trouble:
    """code: of its incident; mend: what staff press, beginning at the first page; delivery: what has arrived afterwards."""

    code: str
    delivery: Delivery
    mend: Callable[[Walk], None]


@dataclass
class Place:
    company: SimulatorClient
    stub: RunningStub


@contextmanager
def _worker() -> Iterator[None]:
    """What the worker's tasks do, in one thread, until the block ends."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.05):
            router.route_waiting()
            runner.step_all("worker")
            for delivery in factories.claim(holder="worker", limit=5):
                sender.process_delivery(delivery)

    thread = threading.Thread(target=in_thread(work), name="worker")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)


@contextmanager
def chat_without_mapping(place: Place) -> Iterator[Trouble]:
    factories.gateway(place.stub.base_url, name="OpenClaw")
    question = factories.turn(factories.app(place.company.url))

    def mend(walk: Walk) -> None:
        walk.press_row()
        walk.desk.fill(gateway="OpenClaw", agent_id="main")
        walk.press("[name=_save]")
        walk.press("a[href*='/replayrun/add/']")
        walk.plan_and_run()

    with _worker(), RunningConnector():
        yield Trouble("chats_unmapped", question, mend)


@contextmanager
def taken_over_chat_that_waits(place: Place) -> Iterator[Trouble]:
    app = factories.app(place.company.url)
    factories.route(app, factories.gateway(place.stub.base_url))
    factories.conversation(app, mode=Conversation.Mode.HUMAN)
    question = factories.turn(app)

    def mend(walk: Walk) -> None:
        walk.press_row()
        walk.press("form[action$='/mode/'] [name=mode][value=bot]")
        walk.press("[name=ask][value=last]")

    with _worker(), RunningConnector():
        yield Trouble("chats_waiting", question, mend)


@contextmanager
def wrong_secret(place: Place) -> Iterator[Trouble]:
    sent = factories.to_send(factories.app(place.company.url, secret=NOT_OURS))
    factories.work_off()

    def mend(walk: Walk) -> None:
        walk.press_row()
        walk.desk.fill(secret=SECRET)
        walk.press("[name=_save]")

    with _worker():
        yield Trouble("account_down", sent, mend)


@contextmanager
def address_not_trusted(place: Place) -> Iterator[Trouble]:
    refusal = "not allow to access from your ip, from ip: 203.0.113.9"
    place.company.fault("message/send", "errcode", times=0, errcode=60020, errmsg=refusal)
    sent = factories.to_send(factories.app(place.company.url))
    factories.work_off()

    def mend(walk: Walk) -> None:
        place.company.clear_faults()  # somebody entered the address in the platform's console
        walk.press_row()
        walk.press("form[action$='/test/'] button")

    with _worker():
        yield Trouble("account_down", sent, mend)


@contextmanager
def window_closed(place: Place) -> Iterator[Trouble]:
    """No click sends it: the platform takes it when the person has written again."""
    with crowd() as people:
        official = factories.official(people.client.url)
        people.says(official)
        people.later(49 * 3600)
        sent = factories.to_send(official, peer_id=FAN)
        factories.work_off()

        def mend(walk: Walk) -> None:
            walk.press_row()
            walk.press(f"a[href*='/delivery/{sent.pk}/']")
            walk.elsewhere(lambda: people.says(official))

        with _worker():
            yield Trouble("window_closed", sent, mend)


@contextmanager
def gateway_down(place: Place) -> Iterator[Trouble]:
    app, gateway = factories.app(place.company.url), factories.gateway()
    factories.route(app, gateway)
    question = factories.turn(app)
    gateway.set_state(Health.FAILING, "unreachable")
    Gateway.objects.update(state_since=timezone.now() - timedelta(minutes=3))

    def mend(walk: Walk) -> None:
        walk.press_row()
        walk.desk.fill(base_url=place.stub.base_url, token="stub-token")
        walk.press("[name=_save]")

    with _worker(), RunningConnector():
        yield Trouble("gateway_down", question, mend)


@contextmanager
def uncertain(place: Place) -> Iterator[Trouble]:
    """A message to a group of an app: the platform shows it twice where it is sent twice."""
    place.company.group("appgroup", "产品组", members=["zhangsan", "lisi"], owner="zhangsan", creator=AGENT)
    place.company.fault("appchat/send", "reset_after", times=1)
    sent = factories.to_send(factories.app(place.company.url), "news", "appgroup", peer_kind="group")
    factories.work_off()
    assert (factories.state(sent), factories.outcomes(sent)) == (State.UNCERTAIN, [Outcome.UNKNOWN])

    def mend(walk: Walk) -> None:
        walk.press_row()
        walk.plan_and_run(also="unknown")

    with _worker():
        yield Trouble("uncertain", sent, mend)


@contextmanager
def kicked_connection(place: Place) -> Iterator[Trouble]:
    with RunningSimulator() as simulator:
        client = simulator.client
        client.member("zhangsan", "张三")
        client.bot(BOT, name="Robot S", mode="connection", secret=BOT_SECRET)
        client.settings(poll_interval=0.05, subscribes_per_minute=1000)
        fields = {"bot_id": BOT, "bot_name": "Robot S", "mode": "connection", "secret": BOT_SECRET}
        bot = factories.account("wecom_aibot", fields, api_base_url=client.websocket_url.replace("ws", "http", 1))
        factories.route(bot, factories.gateway(enabled=False))
        with RunningConnector(), _worker():
            yield _kick(client, bot)


def _kick(client: SimulatorClient, bot: ChannelAccount) -> Trouble:
    client.wait_connected(BOT)
    client.say("hello", bot=BOT, from_="zhangsan")
    eventually(lambda: Message.objects.exists(), seconds=60)
    client.end_connection(BOT, "kick")
    eventually(lambda: ChannelAccount.objects.get(pk=bot.pk).state == Health.STOPPED, seconds=60)
    sent = outbox.send(bot, "direct", "zhangsan", Content(text="news"), source=Message.Source.STAFF).deliveries.get()

    def mend(walk: Walk) -> None:
        walk.press_row()
        walk.press("form[action$='/test/'] button")

    return Trouble("account_down", sent, mend)


TROUBLES = (
    chat_without_mapping,
    taken_over_chat_that_waits,
    wrong_secret,
    address_not_trusted,
    window_closed,
    gateway_down,
    uncertain,
    kicked_connection,
)


def is_over(trouble: Trouble) -> bool:
    """Whether it has arrived and its incident is resolved, as the clock would find."""
    if factories.state(trouble.delivery) != State.DELIVERED:
        return False
    incidents.update_incidents()
    return not Incident.objects.filter(code=trouble.code, closed_at=None).exists()
