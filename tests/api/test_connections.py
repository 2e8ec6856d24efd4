"""What scripts read of connections and of limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts import limits
from accounts.channels import build_channel
from accounts.models import Connection
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django import DjangoAssertNumQueries

    from tests.support.factories import World


@pytest.mark.parametrize(("seconds", "held"), [(60, True), (-1, False)])
def test_an_account_and_a_gateway_tell_of_their_connections(
    viewer: Client, world: World, seconds: int, held: bool
) -> None:
    addresses = {
        name: f"/api/v1/{name}s/{getattr(world, row).pk}/" for name, row in (("account", "bot"), ("gateway", "gateway"))
    }
    assert [viewer.get(address).json()["connection"] for address in addresses.values()] == [None, None]
    now = timezone.now()
    more = {"owner": "vm:42:cafe", "owner_until": now + timedelta(seconds=seconds), "last_frame_at": now}
    for name, owner in (("account", world.bot), ("gateway", world.gateway)):
        Connection.objects.create(**{name: owner}, state="kicked", code="kicked", login_code="CANARY", **more)
    for address in addresses.values():
        found = viewer.get(address)
        told = found.json()["connection"]
        assert (told["state"], told["code"], told["is_held"]) == ("kicked", "kicked", held)
        assert "CANARY" not in found.content.decode()
        assert "cafe" not in found.content.decode()


def test_connections_cost_a_list_no_query_for_each_row(
    viewer: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    viewer.get("/api/v1/accounts/")
    with django_assert_max_num_queries(10) as first:
        viewer.get("/api/v1/accounts/")
    for number in range(3):
        Connection.objects.create(account=factories.bot(columns={"external_id": f"B{number}"}))
    with django_assert_max_num_queries(len(first)):
        viewer.get("/api/v1/accounts/")


def test_what_is_left_of_each_limit(viewer: Client, world: World) -> None:
    robot = factories.robot()
    address = f"/api/v1/accounts/{robot.pk}/limits/"
    (before,) = viewer.get(address).json()["limits"]
    assert (before["count"], before["seconds"], before["scope"], before["left"]) == (20, 60, "account", 20)
    limits.count_call(build_channel(robot).limits, str(robot.key), "group")
    assert viewer.get(address).json()["limits"][0]["left"] == 19


def test_a_limit_of_each_peer_is_told_for_the_peer_that_is_named(viewer: Client, world: World) -> None:
    address = f"/api/v1/accounts/{world.app.pk}/limits/"
    own = {row["name"]: row["left"] for row in viewer.get(address).json()["limits"] if row["scope"] == "direct"}
    assert own
    assert set(own.values()) == {None}
    query = {"peer_kind": "direct", "peer_id": "ZhangSan"}
    limits.count_call(build_channel(world.app).limits, str(world.app.key), "zhangsan")
    named = {row["name"]: row for row in viewer.get(address, query).json()["limits"] if row["scope"] == "direct"}
    assert {row["count"] - row["left"] for row in named.values()} == {1}
    refused = viewer.get(address, {"peer_kind": "crowd"})
    assert (refused.status_code, "peer_kind" in refused.content.decode()) == (400, True)


@pytest.mark.parametrize(("seconds", "state"), [(60, "connected"), (-1, "connecting")])
def test_what_a_lost_connector_left_is_not_connected(viewer: Client, world: World, seconds: int, state: str) -> None:
    until = timezone.now() + timedelta(seconds=seconds)
    Connection.objects.create(account=world.bot, state="connected", owner="vm:42:cafe", owner_until=until)
    assert viewer.get(f"/api/v1/accounts/{world.bot.pk}/").json()["connection"]["state"] == state


def test_a_fallback_sender_goes_to_one_person_or_group(operator: Client, world: World) -> None:
    body = {"conversation": world.person.pk, "position": 5, "account": world.app.pk, "peer_kind": "direct"}
    answer = operator.post("/api/v1/fallbacks/", {**body, "peer_id": "@all"}, content_type="application/json")
    assert (answer.status_code, "peer_id" in answer.content.decode()) == (400, True)
