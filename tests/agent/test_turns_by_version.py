"""Turns of an agent on gateways of three versions, through the connector: what is said, what is kept, what is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounts import counters
from bridge.models import Attempt, Delivery, Message, Reason
from tests.support.connecting import RunningConnector
from tests.support.factories import app, eventually, gateway, outcomes, route, row, state, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
OVER = ("delivered", "dead", "skipped", "uncertain")
VERSIONS = ("2026.9.6", "2026.8.2", "2026.7.35")


@pytest.fixture
def account(stub: RunningStub) -> ChannelAccount:
    """Mapped to an agent of the stand-in gateway."""
    found = app()
    route(found, gateway(stub.base_url))
    return found


def finished(delivery: Delivery) -> Delivery:
    eventually(lambda: state(delivery) in OVER, 20)
    return row(delivery)


def answers(delivery: Delivery) -> list[str]:
    return list(Message.objects.filter(reply_to_id=delivery.message_id).order_by("pk").values_list("text", flat=True))


def counted() -> tuple[int, int]:
    """Tokens that went in, and millionths of a dollar, by /metrics."""
    totals, model = counters.read_totals() or {}, ("model", "stub/parrot")
    tokens = totals.get(("agent_tokens", (("kind", "input"), model)), 0)
    return tokens, totals.get(("agent_cost_microdollars", (model,)), 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_reply_is_silence_and_is_asked_once(version: str, stub: RunningStub, account: ChannelAccount) -> None:
    stub.faults.version = version
    with RunningConnector():
        asked = turn(account, "!noreply")
        done = finished(asked)
    assert (done.state, done.reason, outcomes(asked)) == ("delivered", Reason.NO_ANSWER, ["ok"])
    assert answers(asked) == []
    assert [run["count"] for run in stub.record] == [1]


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_at_all_is_a_failure(version: str, stub: RunningStub, account: ChannelAccount) -> None:
    stub.faults.version = version
    with RunningConnector():
        asked = turn(account, "!empty")
        eventually(lambda: "error" in outcomes(asked), 20)
    assert asked.attempts.first().code == "run_failed"  # type: ignore[union-attr]
    assert answers(asked) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_turn_took_is_kept_though_it_comes_after_the_answer(
    version: str, stub: RunningStub, account: ChannelAccount
) -> None:
    stub.faults.version, stub.faults.late, before = version, 0.5, counted()
    with RunningConnector():
        asked = turn(account, "hello")
        finished(asked)
        eventually(lambda: Attempt.objects.get(delivery=asked).usage is not None)
    usage = Attempt.objects.get(delivery=asked).usage
    cost = None if version == "2026.7.35" else 0.000665
    counts = {"input": 600, "output": 5, "cache_read": 400, "cache_write": 0}
    assert usage == {"model": "stub/parrot", "cost": cost} | counts
    after = counted()
    assert (after[0] - before[0], after[1] - before[1]) == (600, 0 if cost is None else 665)


def test_the_next_turn_does_not_wait_for_the_response_of_the_last(stub: RunningStub, account: ChannelAccount) -> None:
    stub.faults.late = 30
    with RunningConnector():
        asked = turn(account, "hello")
        assert finished(asked).state == "delivered"
    assert answers(asked) == ["收到：hello"]


def test_a_long_answer_is_recovered_whole(stub: RunningStub, account: ChannelAccount) -> None:
    """12 000 characters, of which `agent.wait` gives 4095 and the transcript 8000 unless it is asked for more."""
    stub.faults.drop_mid_turn = 1
    with RunningConnector():
        asked = turn(account, "!long=12000")
        assert finished(asked).state == "delivered"
    assert [len(text) for text in answers(asked)] == [12000]
    assert outcomes(asked) == ["unknown", "ok"]


def test_whoever_reads_only_the_beginning_of_a_recovered_answer_is_told(
    stub: RunningStub, account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openclaw.client.HISTORY_CHARACTERS", 8000)  # a limit, so that no answer of 500 kB is needed
    stub.faults.drop_mid_turn = 1
    with RunningConnector():
        asked = turn(account, "!long=12000")
        assert finished(asked).state == "delivered"
    (text,) = answers(asked)
    beginning, told = text.split("\n\n")
    assert told == "（回答较长，仅恢复了前面的部分。）"
    assert 7900 < len(beginning) <= 8000
    assert set(beginning) == set("0123456789")


def test_a_turn_that_the_oldest_gateway_lost_is_unknown_and_no_silence(
    stub: RunningStub, account: ChannelAccount
) -> None:
    stub.faults.version, stub.faults.drop_mid_turn = "2026.7.35", 1
    with RunningConnector():
        asked = turn(account, "!say=the answer")
        done = finished(asked)
    assert (done.state, done.reason) == ("dead", Reason.PERMANENT)
    last = asked.attempts.order_by("number").last()
    assert last
    assert last.code == "answer_unknown"
    assert [run["count"] for run in stub.record] == [1]


def test_a_gateway_is_warmed_up_once_for_each_start_and_nobody_hears_of_it(
    stub: RunningStub, account: ChannelAccount
) -> None:
    with RunningConnector():
        eventually(lambda: len(stub.commands) == 1)
        first = stub.boot_id
        stub.disconnect()
        eventually(lambda: stub.connections == 1)
        assert finished(turn(account, "hello")).state == "delivered"
        assert stub.commands == {f"warmup-{first}": "/status"}
        stub.restart()
        eventually(lambda: stub.commands == {f"warmup-{stub.boot_id}": "/status"}, 20)
    with RunningConnector():
        assert finished(turn(account, "again")).state == "delivered"
    assert list(stub.commands) == [f"warmup-{stub.boot_id}"]
    assert Message.objects.filter(direction="out").count() == 2
    assert [run["message"] for run in stub.record] == ["hello", "again"]
