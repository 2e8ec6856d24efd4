"""Turns over HTTP, where a gateway speaks no WebSocket."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from accounts.health import Health
from bridge.models import Reason, Route
from openclaw.stub import RunningStub
from tests.agent.turns import OVER, answers, finished, fresh, ran, retry_until_finished
from tests.support.connecting import RunningConnector
from tests.support.factories import due, eventually, gateway, outcomes, route, row, state, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.fixture
def by_http(stub: RunningStub, account: ChannelAccount) -> Route:
    return route(account, gateway(stub.base_url, transport="http"))


@pytest.mark.parametrize(
    ("faults", "version"), [({}, "stub-1"), ({"no_scopes": True}, ""), ({"pairing": True}, ""), ({"protocol": 5}, "")]
)
def test_by_http(
    stub: RunningStub, account: ChannelAccount, by_http: Route, faults: dict[str, object], version: str
) -> None:
    """Also of a gateway whose WebSocket does not let us in: it tells no version."""
    for name, value in faults.items():
        setattr(stub.faults, name, value)
    with RunningConnector():
        asked = turn(account, "你好")
        done = finished(asked)
    assert (done.state, answers(asked)) == ("delivered", ["收到：你好"])
    home = fresh(by_http.gateway)
    assert (home.state, home.version) == (Health.OK, version)
    assert [agent["id"] for agent in home.agents] == ["main", "support"]


def test_stop_by_http(stub: RunningStub, account: ChannelAccount, by_http: Route) -> None:
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        eventually(lambda: ran(stub))
        turn(account, "/stop")
        done = finished(asked)
    assert (done.state, done.reason) == ("skipped", Reason.STOPPED)


def test_a_lost_connection_by_http_is_asked_anew(stub: RunningStub, account: ChannelAccount, by_http: Route) -> None:
    asked = turn(account, "!slow=0.5 !say=done")
    with RunningConnector():
        eventually(lambda: ran(stub))
    assert state(asked) == "pending"
    with RunningConnector():
        retry_until_finished(asked)
    assert (state(asked), answers(asked)) == ("delivered", ["done"])


def test_a_turn_waits_for_a_gateway_that_cannot_be_reached_by_http(account: ChannelAccount) -> None:
    with contextlib.ExitStack() as reachable:
        stub = reachable.enter_context(RunningStub())
        home = gateway(stub.base_url, transport="http")
        route(account, home)
        with RunningConnector():
            eventually(lambda: fresh(home).state == Health.OK)
            reachable.close()
            asked = turn(account)
            while len(outcomes(asked)) < 6 and state(asked) not in OVER:
                due(asked)
                time.sleep(0.05)
    assert state(asked) == "pending"
    assert set(asked.attempts.values_list("code", flat=True)) == {"unreachable"}


def test_a_token_that_was_changed_meanwhile_stops_the_gateway_and_is_not_tried_in_a_loop(
    stub: RunningStub, account: ChannelAccount, by_http: Route
) -> None:
    with RunningConnector():
        eventually(lambda: fresh(by_http.gateway).state == Health.OK)
        stub._gateway.token = "changed"  # what an operator does on the other side
        asked = turn(account)
        eventually(lambda: fresh(by_http.gateway).state == Health.STOPPED)
        time.sleep(0.5)
    assert (state(asked), row(asked).tries) == ("pending", 0)
    assert len(outcomes(asked)) == 1
