"""What staff do with what failed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from bridge.models import Conversation, Delivery, Message, Reason, Route, State
from bridge.operations.replay import CHANGED, _lock_and_read, _queue_again, dismiss, release, replay, why_not_replay
from bridge.pipeline.delivery import retry_policy, settle
from bridge.pipeline.delivery.types import Failure
from bridge.pipeline.inbound import router
from channels_wechat.contract.explanations import Action, Cause
from tests.support.factories import (
    GROUP,
    answer,
    app,
    bot,
    claim,
    claimed,
    gateway,
    hear,
    parts,
    route,
    row,
    send,
    shift,
    state,
    to_send,
    turn,
    work_off,
)

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
LONG = "甲" * 1500  # three parts of an app's text
REPLY = "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=secret"


@pytest.fixture
def account() -> ChannelAccount:
    return app()


def ended(delivery: Delivery, end: str = "dead", reason: str = Reason.PERMANENT, **columns: object) -> Delivery:
    shift(delivery, state=end, reason=reason, finished_at=0, tries=3, code_params={"text": "x"}, holder="h", **columns)
    return row(delivery)


@pytest.mark.parametrize("end", ["dead", "uncertain", "skipped"])
def test_it_is_queued_at_the_tail_as_it_was(account: ChannelAccount, end: str) -> None:
    failed, waiting = ended(to_send(account, "1"), end, dedup_until=100, stopped_at=0), to_send(account, "2")
    before = failed.payload
    assert replay([failed.pk], twice=end == "uncertain").count == 1
    after = row(failed)
    assert (after.state, after.reason, after.error, after.tries, after.run_number, after.replays) == (
        "pending",
        "",
        "",
        0,
        1,
        1,
    )
    assert (after.payload, after.holder, after.dedup_until, after.finished_at) == (before, "", None, None)
    assert after.stopped_at is None
    assert after.seq > waiting.seq
    assert [d.pk for d in claim()] == [waiting.pk]


def test_the_age_counts_from_the_replay(account: ChannelAccount) -> None:
    failed = ended(to_send(account), reason=Reason.TOO_OLD, queued_at=-100_000)
    assert retry_policy.is_expired(failed)
    replay([failed.pk])
    assert not retry_policy.is_expired(row(failed))


@pytest.mark.parametrize("now", ["pending", "sending", "delivered"])
def test_what_is_not_over_or_went_well_is_refused(account: ChannelAccount, now: str) -> None:
    delivery = to_send(account)
    shift(
        delivery, state=now, lease_until=10 if now == "sending" else None, finished_at=0 if now == "delivered" else None
    )
    before = row(delivery)
    result = replay([delivery.pk])
    assert (result.count, [pk for pk, _why in result.refused]) == (0, [delivery.pk])
    assert (row(delivery).state, row(delivery).seq, row(delivery).run_number) == (now, before.seq, 0)


def test_a_held_part_waits_for_the_one_before_it(account: ChannelAccount) -> None:
    message = send(account, "字" * 1500)
    first, second, third = message.deliveries.order_by("part")
    settle.fail(
        mine := claimed(first), settle.open_attempt(mine, {}), Failure(Action.PERMANENT, Cause("x", {"detail": "x"}))
    )
    assert "replay that one" in replay([second.pk]).refused[0][1]
    assert replay([first.pk]).count == 1
    assert parts(message) == [("pending", ""), ("held", "part_before"), ("held", "part_before")]
    shift(third, queued_at=-1_000_000)  # it waited long for staff
    for part in (first, second, third):
        settle.mark_delivered(mine := claimed(part), settle.open_attempt(mine, {}))
    assert not retry_policy.is_expired(row(third))
    assert [s for s, _reason in parts(message)] == ["delivered"] * 3


@pytest.mark.parametrize(
    ("reason", "why_not"),
    [
        (Reason.REVIEW, "release it, or dismiss it"),
        (Reason.CHECKING, "release it, or dismiss it"),
        (Reason.WINDOW, "until the person writes again"),
    ],
)
def test_what_is_held_for_somebody_is_not_replayed(account: ChannelAccount, reason: str, why_not: str) -> None:
    delivery = to_send(account)
    shift(delivery, state="held", reason=reason)
    before = row(delivery)
    result = replay([delivery.pk], twice=True)
    assert (result.count, [why_not in why for _pk, why in result.refused]) == (0, [True])
    after = row(delivery)
    assert (after.state, after.reason, after.seq, after.run_number) == ("held", reason, before.seq, 0)


def test_content_that_was_never_rendered_is_refused(account: ChannelAccount) -> None:
    delivery = send(account, "", source=Message.Source.AGENT).deliveries.get()
    assert "never rendered" in replay([delivery.pk]).refused[0][1]


def test_gone_and_several_at_once(account: ChannelAccount) -> None:
    failed = [ended(to_send(account, str(number))) for number in range(3)]
    result = replay([failed[0].pk, 999_999_999, failed[2].pk])
    assert (result.count, result.refused) == (2, [(999_999_999, "It no longer exists.")])
    assert [state(d) for d in failed] == ["pending", "dead", "pending"]


# --- inbound: routed and rendered anew ------------------------------------------------------------------------------------------


def test_a_skipped_message_is_asked_after_the_mapping_was_made(account: ChannelAccount) -> None:
    skipped = turn(account, "你好")
    refused = replay([skipped.pk]).refused
    assert refused == [(skipped.pk, "Still not mapped: no mapping for this group or person.")]
    assert (row(skipped).state, row(skipped).replays) == ("skipped", 0)
    mine = route(account, agent_id="support")
    assert replay([skipped.pk]).count == 1
    after = row(skipped)
    assert (after.state, after.route, after.gateway) == ("pending", mine, mine.gateway)
    assert (after.payload["agent_id"], after.payload["message"]) == ("support", "你好")


def test_why_it_is_skipped_is_kept_up_to_date(account: ChannelAccount) -> None:
    skipped = turn(account)
    mine = route(account, enabled=False)
    assert "disabled" in replay([skipped.pk]).refused[0][1]
    assert (row(skipped).reason, row(skipped).route) == (Reason.ROUTE_DISABLED, mine)


def test_a_dead_turn_is_rendered_anew_with_a_new_key(account: ChannelAccount) -> None:
    old = route(account, agent_id="old")
    dead = ended(turn(account))
    old.delete()
    fresh = route(account, gateway(), agent_id="new")
    assert replay([dead.pk]).count == 1
    after = row(dead)
    assert (after.route, after.gateway, after.payload["agent_id"], after.run_number) == (fresh, fresh.gateway, "new", 1)


def test_a_dead_turn_whose_mapping_is_gone_says_so(account: ChannelAccount) -> None:
    route(account)
    dead = ended(turn(account))
    Route.objects.all().delete()
    assert replay([dead.pk]).count == 0
    assert (row(dead).state, row(dead).reason) == (State.SKIPPED, Reason.NO_ROUTE)


@pytest.mark.parametrize("reason", [Reason.EVENT, Reason.UNSUPPORTED, Reason.COMMAND])
def test_what_no_agent_could_answer_is_refused(account: ChannelAccount, reason: str) -> None:
    skipped = ended(turn(account), "skipped", reason)
    assert "not something an agent could answer" in why_not_replay(skipped)


def test_a_broken_message_can_be_replayed_once_the_defect_is_mended(account: ChannelAccount) -> None:
    message = hear(account)
    router.route_waiting()
    dead = message.deliveries.get()
    ended(dead, reason=Reason.INTERNAL)
    route(account)
    assert replay([dead.pk]).count == 1


def test_paused_is_refused_until_it_goes_on(account: ChannelAccount) -> None:
    route(account)
    dead = ended(turn(account))
    Conversation.objects.update(mode="paused")
    assert "paused" in replay([dead.pk]).refused[0][1]
    Conversation.objects.update(mode="bot")
    assert replay([dead.pk]).count == 1


# --- a surface that speaks only in answer -----------------------------------------------------------------------------------------


@pytest.fixture
def answered() -> Delivery:
    return ended(answer(hear(bot(), group=GROUP, reply=REPLY)).deliveries.get())


def test_by_the_stream_while_it_lasts(answered: Delivery) -> None:
    assert replay([answered.pk]).count == 1
    after = row(answered)
    assert after.carrier == "http_reply"
    assert 15 < (after.due_at - timezone.now()).total_seconds() <= 20


def test_what_may_have_used_its_way_may_use_it_again(answered: Delivery) -> None:
    ended(answered, "uncertain", Reason.UNKNOWN)
    assert replay([answered.pk], twice=True).count == 1
    assert row(answered).carrier == "http_reply"
    ended(answered, "uncertain", Reason.UNKNOWN, carrier="worker")
    Message.objects.filter(direction="in").update(created_at=timezone.now() - timedelta(seconds=400))
    assert replay([answered.pk], twice=True).count == 1
    assert row(answered).carrier == "worker"


def test_then_by_the_address(answered: Delivery) -> None:
    Message.objects.filter(direction="in").update(created_at=timezone.now() - timedelta(seconds=400))
    assert replay([answered.pk]).count == 1
    assert row(answered).carrier == "worker"
    assert row(answered).due_at <= timezone.now()


def test_then_not_at_all(answered: Delivery) -> None:
    Message.objects.filter(direction="in").update(
        created_at=timezone.now() - timedelta(seconds=4000), reply_until=timezone.now()
    )
    assert "the reply address is used up" in replay([answered.pk]).refused[0][1]
    assert state(answered) == "dead"


def test_nor_without_a_question() -> None:
    message = send(bot(), peer_kind="group", peer_id=GROUP, source=Message.Source.AGENT)
    assert "the reply address is used up" in why_not_replay(message.deliveries.get())


# --- nobody is told twice ---------------------------------------------------------------------------------------------------------


def test_an_uncertain_one_is_swallowed_by_the_platform_if_it_had_arrived(company: SimulatorClient) -> None:
    account = app(company.url)
    delivery = to_send(account)
    company.fault("message/send", "reset_after")
    work_off()
    ended(delivery, "uncertain", Reason.UNKNOWN)
    replay([delivery.pk], twice=True)
    work_off()
    assert state(delivery) == "delivered"
    assert company.record()["counters"]["duplicates"] == 1


def test_a_proof_that_came_while_it_was_replayed_stands(account: ChannelAccount) -> None:
    delivery = ended(to_send(account), "uncertain", Reason.UNKNOWN)
    read_before = _lock_and_read(delivery.pk)
    shift(delivery, state="delivered", reason="")
    assert _queue_again(read_before) == str(CHANGED)
    assert (state(delivery), row(delivery).replays) == ("delivered", 0)


# --- dismissed --------------------------------------------------------------------------------------------------------------------


def test_only_the_parts_that_are_held_are_dismissed_with_one(account: ChannelAccount) -> None:
    message = send(account, "字" * 1500)
    first, second, third = message.deliveries.order_by("part")
    shift(first, state="held", reason=Reason.REVIEW)
    shift(second, state="delivered", finished_at=0)
    shift(third, state="held", reason=Reason.PART_BEFORE)
    assert dismiss([first.pk]) == 1
    assert [now for now, _reason in parts(message)] == ["skipped", "delivered", "skipped"]
    assert row(second).dismissed_at is None


def test_dismiss_and_undismiss(account: ChannelAccount) -> None:
    boss = User.objects.create_user("boss")
    failed, fine = ended(to_send(account)), to_send(account, "2")
    assert dismiss([failed.pk, fine.pk], boss) == 1
    assert (row(failed).dismissed_by, bool(row(failed).dismissed_at)) == (boss, True)
    assert row(fine).dismissed_at is None
    assert dismiss([failed.pk]) == 0
    replay([failed.pk])
    assert (row(failed).dismissed_by, row(failed).dismissed_at) == (None, None)


def test_parts_that_follow_late_are_not_too_old(account: ChannelAccount) -> None:
    first, second, _third = send(account, LONG).deliveries.order_by("part")
    mine = claimed(first)
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.PERMANENT, Cause("1", {"detail": "no"})))
    assert row(second).reason == Reason.PART_BEFORE
    Delivery.objects.update(
        queued_at=timezone.now() - timedelta(hours=30), created_at=timezone.now() - timedelta(hours=30)
    )
    assert replay([first.pk]).count == 1
    mine = claimed(first)
    settle.mark_delivered(mine, settle.open_attempt(mine, {}))
    assert not retry_policy.is_expired(row(second))
    assert state(second) == "pending"


def test_no_part_goes_while_an_earlier_one_is_held(account: ChannelAccount) -> None:
    first, second, third = send(account, LONG).deliveries.order_by("part")
    for part in (first, second, third):
        shift(part, state="dead", reason=Reason.PERMANENT, finished_at=0)
    assert replay([first.pk]).count == 1
    settle.hold(claimed(first), Reason.REVIEW)
    assert replay([second.pk]).count == 1
    assert claim() == []
    assert release([first.pk]).count == 1
    mine = claim()
    assert [one.pk for one in mine] == [first.pk]
    settle.mark_delivered(mine[0], settle.open_attempt(mine[0], {}))
    assert [one.pk for one in claim()] == [second.pk]


def test_a_dismissal_takes_only_those_later_parts_that_are_held(account: ChannelAccount) -> None:
    first, second, third = send(account, LONG).deliveries.order_by("part")
    for part in (second, third):
        shift(part, state="dead", reason=Reason.PERMANENT, finished_at=0)
    assert replay([second.pk]).count == 1
    shift(first, state="held", reason=Reason.REVIEW)
    assert dismiss([first.pk]) == 1
    assert [state(part) for part in (first, second, third)] == ["skipped", "pending", "dead"]


def test_a_part_that_is_replayed_after_a_later_one_still_goes_first(account: ChannelAccount) -> None:
    first, second, third = send(account, LONG).deliveries.order_by("part")
    for part in (first, second, third):
        shift(part, state="dead", reason=Reason.PERMANENT, finished_at=0)
    assert replay([third.pk, second.pk, first.pk]).count == 3
    order = []
    while mine := claim():
        order.extend(one.pk for one in mine)
        settle.mark_delivered(mine[0], settle.open_attempt(mine[0], {}))
    assert order == [first.pk, second.pk, third.pk]
