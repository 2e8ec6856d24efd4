"""What may still be said to a person, from the router to the wire, against the simulated platform."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import limits
from accounts.channels import build_channel
from accounts.models import ReplyWindow
from bridge.models import Delivery, Message, Reason
from bridge.operations import retention
from bridge.pipeline.delivery import claims
from bridge.pipeline.delivery.types import Failure, LostLease, OpenAttempt
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import window_holds
from bridge.pipeline.outbound.gates import SendContext, pass_gates
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, Outgoing, Peer, Window
from channels_wechat.weixin.errors import WEIXIN
from tests.outbound.reply_windows import DELIVERED, HELD, PENDING, left, png, say
from tests.support.factories import (
    FAN,
    MINI,
    OFFICIAL,
    USER,
    answer,
    app,
    claimed,
    due,
    hear,
    limit_of,
    mini,
    official,
    outcomes,
    parts,
    route,
    row,
    send,
    shift,
    state,
    to_send,
    work_off,
)
from tests.support.followers import SEND, Crowd

if TYPE_CHECKING:
    import redis

    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(people: Crowd) -> ChannelAccount:
    return official(people.client.url)


def calls(people: Crowd) -> int:
    return len(people.client.calls(SEND))


def long(count: int, size: int = 1900) -> str:
    """A text that WeChat takes in so many messages, no two of which fit into one."""
    return "\n\n".join(str(number % 10) * size for number in range(count))


# --- the window opens and is used up ----------------------------------------------------------------------------------------


def test_five_messages_and_the_rest_waits_for_the_next_word(people: Crowd, account: ChannelAccount) -> None:
    message = answer(people.says(account), long(7))
    work_off()
    assert parts(message) == [DELIVERED] * 5 + [HELD] * 2
    assert (calls(people), left(account), people.refusals()) == (5, 0, {})
    held = message.deliveries.get(part=5)
    assert (held.tries, outcomes(held), held.error) == (
        0, [], "It is sent by itself as soon as this person writes again.",
    )  # fmt: skip
    assert list(Delivery.objects.filter(state="held", reason=Reason.WINDOW)) == list(
        message.deliveries.filter(part__gte=5).order_by("-id")
    )
    people.says(account, "?")
    assert parts(message)[5:] == [PENDING] * 2
    work_off()
    assert (parts(message), left(account)) == ([DELIVERED] * 7, 3)
    assert "".join(people.shown()).replace("\n", "") == long(7).replace("\n", "")


def test_old_parts_leave_a_place_for_the_newest_answer(people: Crowd, account: ChannelAccount) -> None:
    """An answer that fills windows, then three questions: each answer comes."""
    route(account)
    old = answer(people.says(account, "a long story"), long(10))
    work_off()
    for number in range(3):
        question = people.says(account, f"question {number}")
        work_off()
        answer(question, f"answer {number}")
        Delivery.objects.filter(message=question, target="agent").update(state="delivered", finished_at=timezone.now())
        work_off()
        assert people.shown()[-1] == f"answer {number}"
    assert parts(old)[:8] == [DELIVERED] * 8


@pytest.mark.parametrize("asking", [False, True])
def test_two_messages_of_a_window_are_kept_for_a_question_that_waits_or_is_being_answered(
    people: Crowd, account: ChannelAccount, asking: bool
) -> None:
    route(account)
    old = answer(people.says(account, "a long story"), long(5))
    question = people.says(account, "and another question").deliveries.get()
    if asking:
        shift(question, state="sending", lease_until=60)
    work_off()
    assert (parts(old), left(account)) == ([DELIVERED] * 3 + [HELD] * 2, 2)


@pytest.mark.parametrize(("deed", "count"), [("follow", 3), ("click_menu", 3), ("scan", 3)])
def test_each_deed_opens_its_own_window(people: Crowd, account: ChannelAccount, deed: str, count: int) -> None:
    more = {"follow": (), "click_menu": ("K",), "scan": ("7",)}[deed]
    people.does(account, lambda: getattr(people.client, deed)(OFFICIAL, FAN, *more))
    assert left(account) == count
    people.later(61)
    assert left(account) == 0


def test_a_mini_programs_users_have_windows_too(people: Crowd) -> None:
    account = mini(people.client.url)
    people.does(account, lambda: people.client.enter_session(MINI, USER))
    assert left(account, USER) == 2
    people.does(account, lambda: people.client.say("在吗", mini=MINI, from_=USER))
    assert left(account, USER) == 5


def test_a_window_begins_with_the_deed_however_late_it_is_heard(account: ChannelAccount) -> None:
    began = int(timezone.now().timestamp()) - 3600
    hear(account, sender=FAN, window=Window(5, 48 * 3600), occurred_at=began)
    router.route_waiting()
    assert ReplyWindow.objects.get().until.timestamp() == pytest.approx(began + 48 * 3600, abs=120)


def test_a_message_that_opens_nothing_costs_the_router_nothing(account: ChannelAccount) -> None:
    hear(account, sender=FAN)
    router.route_waiting()  # the first one makes the conversation
    counts = []
    for window in (None, Window(5, 60)):
        hear(account, sender=FAN, window=window)
        with CaptureQueriesContext(connection) as asked:
            router.route_waiting()
        counts.append(sum("savepoint" not in str(query["sql"]).lower() for query in asked))
    assert (counts[1] - counts[0], left(account)) == (2, 5)


def test_who_never_wrote_gets_it_when_they_do(people: Crowd, account: ChannelAccount) -> None:
    delivery = to_send(account, "Hello from staff", FAN)
    work_off()
    assert (parts(delivery.message), calls(people)) == ([HELD], 0)
    assert "by itself" in row(delivery).error
    people.says(account)
    work_off()
    assert (state(delivery), people.shown()) == ("delivered", ["Hello from staff"])


def test_a_subscribe_message_needs_no_window(people: Crowd) -> None:
    account = mini(people.client.url)
    people.client.accept(MINI, USER, "T1")
    people.heard(account)
    data = {"template_id": "T1", "data": {"thing1": {"value": "周会"}}}
    delivery = to_send(account, "", USER, content=Content(kind="subscribe", data=data))
    work_off()
    assert (state(delivery), left(account, USER)) == ("delivered", 0)


def test_without_windows_nothing_is_counted(company: Any) -> None:
    delivery = to_send(app(company.url))
    work_off()
    assert (state(delivery), ReplyWindow.objects.count()) == ("delivered", 0)


# --- held and released ------------------------------------------------------------------------------------------------------


def test_what_is_held_keeps_its_place_before_what_came_later(people: Crowd, account: ChannelAccount) -> None:
    first = send(account, long(2), FAN)
    work_off()
    second = to_send(account, "second", FAN)
    work_off()
    places = list(Delivery.objects.filter(lane=second.lane).order_by("id").values_list("id", "seq"))
    assert [*parts(first), (row(second).state, row(second).reason)] == [HELD] * 3
    people.says(account)
    third = to_send(account, "third", FAN)
    assert list(Delivery.objects.filter(lane=second.lane).order_by("id").values_list("id", "seq"))[:3] == places
    work_off()
    assert [text[:6] for text in people.shown()] == ["000000", "111111", "second", "third"]
    assert state(third) == "delivered"


def test_what_waited_for_two_days_is_not_too_old(people: Crowd, account: ChannelAccount) -> None:
    delivery = to_send(account, "patience", FAN)
    work_off()
    people.later(40 * 3600)
    assert (timezone.now() - row(delivery).queued_at).total_seconds() > settings.MAX_AGE_ANSWER
    people.says(account)
    work_off()
    assert (state(delivery), people.shown()) == ("delivered", ["patience"])


def test_what_is_held_is_never_deleted(people: Crowd, account: ChannelAccount) -> None:
    delivery = to_send(account, "patience", FAN)
    work_off()
    type(account).objects.update(retention_days=7)
    Message.objects.update(created_at=timezone.now() - timedelta(days=100))
    assert (retention.count_prunable()[account.name], retention.prune(5).messages) == (0, 0)
    assert parts(delivery.message) == [HELD]


def test_only_this_persons_lane_is_released(people: Crowd, account: ChannelAccount) -> None:
    people.client.person(OFFICIAL, "小刚", "oAnother")
    mine, theirs = to_send(account, "1", FAN), to_send(account, "2", "oAnother")
    work_off()
    people.says(account)
    work_off()
    assert [state(mine), state(theirs)] == ["delivered", "held"]


@pytest.mark.parametrize("reason", [Reason.REVIEW, Reason.CHECKING, Reason.PART_BEFORE])
def test_what_is_held_for_another_reason_is_not_released(
    people: Crowd, account: ChannelAccount, reason: Reason
) -> None:
    waiting = to_send(account, "a person decides", FAN)
    shift(waiting, state="held", reason=reason)
    people.says(account)
    assert (row(waiting).state, row(waiting).reason) == ("held", reason)


def test_nobody_overtakes_what_was_released_after_their_claim(people: Crowd, account: ChannelAccount) -> None:
    first = to_send(account, "first", FAN)
    work_off()
    second = claimed(to_send(account, "second", FAN))
    people.says(account)
    assert not pass_gates(SendContext(second))
    assert [state(first), state(second), row(second).tries] == ["pending", "pending", 0]
    work_off()
    assert people.shown() == ["first", "second"]


def test_a_window_that_opens_while_something_is_held_lets_it_go(people: Crowd, account: ChannelAccount) -> None:
    mine = claimed(to_send(account, "now", FAN))
    people.says(account)
    window_holds.hold_for_window(mine)
    assert (parts(mine.message), left(account)) == ([PENDING], 5)


# --- the platform says otherwise --------------------------------------------------------------------------------------------


def test_others_may_have_used_the_window_up(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    channel = build_channel(account)
    for text in "12345":  # staff in WeChat's own console
        channel.send(Outgoing(Peer("direct", FAN), channel.render(Content(text))[0]))
    first, second = say(account, "first", "second")
    work_off()
    assert [(row(d).state, row(d).reason, row(d).tries) for d in (first, second)] == [(*HELD, 0)] * 2
    attempt = first.attempts.get()
    assert (attempt.outcome, attempt.code, attempt.response["errcode"]) == ("error", "45047", 45047)
    assert "45047" in row(first).error
    assert (calls(people), left(account), outcomes(second)) == (6, 0, [])
    people.says(account)
    work_off()
    assert (people.shown()[5:], left(account), outcomes(first)) == (["first", "second"], 3, ["error", "ok"])


def test_a_refusal_that_is_older_than_the_last_deed_holds_nothing(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    mine = claimed(to_send(account, "now", FAN))
    attempt = window_holds.open_counted_attempt(OpenAttempt(mine, {}))
    assert attempt is not None
    people.says(account)
    error = WEIXIN.error(45047)
    window_holds.hold_for_window(mine, attempt, Failure(Action.WINDOW, error.cause))
    assert (parts(mine.message), outcomes(mine), row(mine).tries, left(account)) == ([PENDING], ["error"], 0, 5)


@pytest.mark.parametrize(
    ("fault", "ends", "uses"),
    [
        ({"kind": "errcode", "errcode": -1}, "uncertain", 1),
        ({"kind": "errcode", "errcode": 45169}, "pending", 0),
        ({"kind": "errcode", "errcode": 45009}, "pending", 0),
        ({"kind": "errcode", "errcode": 40164}, "pending", 0),
        ({"kind": "errcode", "errcode": 45002}, "dead", 0),
        ({"kind": "reset_after"}, "uncertain", 1),
        ({"kind": "reset"}, "uncertain", 1),
    ],
)
def test_only_what_may_have_arrived_uses_a_window(
    people: Crowd, account: ChannelAccount, fault: dict[str, Any], ends: str, uses: int
) -> None:
    people.says(account)
    delivery = to_send(account, "hello", FAN)
    people.client.fault(SEND, fault.pop("kind"), **fault)
    work_off()
    assert (state(delivery), left(account)) == (ends, 5 - uses)


@pytest.mark.parametrize("kind", ["errcode", "reset_after"])
def test_an_upload_that_fails_uses_no_window(people: Crowd, account: ChannelAccount, kind: str) -> None:
    people.says(account)
    delivery = send(account, "", FAN, files=[png()], content=Content()).deliveries.get()
    people.client.fault("media/upload", kind, errcode=-1)
    work_off()
    assert (state(delivery), outcomes(delivery), left(account)) == ("pending", [], 5)
    due(delivery)
    work_off()
    assert (state(delivery), left(account)) == ("delivered", 4)


def test_a_lost_process_used_its_window_only_where_something_may_have_left(
    people: Crowd, account: ChannelAccount
) -> None:
    people.says(account)
    mine = claimed(to_send(account, "hello", FAN))
    assert pass_gates(SendContext(mine))
    shift(mine, lease_until=-1)
    claims.sweep()
    assert (state(mine), left(account)) == ("pending", 5)
    mine = claimed(mine)
    window_holds.open_counted_attempt(OpenAttempt(mine, {}))
    shift(mine, lease_until=-1)
    claims.sweep()
    assert (state(mine), left(account)) == ("uncertain", 4)


def test_who_lost_the_lease_takes_nothing(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    mine = claimed(to_send(account, "hello", FAN))
    shift(mine, holder="another")
    with pytest.raises(LostLease):
        window_holds.open_counted_attempt(OpenAttempt(mine, {}))
    assert (left(account), outcomes(mine)) == (5, [])


def test_the_last_use_may_be_gone_after_an_upload(people: Crowd, account: ChannelAccount) -> None:
    people.says(account)
    mine = claimed(to_send(account, "hello", FAN))
    assert pass_gates(SendContext(mine))
    ReplyWindow.objects.update(left=0)
    assert window_holds.open_counted_attempt(OpenAttempt(mine, {})) is None
    window_holds.hold_for_window(mine)
    assert (parts(mine.message), outcomes(mine), row(mine).tries) == ([HELD], [], 0)


def test_a_rate_limit_uses_no_window_and_an_empty_window_no_rate(
    people: Crowd, account: ChannelAccount, valkey: redis.Redis
) -> None:
    day = limit_of(account, "day")
    delivery = to_send(account, "hello", FAN)
    work_off()
    assert limits.list_remaining([day], str(account.key)) == [(day, day.count)]
    people.says(account)
    valkey.hset(
        f"limit:{account.key}:day", str(int(timezone.now().timestamp() // (day.per / limits.SLICES))), day.count
    )
    work_off()
    assert (state(delivery), left(account), calls(people)) == ("pending", 5, 0)
    valkey.flushall()
    due(delivery)
    work_off()
    assert (state(delivery), left(account)) == ("delivered", 4)
