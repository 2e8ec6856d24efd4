"""Turns of an agent, against the stand-in gateway: every end is a state, every named error has its reaction."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.connector import leases, process
from bridge.connector.process import send_proactive
from bridge.models import Attachment, Attempt, Carrier, Delivery, Message, Reason, Route
from bridge.operations import replay
from bridge.pipeline.agent import turn as asking
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.inbound import router
from bridge.pipeline.replies.streams import partial_key
from openclaw.models import Gateway
from openclaw.stub.answers import make_picture as png
from openclaw.turns import Answer, ProactiveReply
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    GROUP,
    NOWHERE,
    app,
    bot,
    due,
    eventually,
    gateway,
    hear,
    official,
    outcomes,
    picture,
    route,
    row,
    shift,
    state,
    turn,
)

if TYPE_CHECKING:
    import redis

    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
OVER = ("delivered", "dead", "skipped", "uncertain")


@pytest.fixture
def account() -> ChannelAccount:
    return app()


@pytest.fixture
def home(stub: RunningStub) -> Gateway:
    return gateway(stub.base_url)


@pytest.fixture
def mapped(account: ChannelAccount, home: Gateway) -> Route:
    return route(account, home)


def finished(delivery: Delivery, seconds: float = 15.0) -> Delivery:
    eventually(lambda: state(delivery) in OVER, seconds)
    return row(delivery)


def fresh(home: Gateway) -> Gateway:
    return Gateway.objects.get(pk=home.pk)


def answers(delivery: Delivery) -> list[str]:
    return list(Message.objects.filter(reply_to_id=delivery.message_id).order_by("pk").values_list("text", flat=True))


def ran(stub: RunningStub) -> list[tuple[str, int]]:
    """(key, how often) of each run, in order."""
    return [(run["key"], run["count"]) for run in stub.record]


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
    assert (known.owner, known.owner_until) == ("", None)  # released in order


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


# --- every named error ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "code", "health"),
    [
        ({"locked_out": True}, "locked_out", Health.FAILING),
        ({"protocol": 5}, "protocol_mismatch", Health.STOPPED),
        ({"pairing": True}, "pairing_required", Health.STOPPED),
        ({"no_scopes": True}, "missing_scope", Health.STOPPED),
        ({"starting": True}, "starting", Health.FAILING),
    ],
)
def test_a_gateway_that_does_not_let_us_in(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route, faults: dict, code: str, health: str
) -> None:
    for name, value in faults.items():
        setattr(stub.faults, name, value)
    asked = turn(account)
    with RunningConnector():
        eventually(lambda: fresh(home).state_code == code)
        assert fresh(home).state == health
        assert len(fresh(home).state_reason) > 20
        assert (state(asked), row(asked).tries) == ("pending", 0)
        assert stub.record == []


@pytest.mark.parametrize(
    ("columns", "code", "health"),
    [
        ({"token": "wrong"}, "bad_token", Health.STOPPED),
        ({"base_url": NOWHERE}, "unreachable", Health.FAILING),
        ({"base_url": "ftp://127.0.0.1"}, "bad_url", Health.STOPPED),
        ({"token": "wrong", "transport": "http"}, "bad_token", Health.STOPPED),
    ],
)
def test_a_gateway_that_is_not_there_or_does_not_know_us(
    stub: RunningStub, account: ChannelAccount, columns: dict, code: str, health: str
) -> None:
    home = gateway(**{"base_url": stub.base_url, **columns})
    route(account, home)
    asked = turn(account)
    with RunningConnector():
        eventually(lambda: fresh(home).state_code == code)
    assert fresh(home).state == health
    assert state(asked) == "pending"


def test_something_else_answers_there(company: object, account: ChannelAccount) -> None:
    home = gateway(company.url)  # type: ignore[attr-defined]
    route(account, home)
    with RunningConnector():
        eventually(lambda: fresh(home).state_code == "not_a_gateway")
    assert fresh(home).state == Health.STOPPED


def test_after_a_repair_the_connector_goes_on_by_itself(stub: RunningStub, account: ChannelAccount) -> None:
    home = gateway(stub.base_url, "wrong")
    route(account, home)
    first, second = turn(account, "1"), turn(account, "2")
    with RunningConnector():
        eventually(lambda: fresh(home).state == Health.STOPPED)
        repaired = fresh(home)
        repaired.token = stub.token
        repaired.save()
        repaired.revive()
        finished(second)
    assert [run["message"] for run in stub.record] == ["1", "2"]
    assert state(first) == "delivered"
    assert fresh(home).state == Health.OK


def test_a_gateway_that_was_stopped_for_a_moment_is_connected_anew(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    """Revived before the connector looked again: the gateway is still its own, and its connection has ended for good."""
    stub.faults.protocol = 5
    with RunningConnector():
        asked = turn(account)
        eventually(lambda: fresh(home).state == Health.STOPPED)
        stub.faults.protocol = 4
        fresh(home).revive()
        assert finished(asked).state == "delivered"
    assert fresh(home).state == Health.OK


def test_an_agent_that_does_not_exist(stub: RunningStub, account: ChannelAccount, home: Gateway) -> None:
    route(account, home, agent_id="nobody")
    with RunningConnector():
        done = finished(turn(account))
    assert (done.state, done.reason, done.attempts.get().code) == ("dead", Reason.PERMANENT, "unknown_agent")
    assert fresh(home).state == Health.OK
    assert answers(done) == [account.sentence("failed")]


def test_a_failed_run_is_asked_again_with_a_new_key_and_its_text_reaches_nobody(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    stub.faults.fail_runs = 1
    asked = turn(account, "hi")
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["error"])
        due(asked)
        done = finished(asked)
    assert (done.state, outcomes(asked)) == ("delivered", ["error", "ok"])
    assert ran(stub) == [(f"{asked.pk}.0", 1), (f"{asked.pk}.1", 1)]
    assert answers(asked) == ["收到：hi"]


def test_a_run_that_always_fails_is_dead_after_four_tries(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    stub.faults.fail_runs = 99
    asked = turn(account)
    with RunningConnector():
        while state(asked) not in OVER:
            due(asked)
            time.sleep(0.05)
    done = row(asked)
    assert (done.state, done.reason, done.tries) == ("dead", Reason.TRIES_SPENT, 4)
    assert answers(done) == [account.sentence("failed")]


def test_what_failed_before_the_replay_or_in_another_way_is_not_counted(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    now = timezone.now()
    before, since = now - timedelta(minutes=2), now + timedelta(seconds=1)
    tries = [(before, "run_failed"), (since, "unavailable"), (since, "run_failed")]
    for number, (at, code) in enumerate(tries, 1):
        fields = {"number": number, "started_at": at, "finished_at": at, "outcome": "error", "code": code}
        Attempt.objects.create(delivery=asked, **fields)
    assert asking.count_failures(row(asked), "run_failed") == 1


@pytest.mark.parametrize("outcome", ["unknown", "interrupted"])
@pytest.mark.parametrize("word", ["ask", "recover"])
def test_a_turn_is_lost_also_where_it_was_lost_while_it_was_looked_up(
    account: ChannelAccount, mapped: Route, outcome: str, word: str
) -> None:
    asked = turn(account)
    request = {word: f"{asked.pk}.0"}
    Attempt.objects.create(delivery=asked, number=1, finished_at=timezone.now(), outcome=outcome, request=request)
    assert asking.has_unknown_outcome(asked)
    shift(asked, run_number=1)
    assert not asking.has_unknown_outcome(row(asked))


@pytest.mark.parametrize(("asked_before", "opened"), [({}, True), ({"tries": 1}, False), ({"run_number": 1}, False)])
def test_what_was_asked_before_is_looked_at_before_it_is_asked_again(
    account: ChannelAccount, mapped: Route, asked_before: dict[str, int], opened: bool
) -> None:
    """Somebody may have typed /stop since then."""
    shift(turn(account), **asked_before)
    ((_row, found),) = asking.claim_turns("me", 1, mapped.gateway)
    assert (found is not None) is opened


def test_interruptions_do_not_count_as_failures(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    stub.faults.fail_runs = 1
    asked = turn(account, "hi")
    shift(asked, tries=5)
    for number in range(5):
        Attempt.objects.create(delivery=asked, number=number + 1, finished_at=timezone.now(), outcome="interrupted")
    with RunningConnector():
        eventually(lambda: "error" in outcomes(asked))
        due(asked)
        assert finished(asked).state == "delivered"


def test_an_overloaded_gateway(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    stub.faults.overloaded = 1
    asked = turn(account)
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["error"])
        assert asked.attempts.get(number=1).code == "unavailable"
        due(asked)
        assert finished(asked).state == "delivered"


def test_too_large_for_the_gateway(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    message = hear(account, media=(picture(),))
    item = message.attachments.get()
    item.file.save("", ContentFile(bytes(7 * 1024 * 1024)), save=False)
    item.state = "ready"
    item.save()
    router.route_waiting()
    asked = message.deliveries.get()
    with RunningConnector():
        done = finished(asked)
    assert (done.state, done.attempts.get().code) == ("dead", "too_large")


# --- lost connections and restarts --------------------------------------------------------------------------------------------------


def test_a_lost_connection_in_mid_turn_is_recovered(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    stub.faults.drop_mid_turn = 1
    asked = turn(account, "!slow=0.5 !tokens=5")
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        due(asked)
        done = finished(asked)
    assert (done.state, outcomes(asked), done.run_number) == ("delivered", ["unknown", "ok"], 0)
    assert done.attempts.get(number=2).request["recover"] == f"{asked.pk}.0"
    assert ran(stub) == [(f"{asked.pk}.0", 1)]
    assert answers(asked) == ["w0 w1 w2 w3 w4"]


@pytest.mark.parametrize("length", [3, 3000])
def test_so_is_a_long_one(stub: RunningStub, account: ChannelAccount, mapped: Route, length: int) -> None:
    """Whatever its length, the turn is looked for before it is asked again."""
    asked = turn(account, "字" * length + "\n!slow=0.3 !say=done")
    stub.faults.drop_mid_turn = 1
    with RunningConnector():
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        due(asked)
        finished(asked)
    assert "recover" in asked.attempts.get(number=2).request
    assert ran(stub) == [(f"{asked.pk}.0", 1)]


@pytest.mark.parametrize("resume", [True, False])
def test_a_gateway_that_restarts_in_mid_turn_answers_once(
    stub: RunningStub, account: ChannelAccount, mapped: Route, resume: bool
) -> None:
    stub.faults.resume = resume
    asked = turn(account, "!slow=0.8 !say=one answer")
    with RunningConnector():
        eventually(lambda: ran(stub))
        stub.restart(history=True)
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        while state(asked) not in OVER:
            due(asked)
            time.sleep(0.05)
    assert state(asked) == "delivered"
    assert answers(asked) == ["one answer"]


def test_a_gateway_that_forgot_everything_is_asked_anew(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    asked = turn(account, "!slow=0.6 !say=again")
    with RunningConnector():
        eventually(lambda: ran(stub))
        stub.restart(history=False)
        eventually(lambda: outcomes(asked)[:1] == ["unknown"])
        while state(asked) not in OVER:
            due(asked)
            time.sleep(0.05)
    assert (state(asked), answers(asked)) == ("delivered", ["again"])
    assert ran(stub) == [(f"{asked.pk}.1", 1)]
    assert row(asked).attempts.filter(code="not_answered").count() == 1


def test_a_draining_gateway_is_waited_for(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    with RunningConnector():
        eventually(lambda: fresh(home).state == Health.OK)
        stub.drain(500)
        eventually(lambda: fresh(home).state_code == "draining")
        asked = turn(account)
        stub.faults.draining = False
        assert finished(asked).state == "delivered"
    assert fresh(home).state == Health.OK


# --- connectors come and go -----------------------------------------------------------------------------------------------------------


def test_a_connector_that_ends_in_order_hands_over(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "!slow=1 !say=one answer")
    with RunningConnector():
        eventually(lambda: ran(stub))
    assert state(asked) == "pending"
    with RunningConnector():
        due(asked)
        finished(asked)
    assert (answers(asked), ran(stub)) == (["one answer"], [(f"{asked.pk}.0", 1)])


def test_a_gateway_is_held_until_the_lease_is_over_and_its_fence_counts_the_hands(home: Gateway) -> None:
    off, stopped = gateway(enabled=False), gateway(state=Health.STOPPED)
    assert leases.acquire("first") == [home]
    shift_lease(home, 1)
    assert leases.acquire("second") == []
    assert leases.acquire("first") == [home]
    assert fresh(home).owner_until > timezone.now() + timedelta(seconds=leases.LEASE_SECONDS - 5)
    assert (fresh(home).owner, fresh(home).fence) == ("first", 1)
    shift_lease(home, -1)
    assert leases.acquire("second") == [home]
    leases.release("first")
    assert (fresh(home).owner, fresh(home).fence) == ("second", 2)
    leases.release("second")
    assert (fresh(home).owner, fresh(home).owner_until) == ("", None)
    assert {fresh(each).owner for each in (off, stopped)} == {""}


@pytest.mark.parametrize("released", [False, True])
def test_a_connector_that_lost_a_gateway_writes_nothing_to_it(home: Gateway, released: bool) -> None:
    (before,) = leases.acquire("first")
    shift_lease(home, -1)
    (now,) = leases.acquire("second")
    leases.store_hello(now, "2", "new boot", [])
    if released:  # and taken again by the first, whose connection is of the time before
        leases.release("second")
        leases.acquire("first")
    leases.store_hello(before, "1", "old boot", [], "old device token")
    assert not before.set_state_as_holder(Health.STOPPED, "bad_token", "refused")
    after = fresh(home)
    assert (after.version, after.boot_id, after.device_token, after.state) == ("2", "new boot", "", Health.OK)
    assert leases.read_connection_settings(before) != leases.read_connection_settings(now)


def test_a_new_connection_is_made_for_what_it_depends_on(home: Gateway) -> None:
    before = leases.read_connection_settings(home)
    home.max_in_flight, home.timeout_seconds = 1, 1
    assert leases.read_connection_settings(home) == before
    for name in ("base_url", "transport", "token", "device_key", "fence"):
        other = fresh(home)
        setattr(other, name, "another")
        assert leases.read_connection_settings(other) != before, name


def test_a_device_token_is_kept_where_the_gateway_sends_none(home: Gateway) -> None:
    for sent in ("first", ""):
        leases.store_hello(home, "1", "boot", [], sent)
        assert home.device_token == fresh(home).device_token == "first"


def test_a_turn_may_take_as_long_as_its_gateway_says(account: ChannelAccount, mapped: Route) -> None:
    Gateway.objects.update(timeout_seconds=77)
    assert asking.turn_for(row(turn(account))).timeout == 77.0


def shift_lease(home: Gateway, seconds: float) -> None:
    Gateway.objects.filter(pk=home.pk).update(owner_until=timezone.now() + timedelta(seconds=seconds))


def test_a_killed_connectors_turns_are_recovered_by_another(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    asked = turn(account, "!slow=1 !say=one answer")
    with RunningConnector() as first:
        eventually(lambda: ran(stub))
        first.kill()
    shift(asked, state="sending", lease_until=30, holder="killed")
    asked.attempts.update(finished_at=None, outcome="")
    Gateway.objects.update(owner="killed", owner_until=timezone.now() + timedelta(seconds=30))
    fence = fresh(home).fence
    assert leases.acquire("second") == []  # the lease holds
    Gateway.objects.update(owner_until=timezone.now())
    shift(asked, lease_until=-1)
    assert claims.sweep() == 1
    with RunningConnector():
        finished(asked)
        assert fresh(home).fence == fence + 1
    assert (answers(asked), ran(stub)) == (["one answer"], [(f"{asked.pk}.0", 1)])
    assert outcomes(asked) == ["interrupted", "ok"]


def test_two_connectors_share_the_gateways_and_never_one(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    with RunningConnector() as first:
        eventually(lambda: fresh(home).owner)
        with RunningConnector() as second:
            turns = [turn(account, str(number), f"user{number}") for number in range(6)]
            for one in turns:
                finished(one)
            assert fresh(home).owner == first.connector.holder
            assert not second.connector.connections
            assert stub.connections == 1
    assert sorted(count for _key, count in ran(stub)) == [1] * 6


def test_a_disabled_gateway_is_let_go(stub: RunningStub, account: ChannelAccount, home: Gateway) -> None:
    with RunningConnector():
        eventually(lambda: stub.connections == 1)
        Gateway.objects.update(enabled=False)
        eventually(lambda: stub.connections == 0)


# --- words of command -----------------------------------------------------------------------------------------------------------------


def test_stop_breaks_the_turn_off(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        eventually(lambda: ran(stub))
        turn(account, "/stop")
        done = finished(asked)
    assert (done.state, done.reason, outcomes(asked)) == ("skipped", Reason.STOPPED, ["error"])
    assert list(Message.objects.filter(direction="out").values_list("text", flat=True)) == ["已停止。"]


def test_a_run_that_somebody_else_aborted_is_dead_and_replayable(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    """Nobody typed /stop: it must not look as if the person had wanted it."""
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        (run,) = eventually(lambda: stub.record)
        stub.abort(run["session_key"], run["key"])
        done = finished(asked)
    assert (done.state, done.reason) == ("dead", Reason.PERMANENT)
    assert (replay.why_not_replay(done), done.stopped_at) == ("", None)
    assert answers(done) == [account.sentence("failed")]


def test_a_stop_that_nobody_announced_is_read_from_the_row(
    stub: RunningStub, account: ChannelAccount, mapped: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "RENEW_SECONDS", 0.1)
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        eventually(lambda: ran(stub))
        shift(asked, stopped_at=0)
        done = finished(asked)
    assert (done.state, done.reason) == ("skipped", Reason.STOPPED)


def test_stop_while_the_turn_waits_for_its_files(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "look", media=(picture(),))
    with RunningConnector():
        eventually(lambda: state(asked) == "sending")
        turn(account, "/stop")
        done = finished(asked)
    assert (done.state, done.reason) == ("skipped", Reason.STOPPED)
    assert stub.record == []


def test_stop_while_the_connection_was_away(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    settle.open_attempt(claims.claim(Carrier.CONNECTOR, "lost", 1)[0], {"ask": f"{asked.pk}.0"})
    shift(asked, lease_until=-60)
    claims.sweep()
    turn(account, "/stop")
    with RunningConnector():
        assert (finished(asked).state, row(asked).reason) == ("skipped", Reason.STOPPED)
    assert ran(stub) == []
    assert answers(asked) == []


def test_after_new_the_agent_remembers_nothing(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    with RunningConnector():
        finished(turn(account, "1"))
        turn(account, "/new")
        finished(turn(account, "2"))
    assert len({run["session_key"] for run in stub.record}) == 2


# --- files ------------------------------------------------------------------------------------------------------------------------------


def with_file(account: ChannelAccount, kind: str, content: bytes, mime: str) -> Delivery:
    message = hear(account, "look", media=(picture(),))
    item = Attachment.objects.get(message=message)
    item.file.save("", ContentFile(content), save=False)
    Attachment.objects.filter(pk=item.pk).update(file=item.file.name, state="ready", kind=kind, mime=mime, name="a.bin")
    router.route_waiting()
    return message.deliveries.get()


@pytest.mark.parametrize(
    ("kind", "mime", "seen"), [("image", "image/png", "看到 1 张图"), ("file", "application/pdf", "收到文件 a.bin")]
)
def test_files_for_the_agent(
    stub: RunningStub, account: ChannelAccount, mapped: Route, kind: str, mime: str, seen: str
) -> None:
    asked = with_file(account, kind, png(1), mime)
    with RunningConnector():
        assert finished(asked).state == "delivered"
    assert seen in answers(asked)[0]


def test_a_file_that_could_not_be_fetched_is_named(stub: RunningStub, account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account, "look", media=(picture("x", "chart.png"),))
    Attachment.objects.update(state="failed")
    with RunningConnector():
        finished(asked)
    assert stub.record[0]["message"].endswith("[image chart.png: could not be fetched]")


@pytest.mark.parametrize("kind", ["", "=artifact", "=link"])
def test_files_from_the_agent(stub: RunningStub, account: ChannelAccount, mapped: Route, kind: str) -> None:
    asked = turn(account, f"!image{kind}")
    with RunningConnector():
        finished(asked)
    said = Message.objects.get(direction="out")
    item = said.attachments.get()
    assert (said.text, item.kind, item.mime, item.state) == ("给你一张图。", "image", "image/png", "ready")
    assert item.file.read().startswith(b"\x89PNG")
    item.file.close()


# --- the agent speaks first ---------------------------------------------------------------------------------------------------------------


def test_what_an_agent_says_unasked_reaches_its_conversation(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    with RunningConnector():
        asked = turn(account)
        finished(asked)
        stub.say(asked.payload["session_key"], "by the way")
        said = eventually(lambda: Message.objects.filter(text="by the way").first())
        stub.say("agent:main:wechat:direct:0000", "for nobody")
        stub.say("agent:main:main", "not ours")
        time.sleep(0.3)
    assert (said.peer_id, said.reply_to, said.deliveries.get().state) == ("zhangsan", None, "pending")
    assert Message.objects.filter(direction="out").count() == 2


def test_an_acceptance_that_is_repeated_is_no_end_of_the_run(
    stub: RunningStub, account: ChannelAccount, mapped: Route
) -> None:
    stub.faults.version, stub.faults.accepts_again = "2026.8.2", 3
    with RunningConnector():
        asked = turn(account)
        done = finished(asked)
    assert (done.state, outcomes(asked), ran(stub)) == ("delivered", ["ok"], [(f"{asked.pk}.0", 1)])


def test_runs_whose_ids_are_too_long_to_be_stored_are_told_apart(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    Delivery.objects.filter(pk=asked.pk).update(state="delivered", finished_at=timezone.now())
    for end in "ab":
        send_proactive(
            mapped.gateway, ProactiveReply(asked.payload["session_key"], "r" * 5000 + end, Answer(f"said {end}"))
        )
    assert set(Message.objects.filter(direction="out").values_list("text", flat=True)) == {"said a", "said b"}


def test_a_gateway_speaks_only_where_it_was_asked_itself(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    shift(asked, state="delivered", finished_at=0)
    reply = ProactiveReply(asked.payload["session_key"], "a run of its own", Answer("by the way"))
    send_proactive(gateway(), reply)
    assert not Message.objects.filter(direction="out").exists()
    send_proactive(mapped.gateway, reply)
    assert Message.objects.get(direction="out").text == "by the way"


def test_unasked_words_may_do_what_the_newest_turn_may(account: ChannelAccount, mapped: Route) -> None:
    before, now = turn(account), turn(account)
    for asked, allowed in ((before, ["links"]), (now, [])):
        shift(asked, state="delivered", finished_at=0, payload={**asked.payload, "allowed": allowed})
    linked = Answer("[press here](https://example.com/x)")
    send_proactive(mapped.gateway, ProactiveReply(now.payload["session_key"], "a", linked))
    assert Message.objects.get(direction="out").text == "press here (https://example.com/x)"


def test_runs_of_two_gateways_may_have_one_id(account: ChannelAccount, mapped: Route) -> None:
    other = route(account, gateway(), peer_kind="direct", peer_id="lisi")
    for mine, who in ((mapped, "zhangsan"), (other, "lisi")):
        asked = turn(account, sender=who)
        shift(asked, state="delivered", finished_at=0)
        send_proactive(mine.gateway, ProactiveReply(asked.payload["session_key"], "run-1", Answer("by the way")))
    assert set(Message.objects.filter(direction="out").values_list("peer_id", flat=True)) == {"zhangsan", "lisi"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("好的 NO_REPLY", "好的"),
        ("<think>why</think>[[reply_to_current]] 好的", "好的"),
        ("no_reply", None),
        ("**NO_REPLY**", None),
        ("HEARTBEAT_OK", None),
        ("<think>nothing to add</think>NO_REPLY.", None),
    ],
)
def test_only_what_is_for_readers_is_sent(
    stub: RunningStub, account: ChannelAccount, mapped: Route, said: str, shown: str | None
) -> None:
    with RunningConnector():
        asked = turn(account, f"!say={said}")
        finished(asked)
        first = Message.objects.filter(direction="out").first()
        stub.say(asked.payload["session_key"], said)
        stub.say(asked.payload["session_key"], "the end")
        eventually(lambda: Message.objects.filter(text="the end").first())
    texts = set(Message.objects.filter(direction="out").values_list("text", flat=True))
    assert (first.text if first else None, texts) == (shown, {shown, "the end"} - {None})


def test_what_is_said_to_everybody_is_said_to_nobody(stub: RunningStub, account: ChannelAccount, home: Gateway) -> None:
    route(account, home, scope="shared")
    with RunningConnector():
        asked = turn(account)
        finished(asked)
        stub.say(asked.payload["session_key"], "whose is this?")
        time.sleep(0.3)
    assert Message.objects.filter(direction="out").count() == 1


def test_while_a_turn_is_in_doubt_an_unasked_message_may_be_its_answer(account: ChannelAccount, mapped: Route) -> None:
    asked = turn(account)
    attempt = settle.open_attempt(claims.claim(Carrier.CONNECTOR, "lost", 1)[0], {"ask": "1.0"})
    reply = ProactiveReply(asked.payload["session_key"], "resumed", Answer("the answer"))
    shift(asked, lease_until=-60)
    claims.sweep()
    assert Attempt.objects.get(pk=attempt.pk).outcome == "interrupted"

    send_proactive(mapped.gateway, reply)
    assert [mine.pk for mine in claims.claim(Carrier.CONNECTOR, "me", 1)] == [asked.pk]  # to look up what became of it
    send_proactive(mapped.gateway, reply)
    assert not Message.objects.filter(direction="out").exists()

    shift(asked, state="delivered", finished_at=0, lease_until=None)
    send_proactive(mapped.gateway, reply)
    assert Message.objects.get(direction="out").text == "the answer"


# --- HTTP -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def by_http(stub: RunningStub, account: ChannelAccount) -> Route:
    return route(account, gateway(stub.base_url, transport="http"))


@pytest.mark.parametrize(
    ("faults", "version"), [({}, "stub-1"), ({"no_scopes": True}, ""), ({"pairing": True}, ""), ({"protocol": 5}, "")]
)
def test_by_http(
    stub: RunningStub, account: ChannelAccount, by_http: Route, faults: dict[str, object], version: str
) -> None:
    """Also of a gateway whose WebSocket does not let us in: it tells no version."""
    for name, value in faults.items():
        setattr(stub.faults, name, value)
    with RunningConnector():
        asked = turn(account, "你好")
        done = finished(asked)
    assert (done.state, answers(asked)) == ("delivered", ["收到：你好"])
    home = fresh(by_http.gateway)
    assert (home.state, home.version) == (Health.OK, version)
    assert [agent["id"] for agent in home.agents] == ["main", "support"]


def test_stop_by_http(stub: RunningStub, account: ChannelAccount, by_http: Route) -> None:
    asked = turn(account, "!slow=20 !tokens=50")
    with RunningConnector():
        eventually(lambda: ran(stub))
        turn(account, "/stop")
        done = finished(asked)
    assert (done.state, done.reason) == ("skipped", Reason.STOPPED)


def test_a_lost_connection_by_http_is_asked_anew(stub: RunningStub, account: ChannelAccount, by_http: Route) -> None:
    asked = turn(account, "!slow=0.5 !say=done")
    with RunningConnector():
        eventually(lambda: ran(stub))
    assert state(asked) == "pending"
    with RunningConnector():
        while state(asked) not in OVER:
            due(asked)
            time.sleep(0.05)
    assert (state(asked), answers(asked)) == ("delivered", ["done"])


def test_a_token_that_was_changed_meanwhile_stops_the_gateway_and_is_not_tried_in_a_loop(
    stub: RunningStub, account: ChannelAccount, by_http: Route
) -> None:
    with RunningConnector():
        eventually(lambda: fresh(by_http.gateway).state == Health.OK)
        stub._gateway.token = "changed"  # what an operator does on the other side
        asked = turn(account)
        eventually(lambda: fresh(by_http.gateway).state == Health.STOPPED)
        time.sleep(0.5)
    assert (state(asked), row(asked).tries) == ("pending", 0)
    assert len(outcomes(asked)) == 1


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


@pytest.mark.parametrize("transport", ["ws", "http"])
def test_a_failed_test_does_not_outlast_a_gateway_that_works(
    stub: RunningStub, account: ChannelAccount, home: Gateway, transport: str
) -> None:
    Gateway.objects.filter(pk=home.pk).update(transport=transport)
    with RunningConnector():
        eventually(lambda: fresh(home).state == Health.OK)
        fresh(home).set_state(Health.FAILING, "unreachable", "a test failed")
        eventually(lambda: fresh(home).state == Health.OK)


def test_a_gateway_that_stays_away_does_not_fill_the_log(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = gateway(NOWHERE)
    tries: list[int] = []
    monkeypatch.setattr(
        "bridge.connector.process.backoff", lambda failures: tries.append(failures) or 0.01
    )  # only the pause
    with RunningConnector():
        eventually(lambda: len(tries) >= 33)
    lines = [one.getMessage() for one in caplog.records if one.getMessage().startswith(f"gateway {home.pk}: unreach")]
    assert 6 <= len(lines) <= len(tries) / 4
    assert "in a row" not in lines[0]
    assert lines[-1].endswith("times in a row)")


def test_a_connection_that_is_lost_anew_is_logged_each_time(
    stub: RunningStub, home: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    def lost() -> list[str]:
        return [one.getMessage() for one in caplog.records if "connection_lost" in one.getMessage()]

    with RunningConnector():
        for count in (1, 2, 3):
            eventually(lambda: fresh(home).state == Health.OK)
            stub.disconnect()
            eventually(lambda count=count: len(lost()) >= count)
    assert set(lost()) == {f"gateway {home.pk}: connection_lost"}


def test_the_next_turn_of_a_conversation_waits_for_no_look(
    account: ChannelAccount, mapped: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "POLL_SECONDS", 60)
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
    monkeypatch.setattr(process, "POLL_SECONDS", 60)
    Gateway.objects.update(max_in_flight=most)
    ChannelAccount.objects.update(gateway_share=share)
    other = official()
    route(other, home)
    asking = (account, other) if both else (account,)
    turns = [turn(each, "hello", f"person{number}") for each in asking for number in range(4)]
    with RunningConnector():
        assert {finished(each).state for each in turns} == {"delivered"}
