"""Conditions that a fault could take away without a test noticing: each one has its test here (missing_tests)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts.channels import build_channel
from bridge.models import Attachment, Attempt, Carrier, Delivery, Reason
from bridge.operations import replay
from bridge.pipeline.agent import turn as asking
from bridge.pipeline.agent.stop import stop_turns, unfinished_turns
from bridge.pipeline.delivery import claims, retry_policy, settle
from bridge.pipeline.delivery.types import Failure, Success
from bridge.pipeline.outbound import moderation
from bridge.pipeline.replies import stream_options
from channels_wechat.contract.explanations import Action
from tests.support.factories import (
    answer,
    app,
    bot,
    claim,
    claimed,
    due,
    hear,
    outcomes,
    picture,
    route,
    row,
    send,
    shift,
    state,
    to_send,
    turn,
)

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
LONG = "甲" * 1500  # three parts of an app's text
CANARY = "Bearer sk-canary-1234567890"


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("count", [1, 2])
def test_a_success_whose_follow_up_fails_is_none(account: ChannelAccount, count: int) -> None:
    mine = [claimed(to_send(account, peer_id=f"user{number}")) for number in range(count)]
    attempts = [settle.open_attempt(one, {}) for one in mine]

    def fail() -> None:
        raise ValueError("the answer could not be stored")

    ended = [Success(one, attempt) for one, attempt in zip(mine, attempts, strict=True)]
    ended[-1] = Success(mine[-1], attempts[-1], then=fail)
    with pytest.raises(ValueError, match="could not be stored"):
        settle.mark_all_delivered(ended)
    assert [state(one) for one in mine] == ["sending"] * count
    assert [outcomes(one) for one in mine] == [[""]] * count


@pytest.mark.parametrize("way", ["succeed", "fail"])
def test_no_secret_is_stored_with_an_attempt(account: ChannelAccount, way: str) -> None:
    mine = claimed(to_send(account))
    attempt = settle.open_attempt(mine, {"headers": {"Authorization": CANARY}, "access_token": CANARY})
    answered = {"access_token": CANARY, "deep": [{"secret": CANARY}]}
    if way == "succeed":
        settle.mark_delivered(mine, attempt, response=answered)
    else:
        settle.fail(mine, attempt, Failure(Action.RETRY, "1", "busy", response=answered))
    found = Attempt.objects.get()
    assert CANARY not in f"{found.request}{found.response}{found.error}"
    assert found.request
    assert found.response


def test_parts_that_follow_late_are_not_too_old(account: ChannelAccount) -> None:
    first, second, _third = send(account, LONG).deliveries.order_by("part")
    mine = claimed(first)
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.PERMANENT, "1", "no"))
    assert row(second).reason == Reason.PART_BEFORE
    Delivery.objects.update(
        queued_at=timezone.now() - timedelta(hours=30), created_at=timezone.now() - timedelta(hours=30)
    )
    assert replay.replay([first.pk]).count == 1
    mine = claimed(first)
    settle.mark_delivered(mine, settle.open_attempt(mine, {}))
    assert not retry_policy.is_expired(row(second))
    assert state(second) == "pending"


def test_no_part_goes_while_an_earlier_one_is_held(account: ChannelAccount) -> None:
    first, second, third = send(account, LONG).deliveries.order_by("part")
    for part in (first, second, third):
        shift(part, state="dead", reason=Reason.PERMANENT, finished_at=0)
    assert replay.replay([first.pk]).count == 1
    settle.hold(claimed(first), Reason.REVIEW)
    assert replay.replay([second.pk]).count == 1
    assert claim() == []
    assert replay.release([first.pk]).count == 1
    mine = claim()
    assert [one.pk for one in mine] == [first.pk]
    settle.mark_delivered(mine[0], settle.open_attempt(mine[0], {}))
    assert [one.pk for one in claim()] == [second.pk]


def test_a_dismissal_takes_only_those_later_parts_that_are_held(account: ChannelAccount) -> None:
    first, second, third = send(account, LONG).deliveries.order_by("part")
    for part in (second, third):
        shift(part, state="dead", reason=Reason.PERMANENT, finished_at=0)
    assert replay.replay([second.pk]).count == 1
    shift(first, state="held", reason=Reason.REVIEW)
    assert replay.dismiss([first.pk]) == 1
    assert [state(part) for part in (first, second, third)] == ["skipped", "pending", "dead"]


def test_a_message_is_not_let_go_after_the_first_verdict_of_several(account: ChannelAccount) -> None:
    route(account)
    message = hear(account, media=(picture("A"), picture("B")))
    from bridge.pipeline.inbound import router

    router.route_waiting()
    question = message.deliveries.get()
    for item in message.attachments.all():
        Attachment.objects.filter(pk=item.pk).update(check_trace=f"trace-{item.position}")
    shift(question, state="held", reason=Reason.CHECKING)
    moderation.apply_result(account.pk, {"trace_id": "trace-0", "suggest": "pass", "label": 100})
    assert (state(question), row(question).reason) == ("held", Reason.CHECKING)
    moderation.apply_result(account.pk, {"trace_id": "trace-1", "suggest": "pass", "label": 100})
    assert state(question) == "pending"


def test_a_verdict_of_another_account_is_none(account: ChannelAccount) -> None:
    message = hear(account, media=(picture("A"),))
    Attachment.objects.update(check_trace="trace")
    moderation.apply_result(bot().pk, {"trace_id": "trace", "suggest": "risky", "label": 1})
    assert message.attachments.get().verdict == ""


def test_a_second_verdict_on_a_file_changes_nothing(account: ChannelAccount) -> None:
    message = hear(account, media=(picture("A"),))
    Attachment.objects.update(check_trace="trace")
    for suggest in ("risky", "pass"):
        moderation.apply_result(account.pk, {"trace_id": "trace", "suggest": suggest, "label": 1})
    assert message.attachments.get().verdict == "risky"


def test_an_old_stop_does_not_break_off_a_turn_that_is_recovered(account: ChannelAccount) -> None:
    route(account)
    turn(account, "/stop")
    question = turn(account)
    (mine,) = claim(Carrier.CONNECTOR, "lost")
    settle.open_attempt(mine, {"ask": asking.key_of(mine)})
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
        mine, settle.open_attempt(mine, {"ask": asking.key_of(mine)}), Failure(Action.WAIT, "busy", "later", 60)
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


@pytest.mark.parametrize(
    ("used", "left"), [("sending", False), ("delivered", False), ("uncertain", False), ("dead", True)]
)
def test_an_address_is_used_once(used: str, left: bool) -> None:
    account = bot()
    route(account)
    question = turn(account, reply="https://reply/?x").message
    part = answer(question).deliveries.get()
    times: dict[str, Any] = {"lease_until": 30} if used == "sending" else {"finished_at": 0}
    shift(part, carrier=Carrier.WORKER, state=used, reason=Reason.UNKNOWN, **times)
    assert stream_options.has_response_url(question) is left


@pytest.mark.parametrize(
    ("carrier", "used", "left"),
    [
        (Carrier.HTTP_REPLY, "pending", False),
        (Carrier.HTTP_REPLY, "delivered", False),
        (Carrier.HTTP_REPLY, "dead", True),
        (Carrier.WORKER, "delivered", True),
    ],
)
def test_a_stream_carries_one_answer(carrier: Carrier, used: str, left: bool) -> None:
    account = bot()
    route(account)
    question = turn(account, reply="https://reply/?x").message
    part = answer(question).deliveries.get()
    times: dict[str, Any] = {} if used == "pending" else {"finished_at": 0}
    shift(part, carrier=carrier, state=used, reason=Reason.PERMANENT if used == "dead" else "", **times)
    assert stream_options.has_stream(build_channel(account), question) is left  # type: ignore[arg-type]
    assert stream_options.has_stream(build_channel(account), question, besides=part.pk)  # type: ignore[arg-type]


@pytest.mark.parametrize("columns", [{"enabled": False}, {"state": "stopped"}])
def test_a_poll_gets_nothing_of_an_account_that_is_stopped(columns: dict[str, Any]) -> None:
    account = bot()
    route(account)
    part = answer(turn(account, group="wrX", reply="https://reply/?x").message).deliveries.get()
    type(account).objects.filter(pk=account.pk).update(**columns)
    assert claims.offer(part, "stream") is None
    type(account).objects.filter(pk=account.pk).update(enabled=True, state="ok")
    assert claims.offer(part, "stream")
    assert claims.offer(part, "stream") is None


def test_a_poll_that_claims_another_s_answer_gives_nothing(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = to_send(account), to_send(account, peer_id="lisi")
    due(mine, other)
    taken = claimed(other)
    monkeypatch.setattr(claims, "claim", lambda *_args, **_more: [taken])
    with pytest.raises(ValueError, match="another delivery"):
        claims.offer(mine, "stream")


def test_a_part_that_is_replayed_after_a_later_one_still_goes_first(account: ChannelAccount) -> None:
    first, second, third = send(account, LONG).deliveries.order_by("part")
    for part in (first, second, third):
        shift(part, state="dead", reason=Reason.PERMANENT, finished_at=0)
    assert replay.replay([third.pk, second.pk, first.pk]).count == 3
    order = []
    while mine := claim():
        order.extend(one.pk for one in mine)
        settle.mark_delivered(mine[0], settle.open_attempt(mine[0], {}))
    assert order == [first.pk, second.pk, third.pk]
