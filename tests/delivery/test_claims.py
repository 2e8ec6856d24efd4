"""What a claim takes, and for how long: the arrow from pending to sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from bridge.models import Carrier, Delivery, State
from bridge.pipeline.delivery import claims
from tests.support.factories import answer, bot, claim, claimed, due, route, row, shift, state, to_send, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


def test_claim_takes_a_lease(account: ChannelAccount) -> None:
    mine = claimed(to_send(account), "me")
    assert (mine.state, mine.holder) == (State.SENDING, "me")
    assert 25 < (mine.lease_until - timezone.now()).total_seconds() <= claims.LEASE_SECONDS
    assert claim(holder="another") == []


def test_claim_takes_one_of_each_lane_in_the_order_of_their_time(account: ChannelAccount) -> None:
    first, second = to_send(account, "1"), to_send(account, "2")
    other = to_send(account, "3", "lisi")
    shift(first, due_at=-1)
    shift(other, due_at=-2)
    assert [d.pk for d in claim()] == [other.pk, first.pk]
    assert state(second) == State.PENDING


def test_claim_takes_no_more_than_asked_for(account: ChannelAccount) -> None:
    for person in "abc":
        to_send(account, peer_id=person)
    assert len(claim(limit=2)) == 2
    assert len(claim(limit=2)) == 1


def test_what_is_not_due_is_not_claimed_and_holds_back_its_lane(account: ChannelAccount) -> None:
    first, second = to_send(account, "1"), to_send(account, "2")
    shift(first, due_at=60)
    assert claim() == []
    due(first)
    assert [d.pk for d in claim()] == [first.pk]
    assert state(second) == State.PENDING


def test_only_one_delivery_due_or_not(account: ChannelAccount) -> None:
    first, second = to_send(account, "1"), to_send(account, "2")
    other = to_send(account, "3", "lisi")
    shift(first, due_at=60)
    shift(other, due_at=60)
    assert claim(only=second.pk) == []  # its lane is not free
    assert [d.pk for d in claim(only=other.pk)] == [other.pk]


def test_only_one_is_not_taken_by_another_wire(account: ChannelAccount) -> None:
    """The worker took a stream's answer over: a poll that had seen it before gives it out no more."""
    sent = to_send(account)
    assert claim(Carrier.HTTP_REPLY, only=sent.pk) == claim(Carrier.CONNECTOR, only=sent.pk) == []
    assert [d.pk for d in claim(only=sent.pk)] == [sent.pk]


@pytest.mark.parametrize("columns", [{"enabled": False}, {"state": "stopped"}])
def test_nothing_goes_out_by_an_account_that_is_stopped_or_off(account: ChannelAccount, columns: dict) -> None:
    first, second = to_send(account, "1"), to_send(account, "2")
    type(account).objects.filter(pk=account.pk).update(**columns)
    assert claim() == []
    type(account).objects.filter(pk=account.pk).update(enabled=True, state="ok")
    assert [d.pk for d in claim()] == [first.pk]  # the order is kept
    assert state(second) == State.PENDING


@pytest.mark.parametrize("columns", [{"enabled": False}, {"state": "stopped"}])
def test_nothing_is_asked_of_a_gateway_that_is_stopped_or_off(asked: Delivery, columns: dict) -> None:
    type(asked.gateway).objects.filter(pk=asked.gateway_id).update(**columns)
    assert claim(Carrier.CONNECTOR) == []


def test_each_wire_claims_its_own(account: ChannelAccount, asked: Delivery) -> None:
    sent = to_send(account)
    streamed = to_send(account, peer_id="lisi")
    shift(streamed, carrier=Carrier.HTTP_REPLY)
    assert [d.pk for d in claim(Carrier.CONNECTOR, gateway_id=asked.gateway_id + 1)] == []
    assert [d.pk for d in claim(Carrier.CONNECTOR, gateway_id=asked.gateway_id)] == [asked.pk]
    assert [d.pk for d in claim(Carrier.HTTP_REPLY)] == [streamed.pk]
    assert [d.pk for d in claim(Carrier.WORKER)] == [sent.pk]


def test_the_worker_takes_over_a_streams_row(account: ChannelAccount) -> None:
    streamed = to_send(account)
    shift(streamed, carrier=Carrier.HTTP_REPLY)
    (mine,) = claim(Carrier.WORKER)
    assert mine.carrier == Carrier.WORKER


def test_renew_prolongs_what_is_under_way_and_nothing_else(account: ChannelAccount) -> None:
    mine = claimed(to_send(account))
    forgotten = claimed(to_send(account, peer_id="lisi"))
    others = claimed(to_send(account, peer_id="wangwu"), "another")
    for delivery in (mine, forgotten, others):
        shift(delivery, lease_until=5)
    assert claims.renew("holder", [mine.pk, others.pk]) == 1
    leases = [(row(d).lease_until - timezone.now()).total_seconds() > 20 for d in (mine, forgotten, others)]
    assert leases == [True, False, False]


@pytest.mark.parametrize("columns", [{"enabled": False}, {"state": "stopped"}])
def test_a_poll_gets_nothing_of_an_account_that_is_stopped(columns: dict[str, Any]) -> None:
    account = bot()
    route(account)
    part = answer(turn(account, group="wrX", reply="https://reply/?x").message).deliveries.get()
    type(account).objects.filter(pk=account.pk).update(**columns)
    assert claims.claim_and_open(part, "stream") is None
    type(account).objects.filter(pk=account.pk).update(enabled=True, state="ok")
    assert claims.claim_and_open(part, "stream")
    assert claims.claim_and_open(part, "stream") is None


def test_a_poll_that_claims_another_s_answer_gives_nothing(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = to_send(account), to_send(account, peer_id="lisi")
    due(mine, other)
    taken = claimed(other)
    monkeypatch.setattr(claims, "claim", lambda *_args, **_more: [taken])
    with pytest.raises(ValueError, match="another delivery"):
        claims.claim_and_open(mine, "stream")
