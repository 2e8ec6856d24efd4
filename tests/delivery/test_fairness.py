"""Nobody starves anybody: claims go round by account and by conversation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from bridge.models import Carrier, Delivery, Message, Route
from bridge.operations.gateway_use import list_account_uses
from bridge.pipeline.agent.shares import reserve_of, share_of
from bridge.pipeline.delivery import claim_sql
from bridge.pipeline.inbound import router
from tests.delivery.backlog import asked, deliver, strangers, take, two_accounts
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    GROUP,
    app,
    bot,
    claim,
    endpoint,
    eventually,
    gateway,
    hear,
    mini,
    official,
    route,
    row,
    shift,
    state,
    to_send,
    turn,
)

if TYPE_CHECKING:
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db


# --- between accounts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "kept"), [(1, 0), (2, 1), (7, 1), (8, 1), (16, 2), (500, 62)])
def test_an_eighth_stays_free(most: int, kept: int) -> None:
    assert reserve_of(most) == kept


@pytest.mark.parametrize(
    ("most", "percent", "turns"),
    [(8, 75, 6), (8, 100, 7), (8, 1, 1), (1, 75, 1), (2, 100, 1), (500, 75, 375), (500, 100, 438)],
)
def test_a_share_is_never_all_and_never_nothing(most: int, percent: int, turns: int) -> None:
    assert share_of(most, percent) == turns


@pytest.mark.parametrize("most", [1, 2, 3, 8, 16, 40])
@pytest.mark.parametrize("percent", [1, 50, 75, 100])
def test_the_claim_and_the_connector_know_the_same_share(most: int, percent: int) -> None:
    public, _other, home = two_accounts(most, gateway_share=percent)
    asked(public, *strangers(50))
    assert len(take(home, most)) == share_of(most, percent)
    assert take(home, most) == []


def test_an_account_alone_has_all_of_its_gateway() -> None:
    public, home = official(), gateway(max_in_flight=8)
    route(public, home)
    asked(public, *strangers(10))
    assert len(take(home, 8)) == 8


def test_who_comes_after_a_flood_is_asked_at_once() -> None:
    public, other, home = two_accounts()
    asked(public, *strangers(80))
    first = take(home, 8)
    assert len(first) == 6
    (mine,) = asked(other, "lisi")
    assert [one.pk for one in take(home, 2)] == [mine.pk]


def test_two_floods_leave_room_for_a_third() -> None:
    public, other, home = two_accounts()
    third = mini()
    route(third, home)
    asked(public, *strangers(20))
    asked(other, *strangers(20))
    assert len(take(home, 8)) == 7
    (mine,) = asked(third, "lisi")
    assert [one.pk for one in take(home, 1)] == [mine.pk]


def test_the_reserve_goes_to_the_first_of_two_newcomers_and_to_no_flood() -> None:
    public, other, home = two_accounts()
    third, fourth = mini(), bot()
    route(third, home)
    route(fourth, home)
    asked(public, *strangers(20))
    asked(other, *strangers(20))
    assert len(take(home, 8)) == 7
    (first,), (second,) = asked(third, "lisi"), asked(fourth, "lisi")
    (taken,) = take(home, 1)
    assert taken.pk == first.pk
    deliver(taken)
    assert [one.pk for one in take(home, 1)] == [second.pk]


def test_room_goes_to_the_account_with_the_least_under_way() -> None:
    public, other, home = two_accounts(40)
    asked(public, *strangers(30))
    asked(other, *strangers(30))
    accounts = [one.account_id for one in take(home, 10)]
    assert (accounts.count(public.pk), accounts.count(other.pk)) == (5, 5)
    deliver(*Delivery.objects.filter(state="sending", account=public))
    again = [one.account_id for one in take(home, 5)]
    assert again.count(public.pk) == 5


def test_a_room_that_one_does_not_need_is_the_other_s() -> None:
    public, other, home = two_accounts(40)
    asked(public, *strangers(30))
    asked(other, "a", "b")
    accounts = [one.account_id for one in take(home, 10)]
    assert (accounts.count(public.pk), accounts.count(other.pk)) == (8, 2)


@pytest.mark.parametrize("columns", [{"enabled": False}, {"peer_kind": "group", "enabled": False}])
def test_a_mapping_that_is_off_shares_nothing(columns: dict[str, Any]) -> None:
    public, other, home = two_accounts()
    Route.objects.filter(account=other).update(**columns)
    asked(public, *strangers(10))
    assert len(take(home, 8)) == 8


def test_what_another_gateway_is_asked_counts_for_itself() -> None:
    public, other, home = two_accounts()
    away = gateway(max_in_flight=8)
    route(public, away, peer_kind="direct", peer_id="vip")
    asked(public, *strangers(10))
    assert len(take(home, 8)) == 6
    (vip,) = asked(public, "vip")
    assert [one.pk for one in take(away, 8)] == [vip.pk]
    assert [one.account_id for one in asked(other, "x")] == [other.pk]


def test_a_gateway_that_is_away_does_not_stand_before_another(django_assert_max_num_queries: object) -> None:
    home, away = gateway(), gateway()
    account = app()
    route(account, away, peer_kind="direct")
    route(account, home, peer_kind="group")
    asked(account, *strangers(5))
    mine = turn(account, group=GROUP)
    assert [one.pk for one in take(home)] == [mine.pk]


def test_one_slow_platform_leaves_threads_for_the_other_accounts() -> None:
    slow, other = official(), app()
    for person in strangers(40):
        to_send(slow, peer_id=person)
    assert len(claim(limit=16, most=16)) == 14
    mine = to_send(other)
    assert [one.pk for one in claim(limit=2, most=16)] == [mine.pk]
    assert len(claim(limit=16, most=16, holder="another worker")) == 14, "it has threads of its own"


def test_stopped_accounts_and_webhooks_do_not_share_the_threads() -> None:
    alone, off = app(), official(columns={"enabled": False})
    to_send(off)
    for person in strangers(20):
        to_send(alone, peer_id=person)
    assert len(claim(limit=16, most=16)) == 16
    hooks = [endpoint() for _number in range(3)]
    Delivery.objects.filter(target="webhook").delete()
    for hook in hooks:
        Delivery.objects.create(
            target="webhook", carrier="webhook", lane=f"hook:{hook.pk}", endpoint=hook, fingerprint="x"
        )
    assert len(claim(Carrier.WEBHOOK)) == 3


# --- between conversations ------------------------------------------------------------------------------------------------------


def test_conversations_take_turns() -> None:
    account, home = app(), gateway(max_in_flight=1)
    route(account, home)
    asked(account, *["talker"] * 5, "a", "b", "c")
    order = []
    while rows := take(home, 1):
        order.append(rows[0].message.peer_id)
        deliver(*rows)
    assert order == ["talker", "a", "b", "c", "talker", "talker", "talker", "talker"]


def test_turns_routed_together_rank_in_the_order_of_arrival() -> None:
    """Not by where their rows lie: equal ranks would leave it to the index."""
    account, home = app(), gateway()
    route(account, home)
    ranks = [max(turn.turn_at, turn.due_at) for turn in asked(account, *strangers(50)) if turn.turn_at]
    assert len(set(ranks)) == 50
    assert ranks == sorted(ranks)


def test_nobody_waits_for_ever_behind_newcomers() -> None:
    account, home = app(), gateway(max_in_flight=1)
    route(account, home)
    mine = asked(account, "talker", "talker")
    shift(mine[0], turn_at=-60, due_at=-60)
    shift(mine[1], turn_at=-50, due_at=-60)
    asked(account, *strangers(5))  # they came fifty seconds after the time that the second question counts as asked
    first, second = take(home, 1), None
    deliver(*first)
    second = take(home, 1)
    assert [one.message.peer_id for one in (*first, *second)] == ["talker", "talker"]


def test_the_oldest_first() -> None:
    account = app()
    first, second, third = (to_send(account, peer_id=person) for person in "abc")
    shift(second, due_at=-30)
    shift(third, due_at=-20)
    shift(first, due_at=-10)
    assert [claim(limit=1)[0].pk for _time in range(3)] == [second.pk, third.pk, first.pk]


def test_a_turn_counts_as_asked_later_for_each_that_waits_before_it() -> None:
    account, home = app(), gateway()
    route(account, home)
    one, two = asked(account, "a", "a")
    three, other = asked(account, "a", "b")
    gaps = [(row(later).turn_at - row(one).turn_at).total_seconds() for later in (two, three, other)]
    assert gaps[:2] == [pytest.approx(claim_sql.TURN_SECONDS, abs=1), pytest.approx(2 * claim_sql.TURN_SECONDS, abs=1)]
    assert gaps[2] < claim_sql.TURN_SECONDS


def test_a_turn_under_way_counts_and_what_is_no_turn_does_not() -> None:
    account, home = app(), gateway()
    route(account, home)
    (one,) = asked(account, "a")
    assert [mine.pk for mine in take(home)] == [one.pk]
    hear(account, "enter_agent", "b", kind="event")
    two, three = asked(account, "a", "b")
    gaps = [(row(later).turn_at - row(one).turn_at).total_seconds() for later in (two, three)]
    assert gaps[0] == pytest.approx(claim_sql.TURN_SECONDS, abs=1)
    assert gaps[1] < claim_sql.TURN_SECONDS


def test_a_turn_is_never_put_further_off_than_an_hour() -> None:
    account, home = app(), gateway()
    route(account, home)
    (one,) = asked(account, "a")
    shift(one, turn_at=claim_sql.AHEAD_SECONDS)
    (two,) = asked(account, "a")
    assert (row(two).turn_at - timezone.now()).total_seconds() < claim_sql.AHEAD_SECONDS + 5
    deliver(*take(home))
    assert [mine.pk for mine in take(home)] == [two.pk]  # alone, it is due


def test_what_waits_for_its_time_does_not_hold_up_the_others_of_its_account() -> None:
    account, home = app(), gateway()
    route(account, home)
    late, behind, other = asked(account, "a", "a", "b")
    shift(late, due_at=60)
    assert [mine.pk for mine in take(home)] == [other.pk]
    assert (state(late), state(behind)) == ("pending", "pending")


# --- the whole of it ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("valkey")
def test_eighty_strangers_leave_another_account_s_question_answered(stub: RunningStub) -> None:
    home = gateway(stub.base_url, max_in_flight=8)
    public, other = official(), app()
    route(public, home)
    route(other, home)
    asked_of_public = [hear(public, "!slow=20 ?", person) for person in strangers(80)]
    router.route_waiting()
    with RunningConnector():
        eventually(lambda: Delivery.objects.filter(state="sending").count() == 6)
        began = time.monotonic()
        mine = turn(other, "hello")
        eventually(lambda: state(mine) == "delivered")
        took = time.monotonic() - began
    assert Message.objects.filter(reply_to__account=public).count() == 0
    assert len(asked_of_public) == 80
    # Their turns take twenty seconds each: without a reserve this would wait for the first of them.
    assert took < 15


# --- what staff see ---------------------------------------------------------------------------------------------------------------


def test_a_gateway_says_who_uses_its_turns_and_what_waits_for_what() -> None:
    public, other, home = two_accounts()
    asked(public, *strangers(10))
    take(home, 8)
    asked(other, "a", "a")
    first, second = list_account_uses(home)
    assert (first.account, first.share, first.under_way, first.waiting) == (public, 6, 6, 4)
    assert first.reason == "one of its own turns to end: its share is 6"
    assert (second.account, second.under_way, second.waiting) == (other, 0, 2)
    take(home, 2)
    assert "nothing under way" in list_account_uses(home)[1].reason
    deliver(*Delivery.objects.filter(state="sending", account=public))
    assert "in its conversation" in list_account_uses(home)[0].reason
    home.state = "stopped"
    assert "disabled or stopped" in list_account_uses(home)[0].reason
    home.state, home.enabled = "ok", False
    assert "disabled" in list_account_uses(home)[0].reason


@pytest.mark.parametrize("columns", [{"gateway_share": 0}, {"gateway_share": 101}, {"turns_per_minute": 0}])
def test_what_makes_no_sense_is_refused(columns: dict[str, Any]) -> None:
    account = app()
    for name, value in columns.items():
        setattr(account, name, value)
    with pytest.raises(ValidationError, match=next(iter(columns))):
        account.full_clean()


def test_only_who_is_mapped_or_under_way_uses_a_gateway() -> None:
    public, other, home = two_accounts()
    Route.objects.filter(account=other).update(enabled=False)
    [alone] = list_account_uses(home)
    assert (alone.account, alone.share, alone.waiting, alone.reason) == (public, home.max_in_flight, 0, "")
    asked(public, *strangers(2))
    later = Delivery.objects.filter(account=public).latest("id")
    shift(later, due_at=60)
    assert list_account_uses(home)[0].waiting == 1
    assert list_account_uses(gateway()) == []
