"""Turns of an agent, against the stand-in gateway: every end is a state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.connector import gateways
from bridge.models import Delivery, Message, Reason, Route
from bridge.operations import replay
from bridge.pipeline.replies.streams import partial_key
from openclaw.models import Gateway
from tests.agent.turns import answers, finished, fresh, ran
from tests.support.connecting import RunningConnector
from tests.support.factories import GROUP, bot, eventually, official, outcomes, route, shift, state, turn

if TYPE_CHECKING:
    import redis

    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


# --- a turn ---------------------------------------------------------------------------------------------------------------------


def test_a_turn(stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route) -> None:
    with RunningConnector():
        asked = turn(account, "你好")
        done = finished(asked)
    assert (done.state, done.reason, done.tries, outcomes(asked)) == ("delivered", "", 1, ["ok"])
    assert done.remote_id == f"{asked.pk}.0"
    assert answers(asked) == ["收到：你好"]
    said = Message.objects.get(direction="out")
    assert (said.source, said.idempotency_key) == ("agent", f"answer:{asked.pk}.0")
    assert said.deliveries.get().state == "pending"
    assert ran(stub) == [(f"{asked.pk}.0", 1)]
    known = fresh(home)
    assert (known.state, known.version, known.boot_id) == (Health.OK, "stub-1", stub.boot_id)
    assert [agent["id"] for agent in known.agents] == ["main", "support"]
    assert (known.connection.owner, known.connection.is_held) == ("", False)  # released in order


def test_conversations_are_asked_side_by_side_and_one_in_order(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    slow = turn(account, "!slow=1 one")
    behind = turn(account, "two")
    other = turn(account, "three", "lisi")
    with RunningConnector():
        finished(other)
        assert [state(slow), state(behind)] == ["sending", "pending"]
        finished(behind)
    assert [run["message"] for run in stub.record][-1] == "two"
    assert state(slow) == "delivered"


def test_no_more_turns_at_a_time_than_the_gateway_bears(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    Gateway.objects.update(max_in_flight=2)
    turns = [turn(account, "!slow=0.6 x", f"user{number}") for number in range(5)]
    with RunningConnector():
        eventually(lambda: Delivery.objects.filter(state="sending").count() == 2)
        most = 0
        while Delivery.objects.exclude(state="delivered").filter(target="agent").exists():
            most = max(most, Delivery.objects.filter(state="sending").count())
            time.sleep(0.05)
    assert most == 2
    assert [state(one) for one in turns] == ["delivered"] * 5


def test_partial_text_is_shown_for_surfaces_that_can_stream(
    stub: RunningStub, home: Gateway, valkey: redis.Redis
) -> None:
    account = bot()
    route(account, home)
    asked = turn(account, "!slow=2 !tokens=20", group=GROUP)
    key = partial_key(asked.message.uuid)
    with RunningConnector():
        first = eventually(lambda: valkey.get(key))
        later = eventually(lambda: (now := valkey.get(key)) != first and now)
        finished(asked)
    assert first.decode().startswith("w0")
    assert later.startswith(first)
    assert 0 < valkey.ttl(key) <= 600


def test_an_agent_that_stays_silent(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    with RunningConnector():
        done = finished(turn(account, "!noreply"))
    assert (done.state, done.reason) == ("delivered", Reason.NO_ANSWER)
    assert Message.objects.filter(direction="out").count() == 0


@pytest.mark.parametrize("nasty", ["a\x00b", "a\ud800b"])
def test_no_answer_is_lost_to_what_postgresql_cannot_store(
    stub: RunningStub, account: ChannelAccount, mapped: Route, nasty: str
) -> None:
    with RunningConnector() as running:
        eventually(lambda: fresh(mapped.gateway).state == Health.OK)
        asked = turn(account, "hi")
        finished(asked)
        key = asked.payload["session_key"]
        if "\x00" in nasty:
            stub.say(key, nasty)
            said = eventually(lambda: Message.objects.filter(direction="out", text__startswith="a").first())
            assert said.text == "a\ufffdb"
        assert running.thread.is_alive()


# --- age and replay -----------------------------------------------------------------------------------------------------------------------


def test_too_old_is_not_asked(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    shift(asked, queued_at=-3601)
    with RunningConnector():
        done = finished(asked)
    assert (done.state, done.reason, outcomes(asked)) == ("dead", Reason.TOO_OLD, [])
    assert stub.record == []


def test_a_replay_is_a_new_turn(stub: RunningStub, account: ChannelAccount, home: Gateway) -> None:
    wrong = route(account, home, agent_id="nobody")
    with RunningConnector():
        asked = turn(account, "hi")
        assert finished(asked).state == "dead"
        Route.objects.filter(pk=wrong.pk).update(agent_id="main")
        assert replay.replay([asked.pk]).count == 1
        assert finished(asked).state == "delivered"
    assert ran(stub) == [(f"{asked.pk}.1", 1)]
    assert answers(asked) == [account.sentence("failed"), "收到：hi"]


def test_the_next_turn_of_a_conversation_waits_for_no_look(
    account: ChannelAccount, mapped: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "POLL_SECONDS", 60)
    first, second = turn(account, "one"), turn(account, "two")
    with RunningConnector():
        assert [finished(each).state for each in (first, second)] == ["delivered", "delivered"]


@pytest.mark.parametrize(("most", "share", "both"), [(8, 25, False), (2, 100, False), (1, 100, False), (3, 100, True)])
def test_the_next_turn_of_an_account_with_its_share_under_way_waits_for_no_look(
    account: ChannelAccount,
    home: Gateway,
    mapped: Route,
    most: int,
    share: int,
    both: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """both: each of two accounts asks, and together they have all turns but the reserve."""
    monkeypatch.setattr(gateways, "POLL_SECONDS", 60)
    Gateway.objects.update(max_in_flight=most)
    ChannelAccount.objects.update(gateway_share=share)
    other = official()
    route(other, home)
    asking = (account, other) if both else (account,)
    turns = [turn(each, "hello", f"person{number}") for each in asking for number in range(4)]
    with RunningConnector():
        assert {finished(each).state for each in turns} == {"delivered"}
