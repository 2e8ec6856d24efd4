"""Nobody starves anybody: claims go round by account and by conversation, and a person has so many turns a minute."""

from __future__ import annotations

import itertools
import re
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from accounts.channels import build_channel
from bridge.models import Carrier, Contact, Delivery, Message, Reason, Route
from bridge.operations.gateway_use import uses_of
from bridge.pipeline.agent.shares import reserve_of, share_of
from bridge.pipeline.delivery import claim_sql, settle
from bridge.pipeline.inbound import router
from bridge.pipeline.inbound.rate import SenderRate
from bridge.pipeline.replies.streams import answer_poll
from bridge.runtime.db.prepared import execute_prepared
from tests.support.callbacks import opened
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    FAN,
    GROUP,
    app,
    at_once,
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
    from accounts.models import ChannelAccount
    from openclaw.models import Gateway
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db


def two_accounts(most: int = 8, **columns: Any) -> tuple[ChannelAccount, ChannelAccount, Gateway]:
    """A public account and another one, mapped to one gateway."""
    home = gateway(max_in_flight=most)
    public, other = official(columns=columns), app()
    route(public, home)
    route(other, home)
    return public, other, home


def asked(account: ChannelAccount, *people: str) -> list[Delivery]:
    """A question of each, routed together, as a flood comes in."""
    messages = [hear(account, "?", person) for person in people]
    router.route_waiting()
    return [message.deliveries.get() for message in messages]


def strangers(count: int) -> list[str]:
    return [f"o{number}" for number in range(count)]


def take(home: Gateway, limit: int = 100, holder: str = "me") -> list[Delivery]:
    return claim(Carrier.CONNECTOR, holder, limit, gateway_id=home.pk)


def deliver(*deliveries: Delivery) -> None:
    for delivery in deliveries:
        settle.mark_delivered(delivery, settle.open_attempt(delivery, {}))


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


# --- the order within a lane, whoever claims -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_no_lane_is_out_of_order_and_nobody_starves_with_many_at_once() -> None:
    public, other, home = two_accounts(16)
    for _number, account, person in itertools.product(range(4), (public, other), strangers(6)):
        hear(account, "?", person)
        hear(account, "?", person)
        router.route_waiting()
    taken: dict[str, list[int]] = {}
    doubled: list[str] = []
    lock = threading.Lock()

    def connector(name: str) -> None:
        while Delivery.objects.filter(target="agent").exclude(state="delivered").exists():
            for mine in take(home, 3, name):
                under_way = Delivery.objects.filter(lane=mine.lane, state="sending").count()
                with lock:
                    taken.setdefault(mine.lane, []).append(mine.pk)
                    doubled.extend([mine.lane] if under_way != 1 else [])
                deliver(mine)

    at_once(*[lambda name=f"connector{number}": connector(name) for number in range(4)])
    assert doubled == []
    assert len(taken) == 12
    for lane, order in taken.items():
        assert order == list(Delivery.objects.filter(lane=lane).order_by("seq").values_list("pk", flat=True))
        assert len(order) == 8


# --- what it costs -------------------------------------------------------------------------------------------------------------


