"""The sign "is typing", against the simulated WeChat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from accounts import channels
from accounts.models import Restriction
from bridge.pipeline.agent import typing_indicator
from bridge.pipeline.delivery.types import message_of
from channels_wechat.simulator import RunningSimulator
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    FAN,
    KEY,
    MINI,
    OFFICIAL,
    SECRET,
    TOKEN,
    USER,
    eventually,
    gateway,
    mini,
    official,
    route,
    state,
    turn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db(transaction=True)
TYPING = "message/custom/typing"


@pytest.fixture
def wechat(valkey: redis.Redis) -> Iterator[SimulatorClient]:
    with RunningSimulator() as simulator:
        client = simulator.client
        keys = {"secret": SECRET, "token": TOKEN, "aes_key": KEY}
        client.mini(MINI, **keys)
        client.official(OFFICIAL, **keys)
        client.person(MINI, "小明", USER)
        client.person(OFFICIAL, "小红", FAN)
        client.say("hi", mini=MINI, from_=USER)
        client.say("hi", official=OFFICIAL, from_=FAN)
        yield client


def typed(wechat: SimulatorClient) -> int:
    return len(wechat.calls(TYPING))


def test_it_is_shown_while_the_agent_thinks(wechat: SimulatorClient, stub: RunningStub) -> None:
    account = mini(wechat.url)
    route(account, gateway(stub.base_url))
    question = turn(account, "!slow=2 x", USER)
    with RunningConnector():
        eventually(lambda: wechat.standing(USER)["typing"])
        assert state(question) == "sending"
        eventually(lambda: state(question) == "delivered")
    assert typed(wechat) == 1


def test_it_is_shown_again_when_the_first_sign_is_over(
    wechat: SimulatorClient, stub: RunningStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is over after a tenth of its time. Shown any sooner, the simulator would refuse it."""
    assert wechat.settings()["typing_seconds"] == typing_indicator.SIGN_SECONDS
    monkeypatch.setattr(typing_indicator, "SIGN_SECONDS", 1.5)
    wechat.settings(typing_seconds=1.5)
    account = mini(wechat.url)
    route(account, gateway(stub.base_url))
    question = turn(account, "!slow=2.5 x", USER)
    with RunningConnector():
        eventually(lambda: typed(wechat) == 2, seconds=25)
        assert state(question) == "sending"
        assert wechat.standing(USER)["typing"]
        eventually(lambda: state(question) == "delivered")
    assert typed(wechat) == 2


@pytest.mark.parametrize("errcode", [48001, 45081, -1])
def test_whatever_goes_wrong_the_turn_goes_on(wechat: SimulatorClient, stub: RunningStub, errcode: int) -> None:
    wechat.fault(TYPING, "errcode", errcode=errcode)
    account = mini(wechat.url)
    route(account, gateway(stub.base_url))
    question = turn(account, "!slow=1 x", USER)
    with RunningConnector():
        eventually(lambda: typed(wechat))
        eventually(lambda: state(question) == "delivered")
        noted = Restriction.objects.filter(account=account, capability="typing").exists()
        assert noted == (errcode == 48001)
        again = turn(account, "!slow=1 x", USER)
        eventually(lambda: state(again) == "delivered")
    assert typed(wechat) == (1 if noted else 2)


@pytest.mark.parametrize(("errcode", "noted"), [(48001, ["custom_send", "typing"]), (48004, ["typing"]), (45081, [])])
def test_one_permission_governs_the_sign_and_the_messages(
    wechat: SimulatorClient, stub: RunningStub, errcode: int, noted: list[str]
) -> None:
    wechat.fault(TYPING, "errcode", errcode=errcode)
    account = official(wechat.url)
    route(account, gateway(stub.base_url))
    question = turn(account, "!slow=1 x", FAN)
    with RunningConnector():
        eventually(lambda: state(question) == "delivered")
    assert sorted(Restriction.objects.values_list("capability", flat=True)) == noted


@pytest.mark.parametrize(("answers", "times"), [("passive", 0), ("messages", 1)])
def test_not_where_the_answer_is_given_to_the_callback_itself(
    wechat: SimulatorClient, stub: RunningStub, answers: Any, times: int
) -> None:
    account = official(wechat.url, answers=answers)
    route(account, gateway(stub.base_url))
    question = turn(account, "!slow=1 x", FAN)
    with RunningConnector():
        eventually(lambda: state(question) in ("delivered", "dead"))
    assert typed(wechat) == times


@pytest.mark.parametrize("columns", [{"enabled": False}, {"state": "stopped"}])
def test_not_of_an_account_that_is_stopped(wechat: SimulatorClient, columns: dict[str, Any]) -> None:
    """Its turns may still run: staff stopped it after they began."""
    account = mini(wechat.url)
    route(account)
    question = message_of(turn(account, "x", USER))
    type(account).objects.filter(pk=account.pk).update(**columns)
    channels._recent.clear()
    typing_indicator._show_once(question)
    assert typed(wechat) == 0
    type(account).objects.filter(pk=account.pk).update(enabled=True, state="ok")
    channels._recent.clear()
    typing_indicator._show_once(question)
    assert typed(wechat) == 1
