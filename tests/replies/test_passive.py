"""Answers in the reply to the callback: who gets which part, and what ends a request."""

from __future__ import annotations

import time
from concurrent.futures import Executor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts import capabilities, channels, valkey
from accounts.models import ChannelAccount
from bridge.models import Conversation, Delivery, Message, Reason, State
from bridge.operations.replay import replay
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure
from bridge.pipeline.inbound import router
from bridge.pipeline.replies import passive, unread, waiting_requests
from bridge.runtime.conf import capacity
from channels_wechat.contract.explanations import Action, Cause
from channels_wechat.contract.messages import message_uuid
from channels_wechat.weixin.errors import WEIXIN
from channels_wechat.weixin.official_account import OfficialAccount
from tests.replies.passive import HINT, LATER, LONG, answers_by, pushed, sealed, words
from tests.support.callbacks import call
from tests.support.factories import (
    FAN,
    answer,
    claimed,
    due,
    official,
    parts,
    row,
    said,
    send,
    shift,
    state,
    to_send,
    work_off,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
SORRY = "抱歉，处理时出了问题，请稍后再试。"
WITHHELD = WEIXIN.error(48001, capability="custom_send")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A platform in a hurry."""
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 30.0)
    monkeypatch.setattr(OfficialAccount, "last_seconds", 0.1)
    capabilities._known.clear()
    yield
    capabilities._known.clear()


def say(account: ChannelAccount, text: str, msgid: int) -> str:
    return words(call(account, *pushed(text, msgid)))


def ask(account: ChannelAccount, text: str = "hello", msgid: int = 1) -> Message:
    """By callback, and routed; the callback itself ended before that."""
    _as_delivery(2, msgid)  # so the request that stores it is the last one, and ends at once
    call(account, *pushed(text, msgid))
    router.route_waiting()
    return Message.objects.get(idempotency_key=str(msgid))


def _as_delivery(count: int, msgid: int) -> None:
    """So many deliveries of it were counted before."""
    key = str(ChannelAccount.objects.get().key)
    name = f"passive:{message_uuid(key, str(msgid))}"
    valkey.try_valkey(lambda client: client.set(name, count), None)


# --- what a request is answered with


def test_a_request_without_a_turn_is_answered_at_once(account: ChannelAccount) -> None:
    account.routes.all().delete()
    ask(account)
    began = time.monotonic()
    assert say(account, "hello", 1) == ""
    assert time.monotonic() - began < 10  # of the thirty it would be held


def test_the_same_part_again_when_the_platform_repeats(account: ChannelAccount) -> None:
    question = ask(account)
    answer(question, LONG)
    first = say(account, "hello", 1)
    assert first.startswith("甲")
    assert first.endswith(HINT)
    assert say(account, "hello", 1) == first
    assert parts(question.replies.get()) == [("delivered", ""), ("pending", ""), ("pending", "")]
    (delivered,) = Delivery.objects.filter(state="delivered")
    assert (delivered.remote_id, delivered.tries, delivered.attempts.count()) == ("1", 1, 1)


@pytest.mark.parametrize("how", ["breaks", "gone", "late"])
@pytest.mark.parametrize("swept", [False, True])
def test_a_reply_that_was_not_sent_is_no_delivery(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch, how: str, *, swept: bool
) -> None:
    """Whoever is asked again gives the same again; where nobody asks again, nobody knows whether it was read."""
    part = answer(ask(account), "forty-two").deliveries.get()
    with monkeypatch.context() as stands_still:
        if how == "late":
            stands_still.setattr("bridge.runtime.web.http.CLIENT_TIMEOUT_SECONDS", 0.0)
        stands_still.setattr("bridge.runtime.web.http.LISTEN_SECONDS", 0.0)  # it is listened to from the beginning
        call(account, *pushed("hello", 1), **{how: True})
    assert (state(part), row(part).attempts.get().outcome) == ("sending", "")
    if swept:
        shift(part, lease_until=-1)
        claims.sweep()
        assert (state(part), row(part).reason) == ("uncertain", Reason.UNKNOWN)
    assert say(account, "hello", 1) == "forty-two"
    assert (state(part), row(part).attempts.get().outcome) == ("delivered", "ok")
    assert say(account, "hello", 1) == "forty-two"
    assert row(part).attempts.count() == 1


def test_reading_on_to_the_end_and_then_older_ones(account: ChannelAccount) -> None:
    older, newer = ask(account, "older", 1), ask(account, "newer", 2)
    answer(older, "old words")
    answer(newer, LONG)
    Delivery.objects.filter(target="agent").update(state=State.DELIVERED, finished_at=timezone.now())
    assert say(account, "newer", 2).startswith("甲")
    said = []
    for msgid in (3, 4, 5, 6):
        ask(account, "1", msgid)
        said.append(say(account, "1", msgid))
    assert [one[:1] for one in said] == ["乙", "丙", "o", LATER[0]]
    assert [one.endswith(HINT) for one in said] == [True, True, False, False]
    found = Delivery.objects.filter(target="agent").order_by("id").values_list("reason", flat=True)
    # The last one came when all was read: an ordinary turn.
    assert list(found) == ["", "", "read_on", "read_on", "read_on", ""]


def test_an_answer_that_nobody_heard_of_is_told_in_the_next_reply(account: ChannelAccount) -> None:
    """As after the first answer of an account that turns out not to be verified."""
    missed, newer = ask(account, "missed", 1), ask(account, "newer", 2)
    answer(missed, "old words")
    answer(newer, "new words")
    Delivery.objects.filter(target="agent").update(state=State.DELIVERED, finished_at=timezone.now())
    assert say(account, "newer", 2) == "new words\n\n（还有一条较早的回答未读，回复 2 查看）"
    ask(account, "2", 3)
    assert say(account, "2", 3) == "old words"
    ask(account, "2", 4)  # nothing is unread: an ordinary turn
    reasons = Delivery.objects.filter(target="agent").order_by("id").values_list("reason", flat=True)
    assert list(reasons) == ["", "", "read_on", ""]


def test_where_the_agent_says_nothing_the_missed_answer_stands_in_the_reply(account: ChannelAccount) -> None:
    missed = ask(account, "missed", 1)
    answer(missed, "old words")
    ask(account, "thanks", 2)
    Delivery.objects.filter(target="agent").update(state=State.DELIVERED, finished_at=timezone.now())
    assert say(account, "thanks", 2) == "old words"


@pytest.mark.parametrize("too_long", [False, True])
def test_the_line_that_tells_how_to_read_on_fits_in_bytes(account: ChannelAccount, *, too_long: bool) -> None:
    channel = channels.build_channel(account)
    assert isinstance(channel, OfficialAccount)
    line = "\n\n" + account.sentence("read_on")
    room = OfficialAccount.passive_bytes - len(line.encode())
    text = "字" * (room // 3) + "x" * (room % 3 + too_long)
    assert unread.add_continue_hint(channel, text) == (text if too_long else text + line)


def test_the_rest_of_an_answer_is_not_given_unasked(account: ChannelAccount) -> None:
    answer(ask(account, "a story", 1), LONG)
    Delivery.objects.filter(target="agent").update(state=State.DELIVERED, finished_at=timezone.now())
    assert say(account, "a story", 1).startswith("甲")
    ask(account, "thanks", 2)
    Delivery.objects.filter(target="agent").update(state=State.DELIVERED, finished_at=timezone.now())
    assert say(account, "thanks", 2) == ""
    answer(ask(account, "more", 3), "another story")
    assert say(account, "more", 3) == "another story", "the reader knows of the rest of the first one"


def test_what_another_account_was_given_under_the_same_number_is_not_shown(account: ChannelAccount) -> None:
    question = ask(account, "hello", 7)
    theirs = to_send(official(answers="messages", app_id="wxother"), peer_id=FAN)
    shift(theirs, state="delivered", finished_at=0, carrier="http_reply", remote_id="7")
    found = unread.load_question_status(question.uuid)
    assert found is not None
    assert found.given is None


def test_the_word_for_older_answers_leaves_the_newest_for_its_own(account: ChannelAccount) -> None:
    older, newer = ask(account, "older", 1), ask(account, "newer", 2)
    answer(older, "old words")
    answer(newer, LONG)
    Delivery.objects.filter(target="agent").update(state=State.DELIVERED, finished_at=timezone.now())
    assert "回复 2" in say(account, "newer", 2)
    for msgid, word, start in ((3, "2", "old"), (4, "1", "乙"), (5, "1", "丙")):
        ask(account, word, msgid)
        assert say(account, word, msgid).startswith(start)


def test_the_last_delivery_tells_how_to_read_later(account: ChannelAccount) -> None:
    ask(account)
    assert say(account, "hello", 1) == LATER
    ask(account, "1", 2)
    assert say(account, "1", 2) == LATER  # still under way
    answer(Message.objects.get(idempotency_key="1"), "at last")
    assert say(account, "1", 2) == "at last"
    assert Delivery.objects.get(message__idempotency_key="2").reason == Reason.READ_ON


def test_an_earlier_delivery_is_no_answer(account: ChannelAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 1.0)
    monkeypatch.setattr(passive, "WAIT_BEYOND_SECONDS", 0.1)
    reply = call(account, *pushed("hello", 1))
    assert (reply.status, reply.body) == (503, b"")
    assert Message.objects.count() == 1


@pytest.mark.parametrize("dead", ["turn", "read_on"])
def test_a_failed_turn_says_so(account: ChannelAccount, dead: str) -> None:
    question = ask(account)
    if dead == "read_on":
        ask(account, "1", 2)
    delivery = claimed(Delivery.objects.get(message=question))
    settle.fail(delivery, None, Failure(Action.PERMANENT, Cause("x", {"detail": "broken"})))
    assert say(account, *(("hello", 1) if dead == "turn" else ("1", 2))) == SORRY


@pytest.mark.parametrize("text", ["once", LONG])
def test_a_part_that_another_request_got_is_not_given_twice(account: ChannelAccount, text: str) -> None:
    question = ask(account)
    ask(account, "1", 2)
    answer(question, text)
    Delivery.objects.filter(message=question).update(state=State.DELIVERED, finished_at=timezone.now())
    assert say(account, "1", 2)[:1] == text[:1]
    assert say(account, "hello", 1) == ""


def test_a_command_is_answered_by_its_own_request(account: ChannelAccount) -> None:
    ask(account, "/new")
    assert say(account, "/new", 1) == "已开始新的会话。"
    assert Delivery.objects.get(target="agent").reason == Reason.COMMAND


def test_staff_who_have_taken_over_are_waited_for(account: ChannelAccount) -> None:
    ask(account)
    Conversation.objects.update(mode=Conversation.Mode.HUMAN)
    ask(account, "anybody?", 2)
    assert say(account, "anybody?", 2) == LATER
    send(account, "yes", FAN)
    assert say(account, "anybody?", 2) == "yes"


def test_events_are_not_held(account: ChannelAccount) -> None:
    began = time.monotonic()
    event = "<MsgType>event</MsgType><Event>subscribe</Event>"
    assert words(call(account, *sealed(event))) == ""
    assert time.monotonic() - began < 10
    assert Message.objects.get().kind == "event"


def test_too_many_held_are_answered_at_once(account: ChannelAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "MAX_WAITING_REPLIES", 0)
    ask(account)
    _as_delivery(0, 1)
    assert say(account, "hello", 1) == LATER
    answer(Message.objects.get(direction="in"), "there")
    assert say(account, "hello", 1) == "there"


def test_without_valkey_the_time_tells_which_delivery_it_is(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 5.0)
    message = ask(account)
    _as_delivery(0, 1)
    Message.objects.filter(pk=message.pk).update(created_at=timezone.now() - timedelta(seconds=10))
    assert say(account, "hello", 1) == LATER


@pytest.mark.parametrize(("seconds", "number"), [(1, 1), (3, 1), (6, 2), (11, 3)])
def test_without_valkey_and_the_row_the_platforms_whole_seconds_tell_it(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch, seconds: int, number: int
) -> None:
    monkeypatch.setattr(OfficialAccount, "hangs_up_seconds", 5.0)
    heard = said("hello", FAN, occurred_at=time.time() - seconds)
    channel: Any = channels.build_channel(account)
    assert (
        passive._Request(account, channel, heard, waiting_requests.WaitSlots(1), Executor())._request_number(0, None)
        == number
    )


# --- an account that is not granted messages


def test_withheld_messages_become_readable(account: ChannelAccount) -> None:
    answers_by(account, "automatic")
    question = ask(account)
    message = answer(question, LONG)
    assert {one.carrier for one in message.deliveries.all()} == {"worker"}
    capabilities.restrict(account, "custom_send", WITHHELD)
    work_off()
    assert {(one.carrier, one.lane, one.state, one.tries) for one in message.deliveries.all()} == {
        ("http_reply", f"read:{message.pk}", "pending", 0)
    }
    assert say(account, "hello", 1).startswith("甲")


def test_a_replay_of_an_unread_part_can_be_read_again(account: ChannelAccount) -> None:
    question = ask(account)
    part = answer(question, "words").deliveries.get()
    due(part)
    work_off()
    assert state(part) == "skipped"
    assert replay([part.pk]).count == 1
    again = row(part)
    assert (again.carrier, again.state, again.lane) == ("http_reply", "pending", part.lane)
    assert say(account, "hello", 1) == "words"