def backlog(account: ChannelAccount, home: Gateway, rows: int, talks: int) -> None:
    """So many questions of so many conversations, in one statement."""
    connection.cursor().execute(
        """
        WITH talk AS (
          INSERT INTO bridge_conversation (account_id, peer_kind, peer_id, title, mode, session_epoch, created_at)
          SELECT %(account)s, 'direct', 'p' || n, '', 'bot', 0, now() FROM generate_series(1, %(talks)s) n RETURNING id
        ), said AS (
          INSERT INTO bridge_message (uuid, account_id, direction, source, client, idempotency_key, request_hash, kind, text, data,
            raw, sender, addressed, peer_kind, peer_id, reply_address, conversation_id, routed_at, created_at)
          SELECT gen_random_uuid(), %(account)s, 'in', 'channel', '', %(account)s || '-' || talk.id || '-' || n, '', 'text', 'x', '{}',
            '{}', 'p', true, 'direct', 'p', '', talk.id, now(), now() FROM talk, generate_series(1, %(each)s) n
          RETURNING id, conversation_id
        )
        INSERT INTO bridge_delivery (target, carrier, message_id, account_id, gateway_id, lane, part, payload, fingerprint, state, reason,
          error, tries, run_number, replays, due_at, turn_at, holder, remote_id, queued_at, created_at)
        SELECT 'agent', 'connector', id, %(account)s, %(gateway)s, 'in:' || conversation_id, 0, '{"x": 1}', '', 'pending', '', '', 0, 0,
          0, now() - interval '1 hour', now() - interval '1 hour' + make_interval(secs => 10 * n), '', '', now(), now()
        FROM (SELECT id, conversation_id, row_number() OVER (PARTITION BY conversation_id ORDER BY id) AS n FROM said ORDER BY id) AS s
        """,
        {"account": account.pk, "gateway": home.pk, "talks": talks, "each": rows // talks},
    )


def touched(home: Gateway, limit: int) -> tuple[int, int]:
    """(claimed, rows that the plan's nodes read) of a claim with a generic plan."""
    values = {
        "carriers": ["connector"], "carrier": "connector", "holder": "me", "lease": 30, "limit": limit, "first": home.pk,
        "last": home.pk, "most": None, "horizon": 7200, "ahead": claim_sql.AHEAD,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    lines = [
        line for (line,) in execute_prepared("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + claim_sql.CLAIM.sql, values)
    ]
    read = 0
    for line in lines:
        found = re.search(r"(Scan|Search).*actual rows=([\d.]+) loops=(\d+)", line)
        read += int(float(found[2]) * int(found[3])) if found else 0
        removed = re.search(r"Rows Removed by .*Filter: (\d+)", line)
        read += int(removed[1]) if removed else 0
    return Delivery.objects.filter(state="sending", holder="me").count(), read


@pytest.mark.parametrize("limit", [1, 8, 50])
def test_a_claim_over_a_backlog_of_100_000_touches_few_rows(limit: int) -> None:
    public, other, home = two_accounts(100)
    backlog(public, home, 100_000, 1_000)
    backlog(other, home, 100, 100)
    connection.cursor().execute("ANALYZE bridge_delivery, bridge_message, bridge_conversation")
    claimed, read = touched(home, limit)
    assert claimed == limit
    assert read < 3_000
    again, read = touched(home, limit)  # while some lanes are under way
    assert again == min(2 * limit, 100 - reserve_of(100))
    assert read < 3_000


# --- turns a minute ---------------------------------------------------------------------------------------------------------------


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
    told = [person.must_be_told(now + timedelta(seconds=seconds)) for seconds in (0, 1, 30, 80, 139, 200)]
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
    first, second = uses_of(home)
    assert (first.account, first.share, first.under_way, first.waiting) == (public, 6, 6, 4)
    assert first.reason == "one of its own turns to end: its share is 6"
    assert (second.account, second.under_way, second.waiting) == (other, 0, 2)
    take(home, 2)
    assert "nothing under way" in uses_of(home)[1].reason
    deliver(*Delivery.objects.filter(state="sending", account=public))
    assert "in its conversation" in uses_of(home)[0].reason
    home.state = "stopped"
    assert "disabled or stopped" in uses_of(home)[0].reason
    home.state, home.enabled = "ok", False
    assert "disabled" in uses_of(home)[0].reason


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
    [alone] = uses_of(home)
    assert (alone.account, alone.share, alone.waiting, alone.reason) == (public, home.max_in_flight, 0, "")
    asked(public, *strangers(2))
    later = Delivery.objects.filter(account=public).latest("id")
    shift(later, due_at=60)
    assert uses_of(home)[0].waiting == 1
    assert uses_of(gateway()) == []
