"""A person has so many turns a minute: who writes more is skipped, and told so once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts.channels import build_channel
from bridge.models import Carrier, Contact, Message, Reason, Route
from bridge.pipeline.inbound.rate import SenderRate
from bridge.pipeline.replies.streams import answer_poll
from tests.delivery.backlog import asked
from tests.support.callbacks import opened
from tests.support.factories import FAN, GROUP, app, bot, official, route, row, state, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


def test_a_person_has_so_many_turns_at_once_and_then_one_for_each_share() -> None:
    now, person = timezone.now(), SenderRate()
    assert [person.take_turn(3, now) for _time in range(5)] == [True, True, True, False, False]
    assert person.take_turn(3, now + timedelta(seconds=19)) is False
    assert person.take_turn(3, now + timedelta(seconds=20)) is True
    assert person.take_turn(3, now + timedelta(seconds=20)) is False
    later = now + timedelta(seconds=500)
    assert [person.take_turn(3, later) for _time in range(4)] == [True, True, True, False]
    assert all(person.take_turn(None, now) for _time in range(99))


def test_a_refusal_is_told_once_until_a_quiet_minute() -> None:
    now, person = timezone.now(), SenderRate()
    told = [person.must_be_notified(now + timedelta(seconds=seconds)) for seconds in (0, 1, 30, 80, 139, 200)]
    assert told == [True, False, False, False, False, True]


def answers_of(account: ChannelAccount) -> list[str]:
    return list(Message.objects.filter(account=account, direction="out").order_by("pk").values_list("text", flat=True))


@pytest.mark.parametrize("together", [True, False])
def test_who_writes_too_much_is_skipped_and_told_once(together: bool) -> None:
    account = app(columns={"turns_per_minute": 3})
    route(account)
    if together:
        rows = asked(account, *["a"] * 6, "b")
    else:
        rows = [turn(account, sender="a") for _time in range(6)] + [turn(account, sender="b")]
    assert [(state(one), row(one).reason) for one in rows[:3]] == [("pending", "")] * 3
    assert [(state(one), row(one).reason) for one in rows[3:6]] == [("skipped", Reason.TOO_MANY)] * 3
    assert state(rows[6]) == "pending"
    assert answers_of(account) == ["您发送消息过于频繁，超出的消息未处理，请稍后再试。"]


def test_it_counts_for_a_person_wherever_they_write_and_not_for_a_group() -> None:
    account = app(columns={"turns_per_minute": 2})
    route(account)
    assert turn(account, sender="a").state == "pending"
    assert turn(account, sender="a", group=GROUP).state == "pending"
    assert turn(account, sender="a", group="wrOther").reason == Reason.TOO_MANY
    assert [turn(account, sender=who, group=GROUP).state for who in "bcd"] == ["pending"] * 3


def test_what_is_no_turn_does_not_count_and_stop_is_always_heard() -> None:
    account = app(columns={"turns_per_minute": 1})
    route(account, trigger="keyword", trigger_words="go")
    assert [turn(account, "no", "a").reason for _time in range(3)] == [Reason.NO_TRIGGER] * 3
    assert turn(account, "go", "a").state == "pending"
    assert turn(account, "go", "a").reason == Reason.TOO_MANY
    route_of = Route.objects.get()
    Route.objects.filter(pk=route_of.pk).update(trigger="all")
    assert turn(account, "/stop", "a").reason == Reason.COMMAND


def test_a_replay_by_staff_does_not_count() -> None:
    from bridge.operations.replay import replay

    account = app(columns={"turns_per_minute": 1})
    route(account)
    turn(account)
    refused = turn(account)
    assert replay([refused.pk]).count == 1
    assert state(refused) == "pending"


def test_the_minute_passes() -> None:
    account = app(columns={"turns_per_minute": 1})
    route(account)
    assert [turn(account).state for _time in range(2)] == ["pending", "skipped"]
    Contact.objects.update(turns_until=timezone.now() - timedelta(seconds=1))
    assert turn(account).state == "pending"


def test_a_bot_s_stream_carries_the_sentence_and_the_next_ends_without_one() -> None:
    account = bot(columns={"turns_per_minute": 1})
    route(account)
    turn(account, group=GROUP, reply="https://reply/?a")
    first = turn(account, group=GROUP, reply="https://reply/?b")
    second = turn(account, group=GROUP, reply="https://reply/?c")
    channel, query = build_channel(account), {"timestamp": "1", "nonce": "n"}
    shown = [opened(answer_poll(account, channel, query, one.message.uuid.hex).answer.body) for one in (first, second)]
    assert shown[0]["stream"]["content"] == "您发送消息过于频繁，超出的消息未处理，请稍后再试。"
    assert [frame["stream"]["finish"] for frame in shown] == [True, True]
    assert "尚未接入" not in shown[1]["stream"]["content"]


def test_an_account_that_speaks_in_the_reply_keeps_the_sentence_to_be_read() -> None:
    account = official(columns={"turns_per_minute": 1}, answers="passive")
    route(account)
    raw = {"FromUserName": FAN, "ToUserName": "gh_1", "CreateTime": "1"}
    turn(account, "1", FAN, raw=raw)
    refused = turn(account, "2", FAN, raw=raw)
    sentence = Message.objects.get(reply_to=refused.message_id).deliveries.get()
    assert (sentence.carrier, sentence.state) == (Carrier.HTTP_REPLY, "pending")
