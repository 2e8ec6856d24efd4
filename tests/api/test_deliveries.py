"""Replaying and dismissing by script."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry

from bridge.models import Delivery, Route
from tests.support import factories
from tests.support.factories import state

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World

JSON = {"content_type": "application/json"}


def many(client: Client, **body: Any) -> Any:
    return client.post("/api/v1/deliveries/replay/", body, **JSON)


def test_one_is_queued_again(operator: Client, world: World) -> None:
    answer = operator.post(f"/api/v1/deliveries/{world.dead.pk}/replay/")
    assert (answer.status_code, answer.json()["state"], answer.json()["replays"]) == (200, "pending", 1)
    assert state(world.dead) == "pending"
    entry = LogEntry.objects.get(object_id=world.dead.pk, content_type__model="delivery")
    assert (entry.actor.get_username(), entry.additional_data) == ("Operators-user", {"action": "replayed"})  # type: ignore[union-attr]


def test_one_that_may_have_arrived_is_queued_again_and_marked(operator: Client, world: World) -> None:
    """Whoever names a single one has looked at it."""
    answer = operator.post(f"/api/v1/deliveries/{world.uncertain.pk}/replay/")
    assert (answer.status_code, answer.json()["state"], answer.json()["possibly_twice"]) == (200, "pending", True)


@pytest.mark.parametrize(("verb", "deed"), [("release", "released"), ("dismiss", "dismissed")])
def test_a_decision_is_noted_with_who_took_it(operator: Client, world: World, verb: str, deed: str) -> None:
    held = factories.delivery(factories.message(world.group, "?", "HELD"), "held", "review")
    assert operator.post(f"/api/v1/deliveries/{held.pk}/{verb}/").status_code == 200
    entry = LogEntry.objects.get(object_id=held.pk, content_type__model="delivery")
    assert (entry.actor.get_username(), entry.additional_data) == ("Operators-user", {"action": deed})  # type: ignore[union-attr]  # there is an actor


@pytest.mark.parametrize(
    "name", ["reason", "target", "account", "gateway", "conversation", "code", "created_after", "created_before"]
)
def test_each_part_of_a_choice_narrows_it(operator: Client, world: World, name: str) -> None:
    """Two failures that differ in everything: the older to WeChat by the app, the newer to an agent by the bot."""
    Delivery.objects.all().delete()
    sent = factories.message(world.person, "x", "OLD", direction="out", source="agent")
    asked = factories.message(world.group, "?", "NEW")
    spare, noon = factories.connected_gateway(name="Spare"), datetime(2026, 5, 1, 12, tzinfo=UTC)
    older = factories.delivery(
        sent, "dead", "permanent", gateway=spare, created_at=noon, queued_at=noon + timedelta(days=9)
    )
    newer = factories.delivery(
        asked, "dead", "too_old", gateway=world.gateway, created_at=noon + timedelta(days=1), queued_at=noon
    )
    for row, code in ((older, "81013"), (newer, "timeout")):
        Delivery.objects.filter(pk=row.pk).update(code=code)
    choices: dict[str, tuple[Any, Delivery]] = {
        "reason": ("too_old", newer), "target": ("channel", older), "account": (world.app.pk, older),
        "gateway": (world.gateway.pk, newer), "conversation": (world.person.pk, older), "code": ("timeout", newer),
        "created_after": ((noon + timedelta(days=1)).isoformat(), newer),
        "created_before": ((noon + timedelta(days=1)).isoformat(), older),
    }  # fmt: skip
    value, found = choices[name]
    assert many(operator, filter={"state": "dead"}, dry_run=True).json()["count"] == 2
    assert many(operator, filter={"state": "dead", name: value}).json()["count"] == 1
    assert [state(row) for row in (found, newer if found is older else older)] == ["pending", "dead"]


def test_what_did_not_fail_is_not_queued_again(operator: Client, world: World) -> None:
    for verb in ("replay", "dismiss"):
        answer = operator.post(f"/api/v1/deliveries/{world.delivered.pk}/{verb}/")
        assert (answer.status_code, answer.json()["code"]) == (422, f"cannot_{verb}")
    assert state(world.delivered) == "delivered"


def test_one_is_dealt_with_once(operator: Client, world: World) -> None:
    url = f"/api/v1/deliveries/{world.uncertain.pk}/dismiss/"
    assert operator.post(url).json()["dismissed_at"]
    assert operator.post(url).status_code == 422
    assert Delivery.objects.get(pk=world.uncertain.pk).dismissed_by.get_username() == "Operators-user"  # type: ignore[union-attr]


def test_a_dry_run_tells_and_does_nothing(operator: Client, world: World) -> None:
    answer = many(operator, filter={"state": "dead", "target": "channel"}, dry_run=True)
    assert answer.json() == {"count": 1, "refused": [], "more": False, "dry_run": True}
    assert state(world.dead) == "dead"
    assert many(operator, filter={"state": "dead", "target": "channel"}).json()["count"] == 1
    assert state(world.dead) == "pending"


@pytest.mark.parametrize("twice", [False, True])
def test_a_dry_run_foretells_what_is_sent_although_it_may_arrive_twice(
    operator: Client, world: World, twice: bool
) -> None:
    wanted: dict[str, Any] = {"filter": {"state": "uncertain"}, "possibly_twice": twice}
    foretold = many(operator, **wanted, dry_run=True).json()
    refused = [one["delivery"] for one in foretold["refused"]]
    assert (foretold["count"], refused) == ((1, []) if twice else (0, [world.uncertain.pk]))
    assert many(operator, **wanted).json() == {**foretold, "dry_run": False}


def test_by_the_code_that_was_answered_last(operator: Client, world: World) -> None:
    def listed(query: str) -> list[int]:
        return [row["id"] for row in operator.get(f"/api/v1/deliveries/?{query}").json()["results"]]

    assert listed("code=81013") == [world.dead.pk]
    assert listed("code=timeout") == [world.uncertain.pk]
    assert listed("code=timeout&state=dead") == listed("code=1") == []
    assert many(operator, filter={"state": "dead", "code": "nonsense"}).json()["count"] == 0
    assert many(operator, filter={"state": "dead", "code": "81013"}).json()["count"] == 1
    assert state(world.dead) == "pending"
    assert listed("code=81013") == []


@pytest.mark.parametrize("limit", [1, 2])
def test_the_oldest_first_up_to_the_limit(operator: Client, world: World, limit: int) -> None:
    others = [
        factories.delivery(factories.message(world.person, "x", f"O{n}", direction="out"), "dead", "permanent")
        for n in range(3)
    ]
    answer = many(operator, filter={"state": "dead", "account": world.app.pk}, limit=limit)
    assert (answer.json()["count"], answer.json()["more"]) == (limit, True)
    assert [state(row) for row in (world.dead, *others)] == ["pending"] * limit + ["dead"] * (4 - limit)


def test_refused_ones_are_named_with_the_reason(operator: Client, world: World) -> None:
    Route.objects.all().delete()
    answer = many(operator, filter={"state": "skipped", "conversation": world.group.pk}).json()
    skipped = Delivery.objects.get(state="skipped")
    assert (answer["count"], [one["delivery"] for one in answer["refused"]]) == (0, [skipped.pk])
    assert "no mapping" in answer["refused"][0]["why"]


def test_what_is_dealt_with_is_left_alone(operator: Client, world: World) -> None:
    operator.post(f"/api/v1/deliveries/{world.dead.pk}/dismiss/")
    assert many(operator, filter={"state": "dead", "target": "channel"}).json()["count"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {}, {"filter": {}}, {"filter": {"state": "delivered"}}, {"filter": {"stat": "dead"}}, {"filter": "dead"},
        {"filter": {"state": "dead"}, "limit": 0}, {"filter": {"state": "dead"}, "limit": 1001},
        {"filter": {"state": "dead"}, "dryrun": True}, {"filter": {"state": "dead", "account": 10**40}},
    ],
)  # fmt: skip
def test_an_unclear_choice_replays_nothing(operator: Client, world: World, body: dict[str, Any]) -> None:
    assert many(operator, **body).status_code in (200, 400)
    assert state(world.dead) == "dead"
