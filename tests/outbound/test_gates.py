"""Each gate says what becomes of a delivery that it stops, and the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.utils import timezone

from accounts import limits
from accounts.channels import build_channel
from bridge.models import Attempt, Delivery, Outcome, Reason
from bridge.pipeline.delivery.types import Fail, GateOutcome, Hold, Postpone, Skip
from bridge.pipeline.outbound import gates
from bridge.webhooks import events
from channels_wechat.contract.explanations import Action
from tests.support.factories import (
    FAN,
    USER,
    answer,
    app,
    bot,
    claimed,
    endpoint,
    mini,
    official,
    route,
    row,
    shift,
    to_send,
    turn,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
QUESTION = {"FromUserName": FAN, "ToUserName": "gh_1", "CreateTime": "1"}


def ask(gate: gates.Gate, delivery: Delivery) -> GateOutcome | None:
    context = gates.SendContext(delivery)
    with context.until_settled:
        return gate(context)


def expire(delivery: Delivery) -> Delivery:
    shift(delivery, queued_at=-settings.MAX_AGE_ANSWER - 60)
    return row(delivery)


def use_up_rate(account: ChannelAccount) -> None:
    counted = limits.select_limits(build_channel(account).limits, "direct")
    for _call in range(100_000):
        if limits.count_call(counted, str(account.key), "zhangsan"):
            return
    pytest.fail("no limit was reached")


def repeated_too_late(delivery: Delivery) -> Delivery:
    """An attempt of it may have been carried out, and the platform knows no repetition any more."""
    now = timezone.now()
    Attempt.objects.create(delivery=delivery, number=1, finished_at=now, outcome=Outcome.UNKNOWN)
    shift(delivery, dedup_until=-1)
    return row(delivery)


def for_nobody() -> Delivery:
    hook = endpoint()
    delivery = events.queue_test_event(hook)
    hook.delete()
    return row(delivery)


def never_fetched() -> Delivery:
    """A part for which its reader never asked."""
    account = official(answers="passive")
    route(account)
    return answer(turn(account, "hello", FAN, raw=QUESTION).message).deliveries.get()


def only_in_reply() -> Delivery:
    """What a reader must fetch, as it is where a worker was to send it."""
    account = official(answers="passive")
    route(account)
    delivery = answer(turn(account, "hello", FAN, raw=QUESTION).message).deliveries.get()
    shift(delivery, carrier="worker", lane=f"out:{delivery.message.conversation_id}", due_at=-1)
    return row(delivery)


def without_address() -> Delivery:
    """An answer that a poll did not fetch, to a question that came with no address."""
    account = bot()
    route(account)
    delivery = answer(turn(account, "hello").message).deliveries.get()
    shift(delivery, due_at=-1)
    return row(delivery)


def unchecked() -> Delivery:
    """An agent's words, where the platform that checks them cannot be reached."""
    account = mini(columns={"moderation_scope": "out"})
    route(account)
    return answer(turn(account, "hello", USER).message).deliveries.get()


def beyond_rate() -> Delivery:
    account = app()
    use_up_rate(account)
    return to_send(account)


@pytest.mark.parametrize(
    ("gate", "stopped", "expected"),
    [
        (gates.require_endpoint, for_nobody, Skip(Reason.NO_ENDPOINT)),
        (gates.close_unread, never_fetched, Skip(Reason.UNREAD)),
        (gates.refuse_expired, lambda: expire(to_send(app())), (Action.PERMANENT, Reason.TOO_OLD)),
        (gates.require_path, without_address, (Action.PERMANENT, Reason.NO_REPLY)),
        (gates.check_content, unchecked, (Action.RETRY, "")),
        (gates.leave_unread, only_in_reply, (Action.READABLE, "")),
        (gates.wait_for_window, lambda: to_send(official(), "hello", FAN), Reason.WINDOW),
        (gates.wait_for_rate_limit, beyond_rate, Postpone),
        (gates.refuse_late_repetition, lambda: repeated_too_late(to_send(app())), (Action.UNKNOWN, "")),
    ],
)
def test_a_gate_says_what_becomes_of_what_it_stops(
    gate: gates.Gate, stopped: Callable[[], Delivery], expected: object
) -> None:
    delivery = stopped()
    before = Delivery.objects.values().get(pk=delivery.pk)
    outcome = ask(gate, delivery)
    if isinstance(outcome, Fail):
        assert (outcome.failure.action, outcome.failure.reason) == expected
        assert outcome.counts_try == (gate is gates.check_content)
    elif isinstance(outcome, Hold):
        assert outcome.reason == expected
    elif isinstance(outcome, Postpone):
        assert expected is Postpone
        assert outcome.seconds > 0
    else:
        assert outcome == expected
    assert Delivery.objects.values().get(pk=delivery.pk) == before


def test_a_delivery_that_nothing_stops_passes_every_gate_and_stays_as_it_is() -> None:
    delivery = claimed(to_send(app()))
    before = Delivery.objects.values().get(pk=delivery.pk)
    assert [ask(gate, delivery) for gate in gates.GATES] == [None] * len(gates.GATES)
    assert gates.pass_gates(gates.SendContext(delivery))
    assert Delivery.objects.values().get(pk=delivery.pk) == before


@pytest.mark.parametrize(
    ("first", "second", "stopped", "ends"),
    [
        (gates.close_unread, gates.refuse_expired, lambda: expire(never_fetched()), ("skipped", Reason.UNREAD)),
        (gates.refuse_expired, gates.require_path, lambda: expire(without_address()), ("dead", Reason.TOO_OLD)),
        (gates.refuse_expired, gates.check_content, lambda: expire(unchecked()), ("dead", Reason.TOO_OLD)),
        (gates.check_content, gates.wait_for_window, unchecked, ("pending", "")),
        (gates.leave_unread, gates.wait_for_window, only_in_reply, ("pending", "")),
        (
            gates.wait_for_rate_limit,
            gates.refuse_late_repetition,
            lambda: repeated_too_late(beyond_rate()),
            ("pending", ""),
        ),
    ],
)
def test_of_two_gates_that_stop_a_delivery_the_earlier_one_is_heard(
    first: gates.Gate, second: gates.Gate, stopped: Callable[[], Delivery], ends: tuple[str, str]
) -> None:
    delivery = stopped()
    assert ask(first, delivery)
    assert ask(second, delivery)
    shift(delivery, state="sending", holder="holder", lease_until=30)
    assert not gates.pass_gates(gates.SendContext(row(delivery)))
    assert (row(delivery).state, row(delivery).reason) == ends


def test_a_delivery_is_loaded_once_for_all_gates() -> None:
    context = gates.SendContext(claimed(to_send(app())))
    assert gates.pass_gates(context)
    for name in ("message", "account", "channel", "path", "peer", "payload"):
        assert getattr(context, name) is getattr(context, name), name
