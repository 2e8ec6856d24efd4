"""Staff take a conversation over while the agent works on an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from bridge.models import Conversation, Message, Reason, Route
from bridge.operations import handing_back, moving, replay
from bridge.operations.handing_back import Ask
from bridge.operations.unanswered import find_unanswered
from bridge.pipeline.agent import takeover
from bridge.pipeline.agent.turn import fail_turn, store_answer
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure
from channels_wechat.contract.explanations import Action, Cause
from tests.agent.turns import answers, finished, ran
from tests.support.connecting import RunningConnector
from tests.support.factories import app, claimed, eventually, outcomes, row, send, shift, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", first_name="Ann", is_staff=True)


@pytest.mark.parametrize("then_paused", [False, True])
def test_a_late_answer_is_not_sent_stands_on_its_delivery_and_its_question_can_be_asked_again(
    stub: RunningStub, account: ChannelAccount, mapped: Route, ann: User, then_paused: bool
) -> None:
    asked = turn(account, "!slow=2 !say=the_answer")
    with RunningConnector():
        eventually(lambda: ran(stub))
        takeover.take_over(Conversation.objects.get(), ann)
        if then_paused:
            takeover.pause(Conversation.objects.get(), ann)
        done = finished(asked)
        assert (done.state, done.reason, outcomes(asked), answers(asked)) == ("skipped", Reason.HUMAN, ["ok"], [])
        assert "the_answer" in done.attempts.get().response["text"]
        talk = Conversation.objects.get()
        assert done.message is not None
        assert (talk.waiting_count, talk.waiting_since) == (1, done.message.created_at)
        assert find_unanswered(talk) == [asked.pk]
        assert replay.why_not_replay(done) == ""
        handing_back.hand_back(talk, ann, Ask.ALL)
        eventually(lambda: answers(asked))
    assert (row(asked).state, row(asked).replays) == ("delivered", 1)
    assert Conversation.objects.get().waiting_count == 0


def test_what_staff_have_answered_meanwhile_waits_for_nobody(
    stub: RunningStub, account: ChannelAccount, mapped: Route, ann: User
) -> None:
    asked = turn(account, "!slow=2")
    with RunningConnector():
        eventually(lambda: ran(stub))
        takeover.take_over(Conversation.objects.get(), ann)
        send(account, "I have looked it up for you.")
        assert finished(asked).reason == Reason.HUMAN
    talk = Conversation.objects.get()
    assert (talk.waiting_count, find_unanswered(talk)) == (0, [])
    assert list(Message.objects.filter(direction="out").values_list("source", flat=True)) == ["staff"]


FAILURES = {
    "for good": (Failure(Action.PERMANENT, Cause("http_502")), "error"),
    "again later": (Failure(Action.RETRY, Cause("http_502"), 0.1), "error"),
    "the gateway is down": (Failure(Action.CONFIG, Cause("unreachable")), "error"),
    "with an unknown outcome": (Failure(Action.UNKNOWN, Cause("run_lost")), "unknown"),
}


@pytest.mark.parametrize("then_paused", [False, True])
@pytest.mark.parametrize("how", FAILURES)
def test_a_turn_that_fails_after_a_takeover_is_theirs_and_nobody_is_told(
    account: ChannelAccount, mapped: Route, ann: User, how: str, then_paused: bool
) -> None:
    failure, outcome = FAILURES[how]
    asked = turn(account, "where is my order?")
    running = claimed(asked)
    attempt = settle.open_attempt(running, {"ask": "key"})
    takeover.take_over(talk := Conversation.objects.get(), ann)
    if then_paused:
        takeover.pause(talk, ann)
    fail_turn(running, attempt, failure)
    assert (row(asked).state, row(asked).reason, row(asked).code) == ("skipped", Reason.HUMAN, "")
    assert outcomes(asked) == [outcome]
    assert row(asked).attempts.get().code == failure.cause.code
    talk.refresh_from_db()
    assert (talk.waiting_count, find_unanswered(talk)) == (1, [asked.pk])
    assert not Message.objects.filter(direction="out").exists()


def test_what_was_asked_again_before_a_pause_is_answered(account: ChannelAccount, mapped: Route, ann: User) -> None:
    """It was staff's before it was handed back; a pause alone does not keep an answer that the agent writes already."""
    takeover.take_over(talk := Conversation.objects.get(messages=(asked := turn(account, "hello?")).message_id), ann)
    handing_back.hand_back(talk, ann, Ask.LAST)
    running = claimed(asked)
    takeover.pause(talk, ann)
    store_answer(running, "the answer", [])
    assert answers(asked) == ["the answer"]


def test_after_a_move_a_late_answer_is_staffs_and_its_question_waits_where_the_conversation_goes_on(
    account: ChannelAccount, mapped: Route, ann: User
) -> None:
    running = claimed(asked := turn(account, "where is my order?"))
    takeover.take_over(talk := Conversation.objects.get(), ann)
    moved = moving.move_conversation(talk, moving.Destination(app(agent_id=7), "lisi", everybody=True))
    fail_turn(running, None, FAILURES["for good"][0])
    assert (row(asked).reason, answers(asked)) == (Reason.HUMAN, [])
    talk.refresh_from_db()
    moved.target.refresh_from_db()
    assert (talk.waiting_count, moved.target.waiting_count) == (0, 1)


def test_a_turn_that_fails_where_the_agent_answers_is_told(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "where is my order?")
    fail_turn(claimed(asked), None, FAILURES["for good"][0])
    assert (row(asked).state, answers(asked)) == ("dead", [account.sentence("failed")])


def test_a_turn_whose_connector_was_lost_is_not_asked_again_after_a_takeover(
    stub: RunningStub, account: ChannelAccount, mapped: Route, ann: User
) -> None:
    asked = turn(account, "where is my order?")
    settle.open_attempt(claimed(asked), {"ask": f"{asked.pk}.0"})
    takeover.take_over(Conversation.objects.get(), ann)
    shift(asked, lease_until=-1)
    claims.sweep()
    assert row(asked).state == "pending"
    with RunningConnector():
        done = finished(asked)
    assert (done.state, done.reason, outcomes(asked), ran(stub)) == ("skipped", Reason.HUMAN, ["interrupted"], [])
    assert Conversation.objects.get().waiting_count == 1
