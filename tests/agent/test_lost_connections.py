"""A connection that is lost in mid-turn, and a gateway that restarts: the turn ends once, with its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounts.health import Health
from tests.agent.turns import answers, finished, fresh, ran, retry_until_finished
from tests.support.connecting import RunningConnector
from tests.support.factories import due, eventually, outcomes, row, state, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import Route
    from openclaw.models import Gateway
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


def test_a_lost_connection_in_mid_turn_is_recovered(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    stub.faults.drop_mid_turn = 1
    asked = turn(account, "!slow=0.5 !tokens=5")
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        due(asked)
        done = finished(asked)
    assert (done.state, outcomes(asked), done.run_number) == ("delivered", ["unknown", "ok"], 0)
    assert done.attempts.get(number=2).request["recover"] == f"{asked.pk}.0"
    assert ran(stub) == [(f"{asked.pk}.0", 1)]
    assert answers(asked) == ["w0 w1 w2 w3 w4"]


@pytest.mark.parametrize("length", [3, 3000])
def test_so_is_a_long_one(stub: RunningStub, account: ChannelAccount, mapped: Route, length: int) -> None:
    """Whatever its length, the turn is looked for before it is asked again."""
    asked = turn(account, "字" * length + "\n!slow=0.3 !say=done")
    stub.faults.drop_mid_turn = 1
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        due(asked)
        finished(asked)
    assert "recover" in asked.attempts.get(number=2).request
    assert ran(stub) == [(f"{asked.pk}.0", 1)]


@pytest.mark.parametrize("resume", [True, False])
def test_a_gateway_that_restarts_in_mid_turn_answers_once(
    stub: RunningStub, account: ChannelAccount, mapped: Route, resume: bool
) -> None:
    stub.faults.resume = resume
    asked = turn(account, "!slow=0.8 !say=one answer")
    with RunningConnector():
        eventually(lambda: ran(stub))
        stub.restart(history=True)
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        retry_until_finished(asked)
    assert state(asked) == "delivered"
    assert answers(asked) == ["one answer"]


def test_a_gateway_that_forgot_everything_is_asked_anew(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    asked = turn(account, "!slow=0.6 !say=again")
    with RunningConnector():
        eventually(lambda: ran(stub))
        stub.restart(history=False)
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        retry_until_finished(asked)
    assert (state(asked), answers(asked)) == ("delivered", ["again"])
    assert ran(stub) == [(f"{asked.pk}.1", 1)]
    assert row(asked).attempts.filter(code="not_answered").count() == 1


def test_a_draining_gateway_is_waited_for(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    with RunningConnector():
        eventually(lambda: fresh(home).state == Health.OK)
        stub.drain(500)
        eventually(lambda: fresh(home).state_code == "draining")
        asked = turn(account)
        stub.faults.draining = False
        assert finished(asked).state == "delivered"
    assert fresh(home).state == Health.OK
