"""A follower of an account that is not verified, on a simulated platform in a hurry: the real web application, worker and connector."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from accounts import capabilities
from accounts.models import Restriction
from bridge.models import Delivery
from bridge.pipeline.replies import passive
from channels_wechat.simulator import RunningSimulator
from channels_wechat.weixin.official_account import OfficialAccount
from tests.end_to_end.test_end_to_end import worker
from tests.support.callbacks import web_server
from tests.support.connecting import RunningConnector
from tests.support.factories import FAN, KEY, OFFICIAL, TOKEN, eventually, gateway, official, route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
LATER = "回答还在生成中，请稍后回复 1 查看。"
HINT = "（回复 1 继续阅读）"
# Of the real five: what the platform waits for, and we.
DROPPED, LAST = 2.0, 1.6


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", DROPPED)
    monkeypatch.setattr(OfficialAccount, "last_seconds", LAST)
    monkeypatch.setattr(passive, "WAIT_BEYOND_SECONDS", 0.3)
    capabilities._known.clear()
    yield
    capabilities._known.clear()


@pytest.fixture
def way() -> str:
    return "passive"


@pytest.fixture
def wechat(stub: RunningStub, way: str) -> Iterator[SimulatorClient]:
    """Everything is running; the follower is mapped to the agent."""
    with RunningSimulator() as simulator, web_server() as url:
        client = simulator.client
        client.settings(callback_timeout=DROPPED, delivery_interval=DROPPED, overtake_seconds=0.1)
        account = official(client.url, answers=way)
        route(account, gateway(stub.base_url))
        keys = {"secret": account.credentials["app_secret"], "token": TOKEN, "aes_key": KEY}
        client.official(OFFICIAL, verified=False, callback_url=f"{url}/callbacks/{account.key}", **keys)
        client.person(OFFICIAL, "小红", FAN)
        with worker(), RunningConnector():
            eventually(lambda: stub.connections, 30)
            yield client
        assert client.record()["violations"] == []


def say(wechat: SimulatorClient, text: str) -> dict[str, Any]:
    return wechat.say(text, official=OFFICIAL, from_=FAN)


def shown(wechat: SimulatorClient, count: int = 1) -> list[tuple[int, str]]:
    """(number of the delivery, text) of what the follower was shown, when there is so much."""

    def entries() -> list[tuple[int, str]]:
        found = [(entry["data"].get("delivery", 0), entry["text"]) for entry in wechat.sent_to(FAN)]
        return found if len(found) >= count else []

    return eventually(entries, 30)


def read_on(wechat: SimulatorClient, count: int) -> list[tuple[int, str]]:
    """Say "1" until so much is shown: on a machine under load the platform may drop all requests of one message."""
    for _time in range(3):
        say(wechat, "1")
        with contextlib.suppress(AssertionError):
            return shown(wechat, count)
    raise AssertionError("nothing more was shown")


@pytest.mark.parametrize(("thinks", "delivery"), [(0, 1), (3, 2)])
def test_the_answer_comes_with_the_delivery_that_is_on_the_line(
    wechat: SimulatorClient, stub: RunningStub, thinks: int, delivery: int
) -> None:
    say(wechat, f"!slow={thinks} !say=hello")
    assert shown(wechat) == [(delivery, "hello")]
    assert [run["count"] for run in stub.record] == [1]
    eventually(lambda: Delivery.objects.get(target="channel").state == "delivered", 30)


def test_what_takes_too_long_is_read_by_one(wechat: SimulatorClient, stub: RunningStub) -> None:
    say(wechat, "!slow=8 !say=at last")
    assert shown(wechat) == [(3, LATER)]
    said = [LATER]
    while said[-1] == LATER:
        say(wechat, "1")
        said = [text for _delivery, text in shown(wechat, len(said) + 1)]
    assert said[-1] == "at last"
    assert [run["count"] for run in stub.record] == [1]
    asked = Delivery.objects.filter(target="agent").order_by("id").values_list("reason", flat=True)
    assert list(asked) == ["", *["read_on"] * (len(said) - 1)]


def test_a_long_answer_is_read_part_by_part(wechat: SimulatorClient) -> None:
    say(wechat, "!tokens=1000")
    for count in (1, 2):
        shown(wechat, count)
        say(wechat, "1")
    texts = [text for _number, text in shown(wechat, 3)]
    assert [text.endswith(HINT) for text in texts] == [True, True, False]
    whole = " ".join(text.removesuffix(HINT) for text in texts)
    assert whole.split() == [f"w{number}" for number in range(1000)]


def test_the_waiting_ends_where_the_turn_fails(wechat: SimulatorClient) -> None:
    say(wechat, "!fail=400")
    assert shown(wechat) == [(1, "抱歉，处理时出了问题，请稍后再试。")]


@pytest.mark.parametrize("way", ["automatic"])
def test_an_account_that_is_not_granted_messages_answers_passively_from_then_on(wechat: SimulatorClient) -> None:
    wechat.fault("message/custom/typing", "errcode", errcode=45081)  # which says nothing of what is granted
    say(wechat, "!say=first")
    met = eventually(lambda: Delivery.objects.filter(target="channel", carrier="http_reply").first(), 30)
    assert (met.state, met.attempts.get().code) == ("pending", "48001")
    assert Restriction.objects.filter(capability="custom_send").exists()
    capabilities._known.clear()  # two seconds later
    assert wechat.sent_to(FAN) == []
    say(wechat, "1")
    assert shown(wechat) == [(1, "first")]
    say(wechat, "!say=second")
    assert shown(wechat, 2)[1] == (1, "second")
    assert len(wechat.calls("message/custom/send")) == 1


@pytest.mark.parametrize("way", ["automatic"])
def test_the_refused_sign_tells_in_time_that_answers_are_read(wechat: SimulatorClient) -> None:
    """While the agent thinks about the first question ever, so that its answer is not sent in vain and the next reply tells of it."""
    say(wechat, "!slow=4 !say=first")
    eventually(lambda: Restriction.objects.filter(capability="custom_send").exists(), 30)
    assert not Delivery.objects.filter(target="channel").exists()
    capabilities._known.clear()  # two seconds later
    said = read_on(wechat, 1)
    while said[-1][1] == LATER:
        said = read_on(wechat, len(said) + 1)
    assert said[-1][1] == "first"
    assert wechat.calls("message/custom/send") == []
    assert len(wechat.calls("message/custom/typing")) == 1
