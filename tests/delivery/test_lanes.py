"""What blocks a lane, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.models import Carrier, Delivery, Message, Reason, Target
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.delivery.types import Failure
from channels_wechat.contract.explanations import Action, Cause
from tests.support.factories import claim, claimed, due, gateway, parts, route, send, shift, state, to_send, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
LONG = "甲" * 1500  # three parts of an app's text


@pytest.mark.parametrize("blocker", ["pending", "sending"])
def test_what_is_on_its_way_blocks_the_lane(account: ChannelAccount, blocker: str) -> None:
    first, second = to_send(account, "1"), to_send(account, "2")
    shift(first, state=blocker, due_at=60, lease_until=60 if blocker == "sending" else None)
    assert claim() == []
    assert state(second) == "pending"


@pytest.mark.parametrize("end", ["dead", "uncertain", "skipped", "delivered"])
def test_what_is_over_does_not_block_the_lane(account: ChannelAccount, end: str) -> None:
    first, second = to_send(account, "1"), to_send(account, "2")
    shift(first, state=end, reason=Reason.PERMANENT, finished_at=0)
    assert [d.pk for d in claim()] == [second.pk]


def test_a_dead_part_holds_the_later_ones_and_nobody_else(account: ChannelAccount) -> None:
    message, next_message = send(account, LONG), to_send(account, "next")
    first, second, third = message.deliveries.order_by("part")
    settle.mark_delivered(mine := claimed(first), settle.open_attempt(mine, {}))
    settle.fail(
        mine := claimed(second), settle.open_attempt(mine, {}), Failure(Action.PERMANENT, Cause("x", {"detail": "x"}))
    )
    assert parts(message) == [("delivered", ""), ("dead", "permanent"), ("held", "part_before")]
    assert [d.pk for d in claim()] == [next_message.pk]
    assert state(third) == "held"


def test_parts_go_out_in_order_when_the_one_before_has_arrived(account: ChannelAccount) -> None:
    message, later = send(account, LONG), to_send(account, "later")
    first, second, third = message.deliveries.order_by("part")
    settle.fail(
        mine := claimed(first), settle.open_attempt(mine, {}), Failure(Action.PERMANENT, Cause("x", {"detail": "x"}))
    )
    shift(first, state="pending", reason="", finished_at=None, seq=later.seq + 1)  # as a replay does
    order = []
    while rows := claim():
        for mine in rows:
            order.append(mine.pk)
            settle.mark_delivered(mine, settle.open_attempt(mine, {}))
    assert order == [later.pk, first.pk, second.pk, third.pk]


def test_a_part_that_is_held_for_a_person_does_not_follow(account: ChannelAccount) -> None:
    message = send(account, LONG)
    first, second, third = message.deliveries.order_by("part")
    shift(second, state="held", reason=Reason.REVIEW)
    shift(third, state="held", reason=Reason.PART_BEFORE)
    settle.mark_delivered(mine := claimed(first), settle.open_attempt(mine, {}))
    assert parts(message)[:2] == [("delivered", ""), ("held", Reason.REVIEW)]


def test_whom_to_ring(account: ChannelAccount, asked: Delivery) -> None:
    shift(asked, due_at=60)
    assert claims.find_due_topics() == []
    sent = to_send(account)
    assert [str(b) for b in claims.find_due_topics()] == ["send"]
    due(asked)
    assert [str(b) for b in claims.find_due_topics()] == ["send", "ask"]
    shift(sent, due_at=60)
    assert [str(b) for b in claims.find_due_topics()] == ["ask"]


def test_names_of_holders_are_unique() -> None:
    assert claims.holder_name() != claims.holder_name()
    assert len(claims.holder_name()) <= 100


def test_webhook_deliveries_have_no_parts(account: ChannelAccount) -> None:
    hook = Delivery.objects.create(target=Target.WEBHOOK, lane="hook:1")
    mine = claimed(hook)
    settle.fail(mine, settle.open_attempt(mine, {}), Failure(Action.PERMANENT, Cause("x", {"detail": "x"})))
    assert state(hook) == "dead"
    assert Message.objects.count() == 0


def test_gateways_have_their_own_turns(account: ChannelAccount) -> None:
    route(account, gateway())
    mine = turn(account, "1")
    assert [d.pk for d in claim(Carrier.CONNECTOR, gateway_id=mine.gateway_id)] == [mine.pk]
