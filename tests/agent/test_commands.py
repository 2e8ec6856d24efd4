"""/stop and /new while a turn is under way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from bridge.models import Attempt, Carrier, Message, Reason, Route
from bridge.operations import replay
from bridge.pipeline.agent import turn as asking
from bridge.pipeline.agent.stop import stop_turns, unfinished_turns
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure
from channels_wechat.contract.explanations import Action, Cause
from tests.agent.turns import answers, finished, ran
from tests.support.connecting import RunningConnector
from tests.support.factories import claim, eventually, outcomes, picture, route, row, shift, state, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


def test_stop_breaks_the_turn_off(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        eventually(lambda: ran(stub))
        turn(account, "/stop")
        done = finished(asked)
    assert (done.state, done.reason, outcomes(asked)) == ("skipped", Reason.STOPPED, ["error"])
    assert list(Message.objects.filter(direction="out").values_list("text", flat=True)) == ["已停止。"]


def test_a_run_that_somebody_else_aborted_is_dead_and_replayable(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    """Nobody typed /stop: it must not look as if the person had wanted it."""
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        (run,) = eventually(lambda: stub.record)
        stub.abort(run["session_key"], run["key"])
        done = finished(asked)
    assert (done.state, done.reason) == ("dead", Reason.PERMANENT)
    assert (replay.why_not_replay(done), done.stopped_at) == ("", None)
    assert answers(done) == [account.sentence("failed")]


def test_a_stop_that_nobody_announced_is_read_from_the_row(
    stub: RunningStub, account: ChannelAccount, mapped: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "RENEW_SECONDS", 0.1)
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        eventually(lambda: ran(stub))
        shift(asked, stopped_at=0)
        done = finished(asked)
    assert (done.state, done.reason) == ("skipped", Reason.STOPPED)


def test_stop_while_the_turn_waits_for_its_files(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "look", media=(picture(),))
    with RunningConnector():
        eventually(lambda: state(asked) == "sending")
        turn(account, "/stop")
        done = finished(asked)
    assert (done.state, done.reason) == ("skipped", Reason.STOPPED)
    assert stub.record == []


def test_stop_while_the_connection_was_away(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    settle.open_attempt(claims.claim(Carrier.CONNECTOR, "lost", 1)[0], {"ask": f"{asked.pk}.0"})
    shift(asked, lease_until=-60)
    claims.sweep()
    turn(account, "/stop")
    with RunningConnector():
        assert (finished(asked).state, row(asked).reason) == ("skipped", Reason.STOPPED)
    assert ran(stub) == []
    assert answers(asked) == []


def test_after_new_the_agent_remembers_nothing(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    with RunningConnector():
        finished(turn(account, "1"))
        turn(account, "/new")
        finished(turn(account, "2"))
    assert len({run["session_key"] for run in stub.record}) == 2


def test_an_old_stop_does_not_break_off_a_turn_that_is_recovered(account: ChannelAccount) -> None:
    route(account)
    turn(account, "/stop")
    question = turn(account)
    (mine,) = claim(Carrier.CONNECTOR, "lost")
    settle.open_attempt(mine, {"ask": asking.idempotency_key_of(mine)})
    shift(mine, lease_until=-1)
    claims.sweep()
    (again,) = claim(Carrier.CONNECTOR)
    assert again.pk == question.pk
    assert asking.has_unknown_outcome(again)
    assert not asking.is_stopped(again)
    assert stop_turns(unfinished_turns(question.message.conversation_id)) == 1
    assert asking.is_stopped(again)


def test_a_turn_that_waits_to_be_asked_again_can_be_stopped(account: ChannelAccount) -> None:
    """Where the gateway was busy no try is burned: the turn's key tells that it was asked."""
    route(account)
    question = turn(account)
    (mine,) = claim(Carrier.CONNECTOR)
    settle.fail(
        mine,
        settle.open_attempt(mine, {"ask": asking.idempotency_key_of(mine)}),
        Failure(Action.WAIT, Cause("busy", {"detail": "later"}), 60),
    )
    assert (row(question).tries, row(question).run_number, state(question)) == (0, 1, "pending")
    assert stop_turns(unfinished_turns(question.message.conversation_id)) == 1
    assert asking.is_stopped(row(question))


def test_a_replay_forgets_a_stop_and_the_failures_before_it(account: ChannelAccount) -> None:
    route(account)
    question = turn(account)
    for number in range(4):
        Attempt.objects.create(
            delivery=question, number=number + 1, finished_at=timezone.now(), outcome="error", code="x"
        )
    Attempt.objects.update(started_at=timezone.now() - timedelta(seconds=5))
    shift(question, state="dead", reason=Reason.TRIES_SPENT, finished_at=0, stopped_at=0)
    assert replay.replay([question.pk]).count == 1
    assert asking.count_failures(row(question), "x") == 0
    assert not asking.is_stopped(row(question))
    Attempt.objects.create(delivery=question, number=5, finished_at=timezone.now(), outcome="error", code="x")
    assert asking.count_failures(row(question), "x") == 1
