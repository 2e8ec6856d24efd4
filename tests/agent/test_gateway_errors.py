"""What becomes of a turn when the gateway answers with an error: each named error has its reaction."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.health import Health
from accounts.models import Connection
from bridge.models import Attempt, Delivery, Reason, Route
from bridge.pipeline.agent import turn as asking
from bridge.pipeline.inbound import router
from openclaw.models import Gateway
from tests.agent.turns import answers, finished, fresh, ran, retry_until_finished
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    NOWHERE,
    due,
    eventually,
    gateway,
    hear,
    outcomes,
    picture,
    route,
    row,
    shift,
    state,
    turn,
)

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.mark.parametrize(
    ("faults", "code", "health"),
    [
        ({"locked_out": True}, "locked_out", Health.FAILING),
        ({"protocol": 5}, "protocol_mismatch", Health.STOPPED),
        ({"pairing": True}, "pairing_required", Health.STOPPED),
        ({"no_scopes": True}, "missing_scope", Health.STOPPED),
        ({"starting": True}, "starting", Health.FAILING),
    ],
)
def test_a_gateway_that_does_not_let_us_in(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route, faults: dict, code: str, health: str
) -> None:
    for name, value in faults.items():
        setattr(stub.faults, name, value)
    asked = turn(account)
    with RunningConnector():
        eventually(lambda: fresh(home).state_code == code)
        assert fresh(home).state == health
        assert len(fresh(home).state_reason) > 20
        assert (state(asked), row(asked).tries) == ("pending", 0)
        assert stub.record == []


@pytest.mark.parametrize(
    ("columns", "code", "health"),
    [
        ({"token": "wrong"}, "bad_token", Health.STOPPED),
        ({"base_url": NOWHERE}, "unreachable", Health.FAILING),
        ({"base_url": "ftp://127.0.0.1"}, "bad_url", Health.STOPPED),
        ({"token": "wrong", "transport": "http"}, "bad_token", Health.STOPPED),
    ],
)
def test_a_gateway_that_is_not_there_or_does_not_know_us(
    stub: RunningStub, account: ChannelAccount, columns: dict, code: str, health: str
) -> None:
    home = gateway(**{"base_url": stub.base_url, **columns})
    route(account, home)
    asked = turn(account)
    with RunningConnector():
        eventually(lambda: fresh(home).state_code == code)
    assert fresh(home).state == health
    assert state(asked) == "pending"


def test_something_else_answers_there(company: object, account: ChannelAccount) -> None:
    home = gateway(company.url)  # type: ignore[attr-defined]
    route(account, home)
    with RunningConnector():
        eventually(lambda: fresh(home).state_code == "not_a_gateway")
    assert fresh(home).state == Health.STOPPED


@pytest.mark.usefixtures("_looks_often")
def test_after_a_repair_the_connector_goes_on_by_itself(stub: RunningStub, account: ChannelAccount) -> None:
    home = gateway(stub.base_url, "wrong")
    route(account, home)
    first, second = turn(account, "1"), turn(account, "2")
    with RunningConnector():
        eventually(lambda: fresh(home).state == Health.STOPPED)
        repaired = fresh(home)
        repaired.token = stub.token
        repaired.save()
        repaired.revive()
        finished(second)
    assert [run["message"] for run in stub.record] == ["1", "2"]
    assert state(first) == "delivered"
    assert fresh(home).state == Health.OK


@pytest.mark.usefixtures("_looks_often")
def test_a_gateway_that_was_stopped_for_a_moment_is_connected_anew(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    """Revived before the connector looked again: the gateway is still its own, and its connection has ended for good."""
    stub.faults.protocol = 5
    with RunningConnector():
        asked = turn(account)
        eventually(lambda: fresh(home).state == Health.STOPPED)
        stub.faults.protocol = 4
        fresh(home).revive()
        assert finished(asked).state == "delivered"
    assert fresh(home).state == Health.OK


def test_an_agent_that_does_not_exist(stub: RunningStub, account: ChannelAccount, home: Gateway) -> None:
    route(account, home, agent_id="nobody")
    with RunningConnector():
        done = finished(turn(account))
    assert (done.state, done.reason, done.attempts.get().code) == ("dead", Reason.PERMANENT, "unknown_agent")
    assert fresh(home).state == Health.OK
    assert answers(done) == [account.sentence("failed")]


def test_a_failed_run_is_asked_again_with_a_new_key_and_its_text_reaches_nobody(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    stub.faults.fail_runs = 1
    asked = turn(account, "hi")
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["error"])
        due(asked)
        done = finished(asked)
    assert (done.state, outcomes(asked)) == ("delivered", ["error", "ok"])
    assert ran(stub) == [(f"{asked.pk}.0", 1), (f"{asked.pk}.1", 1)]
    assert answers(asked) == ["收到：hi"]


def test_a_run_that_always_fails_is_dead_after_four_tries(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    stub.faults.fail_runs = 99
    asked = turn(account)
    with RunningConnector():
        retry_until_finished(asked)
    done = row(asked)
    assert (done.state, done.reason, done.tries) == ("dead", Reason.TRIES_SPENT, 4)
    assert answers(done) == [account.sentence("failed")]


@pytest.mark.parametrize(("fault", "code"), [("locked_runs", "run_not_started"), ("overloaded", "unavailable")])
def test_a_turn_that_no_model_was_asked_is_tried_until_the_gateway_takes_it(
    stub: RunningStub, account: ChannelAccount, mapped: Route, fault: str, code: str
) -> None:
    """As after its start, while its own database is locked."""
    setattr(stub.faults, fault, 6)
    asked = turn(account, "hi")
    with RunningConnector():
        retry_until_finished(asked)
    assert (state(asked), outcomes(asked)) == ("delivered", ["error"] * 6 + ["ok"])
    assert set(asked.attempts.filter(outcome="error").values_list("code", flat=True)) == {code}
    assert ran(stub) == [(f"{asked.pk}.6", 1)]
    assert answers(asked) == ["收到：hi"]


@pytest.mark.parametrize("restarts", [True, False])
def test_a_turn_that_could_not_start_is_tried_at_once_after_a_restart(
    stub: RunningStub, account: ChannelAccount, mapped: Route, restarts: bool
) -> None:
    stub.faults.locked_runs = 1
    asked = turn(account, "hi")
    with RunningConnector():
        eventually(lambda: outcomes(asked) == ["error"])
        Delivery.objects.filter(pk=asked.pk).update(due_at=timezone.now() + timedelta(hours=1))
    if restarts:
        Gateway.objects.update(boot_id="of the start before")
    with RunningConnector():
        eventually(lambda: Connection.objects.get(gateway=mapped.gateway).state == "connected")
        if restarts:
            assert finished(asked).state == "delivered"
    assert state(asked) == ("delivered" if restarts else "pending")


def test_what_failed_before_the_replay_or_in_another_way_is_not_counted(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    now = timezone.now()
    before, since = now - timedelta(minutes=2), now + timedelta(seconds=1)
    tries = [(before, "run_failed"), (since, "unavailable"), (since, "run_failed")]
    for number, (at, code) in enumerate(tries, 1):
        fields = {"number": number, "started_at": at, "finished_at": at, "outcome": "error", "code": code}
        Attempt.objects.create(delivery=asked, **fields)
    assert asking.count_failures(row(asked), "run_failed") == 1


@pytest.mark.parametrize("outcome", ["unknown", "interrupted"])
@pytest.mark.parametrize("word", ["ask", "recover"])
def test_a_turn_is_lost_also_where_it_was_lost_while_it_was_looked_up(
    account: ChannelAccount, mapped: Route, outcome: str, word: str
) -> None:
    asked = turn(account)
    request = {word: f"{asked.pk}.0"}
    Attempt.objects.create(delivery=asked, number=1, finished_at=timezone.now(), outcome=outcome, request=request)
    assert asking.has_unknown_outcome(asked)
    shift(asked, run_number=1)
    assert not asking.has_unknown_outcome(row(asked))


@pytest.mark.parametrize(("asked_before", "opened"), [({}, True), ({"tries": 1}, False), ({"run_number": 1}, False)])
def test_what_was_asked_before_is_looked_at_before_it_is_asked_again(
    account: ChannelAccount, mapped: Route, asked_before: dict[str, int], opened: bool
) -> None:
    """Somebody may have typed /stop since then."""
    shift(turn(account), **asked_before)
    ((_row, found),) = asking.claim_turns("me", 1, mapped.gateway)
    assert (found is not None) is opened


def test_interruptions_do_not_count_as_failures(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    stub.faults.fail_runs = 1
    asked = turn(account, "hi")
    shift(asked, tries=5)
    for number in range(5):
        Attempt.objects.create(delivery=asked, number=number + 1, finished_at=timezone.now(), outcome="interrupted")
    with RunningConnector():
        eventually(lambda: "error" in outcomes(asked))
        due(asked)
        assert finished(asked).state == "delivered"


def test_an_overloaded_gateway(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    stub.faults.overloaded = 1
    asked = turn(account)
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["error"])
        assert asked.attempts.get(number=1).code == "unavailable"
        due(asked)
        assert finished(asked).state == "delivered"


def test_too_large_for_the_gateway(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    message = hear(account, media=(picture(),))
    item = message.attachments.get()
    item.file.save("", ContentFile(bytes(7 * 1024 * 1024)), save=False)
    item.state = "ready"
    item.save()
    router.route_waiting()
    asked = message.deliveries.get()
    with RunningConnector():
        done = finished(asked)
    assert (done.state, done.attempts.get().code) == ("dead", "too_large")
