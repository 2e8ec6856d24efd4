"""Staff take a conversation over while the agent works on an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from bridge.models import Conversation, Message, Reason, Route
from bridge.operations import handing_back, replay
from bridge.operations.handing_back import Ask
from bridge.operations.unanswered import find_unanswered
from bridge.pipeline.agent import takeover
from tests.agent.turns import answers, finished, ran
from tests.support.connecting import RunningConnector
from tests.support.factories import eventually, outcomes, row, send, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", first_name="Ann", is_staff=True)


def test_a_late_answer_is_not_sent_stands_on_its_delivery_and_its_question_can_be_asked_again(
    stub: RunningStub, account: ChannelAccount, mapped: Route, ann: User
) -> None:
    asked = turn(account, "!slow=2 !say=the_answer")
    with RunningConnector():
        eventually(lambda: ran(stub))
        takeover.take_over(Conversation.objects.get(), ann)
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
