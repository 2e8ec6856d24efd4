"""`/replays/`: a plan once for each key, its run, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Permission

from bridge.models import ReplayRun
from tests.api.conftest import calling_as, user_with
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.support.factories import World

PLANS = "/api/v1/replays/"


def post(client: Client, path: str = "", body: Any = None, key: str = "night") -> Any:
    return client.post(f"{PLANS}{path}", body or {}, content_type="application/json", headers={"Idempotency-Key": key})


def plan_of(code: str, **more: Any) -> dict[str, Any]:
    return {"kind": "again", "filter": {"code": code}, **more}


def test_a_plan_is_made_once_for_a_key(boss: Client, world: World) -> None:
    wanted = plan_of("81013", name="the night", rate=50)
    first, again = post(boss, body=wanted), post(boss, body=wanted)
    assert (first.status_code, again.status_code, first.json()) == (201, 200, again.json())
    assert [(group["planned"], group["count"], group["example"]) for group in first.json()["groups"]] == [
        ("go", 1, world.dead.pk)
    ]
    other = post(boss, body=plan_of("81013"))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert ReplayRun.objects.filter(key="night").count() == 1


def test_a_run_goes_through_its_states_with_a_line_in_the_audit_for_each(boss: Client, world: World) -> None:
    pk = post(boss, body=plan_of("81013")).json()["id"]
    LogEntry.objects.all().delete()
    started = post(boss, f"{pk}/run/", {"rate": 7}).json()
    assert (started["state"], started["rate"], started["chosen"]) == ("running", 7, 1)
    assert [post(boss, f"{pk}/{verb}/").json()["state"] for verb in ("pause", "resume", "undo")] == [
        "paused", "running", "cancelled",
    ]  # fmt: skip
    assert LogEntry.objects.count() == 4
    [item] = boss.get(f"{PLANS}{pk}/items/").json()["results"]
    assert item == {"delivery": world.dead.pk, "planned": "go", "chosen": True, "result": "left", "detail": ""}
    assert boss.get(f"{PLANS}{pk}/items/?result=delivered").json()["results"] == []
    assert post(boss, f"{pk}/run/").json()["code"] == "cannot_replay_state"


def test_items_come_by_pages_in_the_order_of_deliveries(boss: Client, world: World) -> None:
    pk = post(boss, body={"kind": "again"}).json()["id"]
    first = boss.get(f"{PLANS}{pk}/items/?page_size=1").json()
    rest = boss.get(first["next"]).json()
    found = [item["delivery"] for page in (first, rest) for item in page["results"]]
    assert found[:2] == sorted([world.dead.pk, world.uncertain.pk])


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (plan_of("none"), 422, {}),
        ({"kind": "again", "filter": {"from": "2999-01-01T00:00Z"}}, 422, {}),
        ({"kind": "again", "filter": {"from": "0001-01-01T00:00Z"}}, 400, "filter.from"),
        ({"kind": "again", "filter": {"account": "x"}}, 400, "filter.account"),
        ({"kind": "again", "filter": {"from": "2026-01-02T00:00Z", "to": "2026-01-01T00:00Z"}}, 400, "filter.to"),
        (plan_of("81013", changes={"agent": "main"}), 400, "changes.agent"),
        ({"kind": "ask", "changes": {"before": "Sorry"}}, 400, "changes.before"),
        (plan_of("81013", rate=0), 400, "rate"),
        ({"kind": "again", "filter": {"codes": "1"}}, 400, "filter.codes"),
    ],
)
def test_a_wrong_plan_names_what_is_wrong(boss: Client, world: World, body: Any, status: int, where: Any) -> None:
    answer = post(boss, body=body)
    assert (answer.status_code, list(answer.json()["details"])) == (status, [where] if where else [])
    assert not ReplayRun.objects.filter(key="night").exists()


def test_a_mapping_of_an_account_that_the_filter_leaves_out_is_refused(boss: Client, world: World) -> None:
    changed = {"kind": "ask", "changes": {"route": world.route.pk}}
    other = next(one for one in (world.app, world.bot) if one.pk != world.route.account_id)
    answer = post(boss, body={**changed, "filter": {"account": other.pk, "state": "skipped"}})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["changes.route"])
    assert "another account" in answer.json()["details"]["changes.route"][0]
    assert not ReplayRun.objects.filter(key="night").exists()


@pytest.mark.parametrize("single", [False, True])
def test_what_may_arrive_twice_needs_a_confirmation(boss: Client, world: World, single: bool) -> None:
    pk = post(boss, body={"kind": "again"}).json()["id"]
    chosen = {"outlooks": [], "deliveries": [world.uncertain.pk]} if single else {"outlooks": ["unknown"]}
    for unclear in ({}, {"possibly_twice": False}):
        answer = post(boss, f"{pk}/run/", {**chosen, **unclear})
        assert (answer.status_code, list(answer.json()["details"])) == (400, ["possibly_twice"])
        assert "may arrive twice" in answer.json()["details"]["possibly_twice"][0]
    assert ReplayRun.objects.get(pk=pk).state == "planned"
    confirmed = post(boss, f"{pk}/run/", {**chosen, "possibly_twice": True}).json()
    assert (confirmed["state"], confirmed["chosen"]) == ("running", 1)


def test_nothing_chosen_is_refused(boss: Client, world: World) -> None:
    pk = post(boss, body=plan_of("81013")).json()["id"]
    answer = post(boss, f"{pk}/run/", {"outlooks": []})
    assert (answer.status_code, answer.json()["code"]) == (422, "cannot_replay_nothing")


@pytest.mark.parametrize("name", ["text", "before"])
@pytest.mark.parametrize("right", ["bridge.read_content", "bridge.send_message"])
def test_words_of_ones_own_are_sent_only_by_those_who_may_read_and_send(world: World, name: str, right: str) -> None:
    user = user_with("Viewers")
    user.user_permissions.set(Permission.objects.filter(codename__in=("replay_delivery", right.partition(".")[2])))
    client = calling_as(user)
    answer = post(client, body=plan_of("81013", changes={name: "Click here"}))
    assert (answer.status_code, ReplayRun.objects.filter(key="night").exists()) == (403, False)
    assert post(client, body=plan_of("81013")).status_code == 201


def test_who_may_not_read_neither_searches_texts_nor_sees_changes(as_role: Callable[..., Client], world: World) -> None:
    viewer = as_role("Viewers")
    factories.replay_run(world.dead, changes={"before": "Sorry"}, filter={"text": "secret"})
    found = viewer.get(PLANS).json()["results"][0]
    assert (found["changes"], found["filter"]) == (None, None)
