"""Connectors come and go: who holds the lease of a gateway, and what is written about its state."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts.health import Health
from accounts.models import Connection
from bridge.connector import leases
from bridge.pipeline.agent import turn as asking
from bridge.pipeline.delivery import claims
from openclaw.models import Gateway
from tests.agent.turns import answers, finished, fresh, ran
from tests.support.connecting import RunningConnector
from tests.support.factories import NOWHERE, due, eventually, gateway, outcomes, row, shift, state, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import Route
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


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
    (first,) = leases.acquire("first")
    assert first == held(home)
    shift_lease(home, 1)
    assert leases.acquire("second") == []
    assert leases.acquire("first") == [first]
    assert held(home).owner_until > timezone.now() + timedelta(seconds=leases.LEASE_SECONDS - 5)
    assert (held(home).owner, held(home).fence, held(home).held_since) == ("first", 1, first.held_since)
    shift_lease(home, -1)
    assert leases.acquire("second") == [first]
    assert held(home).held_since > first.held_since
    leases.release("first")
    assert (held(home).owner, held(home).fence) == ("second", 2)
    leases.release("second")
    assert held(home).owner == ""
    assert held(home).owner_until <= timezone.now(), "when it was given back"
    assert not Connection.objects.filter(gateway__in=[off, stopped]).exists()


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
    assert not before.gateway.set_state_as_holder(Health.STOPPED, "bad_token", {"detail": "refused"})
    after = fresh(home)
    assert (after.version, after.boot_id, after.device_token, after.state) == ("2", "new boot", "", Health.OK)
    assert leases.read_connection_settings(before) != leases.read_connection_settings(now)


def test_a_new_connection_is_made_for_what_it_depends_on(home: Gateway) -> None:
    (row,) = leases.acquire("first")
    before = leases.read_connection_settings(row)
    row.gateway.max_in_flight, row.gateway.timeout_seconds = 1, 1
    assert leases.read_connection_settings(row) == before
    for name in ("base_url", "transport", "token", "device_key"):
        other = held(home)
        setattr(other.gateway, name, "another")
        assert leases.read_connection_settings(other) != before, name
    assert leases.acquire("first")
    shift_lease(home, -1)
    assert leases.read_connection_settings(leases.acquire("second")[0]) != before


def test_a_device_token_is_kept_where_the_gateway_sends_none(home: Gateway) -> None:
    (row,) = leases.acquire("first")
    for sent in ("first", ""):
        leases.store_hello(row, "1", "boot", [], sent)
        assert row.gateway.device_token == fresh(home).device_token == "first"


def test_a_turn_may_take_as_long_as_its_gateway_says(account: ChannelAccount, mapped: Route) -> None:
    Gateway.objects.update(timeout_seconds=77)
    assert asking.build_turn(row(turn(account))).timeout == 77.0


def held(home: Gateway) -> Connection:
    return Connection.objects.select_related("gateway").get(gateway=home)


def shift_lease(home: Gateway, seconds: float) -> None:
    Connection.objects.filter(gateway=home).update(owner_until=timezone.now() + timedelta(seconds=seconds))


def test_a_killed_connectors_turns_are_recovered_by_another(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    asked = turn(account, "!slow=1 !say=one answer")
    with RunningConnector() as first:
        eventually(lambda: ran(stub))
        first.kill()
    shift(asked, state="sending", lease_until=30, holder="killed")
    asked.attempts.update(finished_at=None, outcome="")
    Connection.objects.update(owner="killed", owner_until=timezone.now() + timedelta(seconds=30))
    fence = held(home).fence
    assert leases.acquire("second") == []  # the lease holds
    Connection.objects.update(owner_until=timezone.now())
    shift(asked, lease_until=-1)
    assert claims.sweep() == 1
    with RunningConnector():
        finished(asked)
        assert held(home).fence == fence + 1
    assert (answers(asked), ran(stub)) == (["one answer"], [(f"{asked.pk}.0", 1)])
    assert outcomes(asked) == ["interrupted", "ok"]


def test_two_connectors_share_the_gateways_and_never_one(
    stub: RunningStub, account: ChannelAccount, home: Gateway, mapped: Route
) -> None:
    with RunningConnector() as first:
        eventually(lambda: Connection.objects.filter(gateway=home).exclude(owner=""))
        with RunningConnector() as second:
            turns = [turn(account, str(number), f"user{number}") for number in range(6)]
            for one in turns:
                finished(one)
            assert held(home).owner == first.connector.holder
            assert not second.connector.connections
            assert stub.connections == 1
    assert sorted(count for _key, count in ran(stub)) == [1] * 6


@pytest.mark.usefixtures("_looks_often")
def test_a_disabled_gateway_is_let_go(stub: RunningStub, account: ChannelAccount, home: Gateway) -> None:
    with RunningConnector():
        eventually(lambda: stub.connections == 1)
        Gateway.objects.update(enabled=False)
        eventually(lambda: stub.connections == 0)


# --- the state of a gateway, and the log ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_looks_often")
@pytest.mark.parametrize("transport", ["ws", "http"])
def test_a_failed_test_does_not_outlast_a_gateway_that_works(
    stub: RunningStub, account: ChannelAccount, home: Gateway, transport: str
) -> None:
    Gateway.objects.filter(pk=home.pk).update(transport=transport)
    with RunningConnector():
        eventually(lambda: fresh(home).state == Health.OK)
        fresh(home).set_state(Health.FAILING, "unreachable", {"detail": "a test failed"})
        eventually(lambda: fresh(home).state == Health.OK)


def test_a_gateway_that_stays_away_does_not_fill_the_log(
    account: ChannelAccount, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = gateway(NOWHERE)
    monkeypatch.setattr("bridge.connector.held.BACKOFF_SECONDS", 0.001)
    with RunningConnector() as running:
        eventually(lambda: any(each.failures >= 33 for each in running.connector.connections.values()))
        tries = max(each.failures for each in running.connector.connections.values())
    lines = [one.getMessage() for one in caplog.records if one.getMessage().startswith(f"gateway {home.pk}: unreach")]
    assert 6 <= len(lines) <= tries / 4
    assert "in a row" not in lines[0]
    assert lines[-1].endswith("times in a row)")


def test_a_connection_that_is_lost_anew_is_logged_each_time(
    stub: RunningStub, home: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    def lost() -> list[str]:
        """Without what is told of a warm-up that the loss ended."""
        told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        return [text for text in told if "connection_lost" in text]

    with RunningConnector():
        for count in (1, 2, 3):
            eventually(lambda: fresh(home).state == Health.OK)
            stub.disconnect()
            eventually(lambda count=count: len(lost()) >= count)
    assert set(lost()) == {f"gateway {home.pk}: connection_lost"}
