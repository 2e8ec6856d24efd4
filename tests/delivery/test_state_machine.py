"""The state machine: one test for each arrow of the drawing in `bridge/models/deliveries.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from bridge.models import Attempt, Carrier, Delivery, Reason, State, Target
from bridge.pipeline.delivery import claims, retry_policy, settle
from bridge.pipeline.delivery.types import Failure, LostLease, Success
from bridge.webhooks import events
from channels_wechat.contract.explanations import Action, Cause
from tests.support import factories
from tests.support.factories import (
    claim,
    claimed,
    due,
    endpoint,
    outcomes,
    parts,
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
CANARY = "Bearer sk-canary-1234567890"
RETRY = Failure(Action.RETRY, Cause("-1", {"detail": "busy"}))
LONG = "甲" * 1500  # three parts of an app's text


def wait_of(delivery: Delivery) -> float:
    return (row(delivery).due_at - timezone.now()).total_seconds()


# --- the way in: pending, or skipped --------------------------------------------------------------------------------------


def test_sent_and_heard_begin_as_pending(account: ChannelAccount, asked: Delivery) -> None:
    sent = to_send(account)
    assert (sent.state, sent.target, sent.carrier, sent.lane) == (
        State.PENDING, Target.CHANNEL, Carrier.WORKER, f"out:{sent.message.conversation_id}",
    )  # fmt: skip
    assert (asked.state, asked.target, asked.carrier, asked.lane) == (
        State.PENDING, Target.AGENT, Carrier.CONNECTOR, f"in:{row(asked).message.conversation_id}",
    )  # fmt: skip


def test_without_a_route_begins_as_skipped(account: ChannelAccount) -> None:
    skipped = turn(account)
    assert (skipped.state, skipped.reason) == (State.SKIPPED, Reason.NO_ROUTE)
    assert skipped.finished_at


# --- sending → delivered ----------------------------------------------------------------------------------------------------


def test_success(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    attempt = settle.open_attempt(mine, {"to": "zhangsan", "access_token": "abcdef"})
    assert outcomes(mine) == [""]  # committed open: the request may leave now
    done: list[int] = []
    settle.mark_delivered(
        mine, attempt, remote_id="R1", response={"msgid": "R1", "token": "abcdef"}, then=lambda: done.append(1)
    )
    after = row(mine)
    assert (after.state, after.reason, after.remote_id, after.tries, after.lease_until) == (
        "delivered",
        "",
        "R1",
        1,
        None,
    )
    assert after.finished_at
    assert (outcomes(mine), done) == (["ok"], [1])
    kept = mine.attempts.get()
    assert (kept.request["access_token"], kept.response) == ("•••", {"msgid": "R1", "token": "•••"})


def test_what_arrives_after_a_failure_says_nothing_of_it(account: ChannelAccount) -> None:
    delivery = to_send(account)
    settle.fail(mine := claimed(delivery), settle.open_attempt(mine, {}), RETRY)
    due(delivery)
    settle.mark_delivered(mine := claimed(delivery), settle.open_attempt(mine, {}))
    assert (state(delivery), row(delivery).error, outcomes(delivery)) == ("delivered", "", ["error", "ok"])


def test_partial_success_says_so(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    note = Cause("invaliduser", {"ids": "lisi"})
    settle.mark_delivered(mine, settle.open_attempt(mine, {}), note=note)
    after = row(mine)
    assert (after.state, after.reason, after.cause) == ("delivered", Reason.PARTIAL, note)
    assert after.error.endswith("unknown or outside the app's visible scope: lisi.")


def test_late_proof_turns_uncertain_into_delivered(account: ChannelAccount) -> None:
    first, *rest = list(send(account, LONG).deliveries.order_by("part"))
    mine = claimed(first)
    attempt = settle.open_attempt(mine, {})
    shift(mine, lease_until=-1)
    assert claims.sweep() == 1
    assert [state(d) for d in (first, *rest)] == ["uncertain", "held", "held"]
    settle.mark_delivered(mine, attempt)
    assert [state(d) for d in (first, *rest)] == ["delivered", "pending", "pending"]
    assert outcomes(first) == ["ok"]


def test_proof_after_somebody_else_took_over_changes_only_the_attempt(account: ChannelAccount) -> None:
    mine = claimed(to_send(account), "slow")
    attempt = settle.open_attempt(mine, {})
    shift(mine, lease_until=-1, dedup_until=60)
    claims.sweep()
    again = claimed(mine, "fast")
    with pytest.raises(LostLease):
        settle.mark_delivered(mine, attempt, then=lambda: pytest.fail("the answer would be stored twice"))
    assert (state(mine), row(mine).holder, outcomes(mine)) == ("sending", "fast", ["ok"])
    with pytest.raises(LostLease):
        settle.open_attempt(mine, {})
    with pytest.raises(LostLease):
        settle.fail(mine, None, RETRY)
    with pytest.raises(LostLease):
        settle.skip(mine, None, Reason.STOPPED)
    settle.mark_delivered(again, settle.open_attempt(again, {}))
    assert outcomes(mine) == ["ok", "ok"]


# --- sending → pending ------------------------------------------------------------------------------------------------------


def test_retry_waits_longer_each_time(account: ChannelAccount) -> None:
    delivery, waits = to_send(account), []
    for number in range(1, 11):
        mine = claimed(delivery)
        settle.fail(mine, settle.open_attempt(mine, {}), RETRY)
        assert (state(mine), row(mine).tries) == ("pending", number)
        waits.append(wait_of(mine))
        due(mine)
    steps = [*retry_policy.RETRY_SECONDS, 900, 900]
    assert all(step - 1 < wait <= step * 1.2 for step, wait in zip(steps, waits, strict=True)), waits
    assert outcomes(delivery) == ["error"] * 10


def test_the_platforms_own_pause_wins(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.RETRY, Cause("1", {"detail": "x"}), retry_after=40))
    assert 39 < wait_of(mine) <= 48


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("action", [Action.WAIT, Action.CONFIG])
def test_wait_and_configuration_burn_no_try(account: ChannelAccount, action: Action, opened: bool) -> None:
    """Also before an attempt was opened: an upload may be refused."""
    mine = claimed(to_send(account))
    attempt = settle.open_attempt(mine, {}) if opened else None
    settle.fail(mine, attempt, Failure(action, Cause("45009", {"detail": "wait"}), retry_after=30))
    assert (state(mine), row(mine).tries) == ("pending", 0)
    assert (29 if action == "wait" else -1) < wait_of(mine) <= (30 if action == "wait" else 0)


def test_a_wait_without_a_time_is_a_minute(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.WAIT, Cause("x", {"detail": "x"})))
    assert 58 < wait_of(mine) <= 60


def test_the_gateways_key_changes_with_every_definite_error_only(asked: Delivery) -> None:
    runs = []
    for action in (Action.RETRY, Action.UNKNOWN, Action.WAIT, Action.UNKNOWN, Action.CONFIG):
        mine = claimed(asked)
        settle.fail(mine, settle.open_attempt(mine, {}), Failure(action, Cause("x", {"detail": "x"})))
        runs.append(row(mine).run_number)
        due(mine)
    assert runs == [1, 1, 2, 2, 3]


def test_lease_over_with_nothing_sent(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    assert claims.sweep() == 0
    shift(mine, lease_until=-1)
    assert claims.sweep() == 1
    assert (state(mine), row(mine).tries, outcomes(mine)) == ("pending", 0, [])


def test_lease_over_while_the_platform_swallows_a_repetition(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    settle.open_attempt(mine, {}, dedup_until=timezone.now() + timedelta(seconds=60))
    shift(mine, lease_until=-1)
    claims.sweep()
    assert (state(mine), outcomes(mine)) == ("pending", ["interrupted"])


def test_lease_over_of_a_turn_is_asked_after(asked: Delivery) -> None:
    mine = claimed(asked)
    settle.open_attempt(mine, {})
    shift(mine, lease_until=-1)
    claims.sweep()
    assert (state(mine), outcomes(mine), row(mine).run_number) == ("pending", ["interrupted"], 0)


def test_a_holder_that_ends_in_order_hands_over_its_own(account: ChannelAccount, asked: Delivery) -> None:
    mine, others = claimed(asked), claimed(to_send(account), "another")
    settle.open_attempt(mine, {})
    claims.release_all_leases("holder")
    assert (state(mine), outcomes(mine), state(others)) == ("pending", ["interrupted"], "sending")


# --- sending → dead, uncertain, skipped -------------------------------------------------------------------------------------


def test_permanent(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    settle.fail(
        mine,
        settle.open_attempt(mine, {}),
        Failure(
            Action.PERMANENT,
            Cause("81013", {"detail": "nobody, access_token=abcdef"}),
            response={"errcode": 81013, "token": "abcdef"},
        ),
    )
    after, attempt = row(mine), Attempt.objects.get(delivery=mine)
    assert (after.state, after.reason, after.code) == ("dead", Reason.PERMANENT, "81013")
    assert after.code_params == {"detail": "nobody, access_token=•••"}
    assert (attempt.outcome, attempt.code, attempt.error) == ("error", "81013", after.error)
    assert attempt.response == {"errcode": 81013, "token": "•••"}
    assert after.finished_at


@pytest.mark.parametrize(("most", "named"), [(3, 3), (retry_policy.MAX_TRIES, None)])
def test_tries_spent(account: ChannelAccount, most: int, named: int | None) -> None:
    delivery = to_send(account)
    shift(delivery, tries=most - 2)
    for expected in ("pending", "dead"):
        mine = claimed(delivery)
        settle.fail(
            mine, settle.open_attempt(mine, {}), Failure(Action.RETRY, Cause("-1", {"detail": "busy"}), max_tries=named)
        )
        assert state(mine) == expected
        due(mine)
    assert row(delivery).reason == Reason.TRIES_SPENT


def test_no_answer_is_uncertain_unless_a_repetition_is_safe(account: ChannelAccount) -> None:
    unsafe = claimed(to_send(account))
    safe = claimed(to_send(account, peer_id="lisi"))
    until = timezone.now() + timedelta(seconds=60)
    safe_attempt = settle.open_attempt(safe, {}, dedup_until=until)
    safe.dedup_until = until
    settle.fail(
        unsafe, settle.open_attempt(unsafe, {}), Failure(Action.UNKNOWN, Cause("timeout", {"detail": "no answer"}))
    )
    settle.fail(safe, safe_attempt, Failure(Action.UNKNOWN, Cause("timeout", {"detail": "no answer"})))
    assert (state(unsafe), row(unsafe).reason, outcomes(unsafe)) == ("uncertain", Reason.UNKNOWN, ["unknown"])
    assert (state(safe), outcomes(safe)) == ("pending", ["unknown"])


@pytest.mark.parametrize(
    "last",
    [
        Failure(Action.PERMANENT, Cause("x", {"detail": "x"})),
        Failure(Action.UNKNOWN, Cause("x", {"detail": "x"}), max_tries=2),
    ],
)
def test_a_turn_is_dead_whatever_an_earlier_try_left_open(asked: Delivery, last: Failure) -> None:
    """The gateway was asked what became of that; nobody in WeChat may have read anything."""
    settle.fail(
        mine := claimed(asked),
        settle.open_attempt(mine, {}),
        Failure(Action.UNKNOWN, Cause("timeout", {"detail": "no answer"})),
    )
    due(asked)
    settle.fail(mine := claimed(asked), settle.open_attempt(mine, {}), last)
    assert (state(asked), outcomes(asked)[0]) == ("dead", "unknown")


def test_lease_over_with_an_open_attempt_is_uncertain(account: ChannelAccount) -> None:
    delivery = to_send(account)
    settle.fail(mine := claimed(delivery), settle.open_attempt(mine, {}), RETRY)
    due(delivery)
    mine = claimed(delivery)
    settle.open_attempt(mine, {}, dedup_until=timezone.now() - timedelta(seconds=1))
    shift(mine, lease_until=-1)
    claims.sweep()
    assert (state(mine), row(mine).reason, outcomes(mine)) == ("uncertain", Reason.UNKNOWN, ["error", "interrupted"])
    assert row(mine).cause == Cause("interrupted")  # not what the try before it met


def test_what_is_skipped_no_longer_tells_what_an_earlier_try_met(account: ChannelAccount) -> None:
    delivery = to_send(account)
    settle.fail(mine := claimed(delivery), settle.open_attempt(mine, {}), RETRY)
    due(delivery)
    settle.skip(claimed(delivery), None, Reason.GONE)
    assert (state(delivery), row(delivery).cause, row(delivery).attempts.get().cause) == (
        "skipped",
        Cause(),
        RETRY.cause,
    )


def test_a_code_and_parameters_longer_than_any_column_are_stored(account: ChannelAccount) -> None:
    """A platform may answer any number, and name a thousand members that it did not reach."""
    ids = ", ".join(f"member-{number}" for number in range(1000))
    cause = Cause("9" * 80, {"ids": ids, "detail": "字\0" * 3000})
    one = to_send(account, peer_id="one")
    settle.mark_delivered(mine := claimed(one), settle.open_attempt(mine, {}), note=cause)
    settle.fail(
        mine := claimed(two := to_send(account, peer_id="two")),
        settle.open_attempt(mine, {}),
        Failure(Action.PERMANENT, cause),
    )
    settle.hold(claimed(three := to_send(account, peer_id="three")), Reason.REVIEW, cause)
    unstored = settle.set_final_state(Delivery(target=Target.CHANNEL, account=account), State.DEAD, "content", cause)
    for found in (row(one), row(two), row(three), unstored, row(two).attempts.get()):
        assert found.code == "9" * 64
        assert found.code_params["ids"].startswith("member-0, member-1, ")
        assert "字\ufffd字" in found.error


def test_broken_off(asked: Delivery) -> None:
    mine = claimed(asked)
    settle.skip(mine, settle.open_attempt(mine, {}), Reason.STOPPED)
    assert (state(mine), row(mine).reason, outcomes(mine)) == ("skipped", Reason.STOPPED, ["error"])


@pytest.mark.parametrize(
    ("target", "limit"),
    [
        ("agent", "MAX_AGE_QUESTION"),
        ("channel", "MAX_AGE_ANSWER"),
        ("alert", "MAX_AGE_ANSWER"),  # a person reads it
        ("webhook", "MAX_AGE_WEBHOOK"),
    ],
)
def test_too_old(account: ChannelAccount, asked: Delivery, settings: object, target: str, limit: str) -> None:
    make = {
        "agent": lambda: asked,
        "channel": lambda: to_send(account),
        "alert": lambda: factories.alert_of_an_earlier_version("down"),
        "webhook": lambda: events.queue_test_event(endpoint()),
    }
    delivery = make[target]()
    shift(delivery, queued_at=10 - getattr(settings, limit))
    assert not retry_policy.is_expired(row(delivery))
    shift(delivery, queued_at=-getattr(settings, limit) - 1)
    assert retry_policy.is_expired(row(delivery))


# --- sending → held, and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "of_parts"), [(Reason.WINDOW, Reason.WINDOW), (Reason.REVIEW, Reason.PART_BEFORE)])
def test_held_burns_no_try_and_keeps_its_later_parts(account: ChannelAccount, reason: Reason, of_parts: Reason) -> None:
    message = send(account, LONG)
    mine = claimed(message.deliveries.get(part=0))
    failure = Failure(Action.WINDOW, Cause("45047", {"detail": "used up"}), response={"errcode": 45047})
    settle.hold(mine, reason, Cause("window"), attempt=settle.open_attempt(mine, {}), failure=failure)
    after, attempt = row(mine), mine.attempts.get()
    assert parts(message) == [("held", reason), ("held", of_parts), ("held", of_parts)]
    assert (after.tries, after.code, after.lease_until, after.finished_at) == (0, "window", None, None)
    assert (attempt.outcome, attempt.code, attempt.response) == ("error", "45047", {"errcode": 45047})
    assert claim() == []


def test_held_before_anything_was_asked(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    until = timezone.now() + timedelta(minutes=30)
    settle.hold(mine, Reason.WINDOW, Cause("x", {"detail": "access_token=abcdef"}), until=until)
    after = row(mine)
    assert (after.state, after.tries, after.due_at, outcomes(mine)) == ("held", 0, until, [])
    assert after.code_params == {"detail": "access_token=•••"}


def test_who_lost_the_lease_holds_nothing_and_puts_nothing_off(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    shift(mine, holder="another")
    with pytest.raises(LostLease):
        settle.hold(mine, Reason.WINDOW)
    settle.postpone(mine, 60, Cause("rate_limit"))
    assert (row(mine).state, row(mine).holder, row(mine).error) == ("sending", "another", "")


def test_what_follows_a_failure_is_done_with_it_or_not_at_all(account: ChannelAccount) -> None:
    mine, done = claimed(to_send(account)), []
    settle.fail(mine, settle.open_attempt(mine, {}), RETRY, lambda: done.append("once"))
    with pytest.raises(LostLease):
        settle.fail(mine, None, RETRY, lambda: done.append("twice"))
    assert done == ["once"]


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
        settle.fail(mine, attempt, Failure(Action.RETRY, Cause("1", {"detail": "busy"}), response=answered))
    found = Attempt.objects.get()
    assert CANARY not in f"{found.request}{found.response}{found.error}"
    assert found.request
    assert found.response
