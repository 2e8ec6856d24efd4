"""What each answer holds: a field that is gone breaks every script that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from accounts.health import Health
from bridge.models import Attachment, Attempt, State
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.support.factories import World

DELIVERY = (
    "id target message account gateway endpoint route lane part state reason code error tries replays possibly_twice remote_id due_at "
    "queued_at created_at finished_at dismissed_at recalled_at reviewed_at waits_for"
)
MESSAGE = "id account conversation peer direction source kind text sender addressed reply_to idempotency_key occurred_at created_at"
FIELDS = {
    "accounts/": "id kind name external_id enabled retention_days moderation_scope gateway_share turns_per_minute staff_minutes language "
    "sentences "
    "api_base_url callback_url only_peer state state_code state_reason state_since sending_stopped_at connection created_at updated_at",
    "gateways/": "id name base_url transport timeout_seconds max_in_flight enabled state state_code state_reason state_since version "
    "connection agents created_at updated_at",
    "routes/": "id account peer_kind peer_id gateway agent_id scope trigger trigger_words allowed_senders commands_for_all "
    "allow_mention_all allow_cards allow_links handover_words allow_handover enabled note",
    "conversations/": "id account peer title mode assignee servicer waiting_since unanswered session moved_to moved_at "
    "last_inbound_at created_at",
    "canned-answers/": "id account shortcut text",
    "contacts/": "id account external_id name kind department remark follows left_at created_at",
    "messages/": MESSAGE,
    "messages/{message}/": f"{MESSAGE} data raw attachments deliveries",
    "attachments/": "id message position kind name mime size state code error",
    "deliveries/": DELIVERY,
    "deliveries/{delivery}/": f"{DELIVERY} payload attempts",
    "incidents/": "id cause code title detail severity account gateway endpoint conversation reason error_code count first_seen_at "
    "last_seen_at opened_at closed_at notified_at error acknowledged_at acknowledged_by muted muted_until muted_to_end owner note",
    "replays/": "id name kind state filter from_at until_at rate changes groups results total chosen done failed_steps "
    "created_at started_at finished_at",
    "alert-channels/": "id kind name enabled active environment account target language quiet_from quiet_until max_per_hour rules failures "
    "next_try_at created_at updated_at",
    "alert-rules/": "id kind name enabled minutes percent least_count least_severity codes accounts work_from work_until weekdays_only "
    "reminder_hours created_at updated_at",
    "alerts/": "id incident channel occasion number state code reason target title text told_at created_at finished_at",
    "webhooks/": "id name origin events account enabled disabled_code disabled_reason previous_until created_at updated_at",
    "stats/reports/": "first last by lines total is_cut",
    "stats/": "since incoming outgoing failed waiting oldest_waiting held held_by dead uncertain",
}


def answer_of(client: Client, path: str) -> dict[str, Any]:
    found = client.get(f"/api/v1/{path}").json()
    first: dict[str, Any] = found["results"][0] if "results" in found else found
    return first


@pytest.mark.parametrize("path", FIELDS)
def test_an_answer_holds_these_fields_and_no_other(boss: Client, world: World, path: str) -> None:
    found = answer_of(boss, path.format(message=world.question.pk, delivery=world.dead.pk))
    assert sorted(found) == sorted(FIELDS[path].split())


def test_what_is_inside_an_answer_holds_its_fields_too(boss: Client, world: World) -> None:
    usage = {"model": "a/b", "input": 1, "output": 2, "cache_read": 3, "cache_write": 4, "cost": 0.5}
    Attempt.objects.filter(delivery=world.delivered).update(usage=usage, possibly_twice=True)
    [attempt] = answer_of(boss, f"deliveries/{world.delivered.pk}/")["attempts"]
    assert sorted(attempt) == sorted(
        [
            "number",
            "started_at",
            "finished_at",
            "outcome",
            "code",
            "error",
            "possibly_twice",
            "request",
            "response",
            "usage",
        ]
    )
    assert (attempt["usage"], attempt["possibly_twice"]) == (usage, True)
    message = answer_of(boss, f"messages/{world.question.pk}/")
    assert [sorted(part) for part in message["deliveries"]] == [["id", "part", "reason", "state", "target"]]
    assert [(file["position"], file["state"]) for file in message["attachments"]] == [
        (0, "ready"), (1, "ready"), (2, "failed"),
    ]  # fmt: skip
    assert answer_of(boss, f"messages/{world.answer.pk}/")["reply_to"] == world.question.pk
    [use] = answer_of(boss, f"gateways/{world.gateway.pk}/turns/")["accounts"]
    assert sorted(use) == ["account", "reason", "share", "under_way", "waiting"]


def test_times_and_marks_of_a_delivery_are_its_own(boss: Client, world: World) -> None:
    found = answer_of(boss, f"deliveries/{world.delivered.pk}/")
    row = world.delivered
    assert (found["message"], found["account"], found["remote_id"], found["tries"], found["lane"]) == (
        row.message_id, row.account_id, "REMOTE1", 1, row.lane,
    )  # fmt: skip
    asked = next(each for each in boss.get("/api/v1/deliveries/?state=pending").json()["results"])
    assert (asked["gateway"], asked["route"], asked["state"]) == (world.gateway.pk, world.route.pk, State.PENDING)


def test_a_reason_is_hidden_only_where_there_is_one(viewer: Client, world: World) -> None:
    type(world.app).objects.filter(pk=world.bot.pk).update(state=Health.OK, state_params={})
    reasons = {row["id"]: row["state_reason"] for row in viewer.get("/api/v1/accounts/").json()["results"]}
    assert reasons == {world.app.pk: "hidden: you may not read messages", world.bot.pk: ""}
    assert answer_of(viewer, "gateways/")["state_reason"] == ""


@pytest.mark.parametrize(
    ("taken", "status"), [((), 200), (("read_content",), 403), (("view_attachment",), 403), (("view_message",), 200)]
)
def test_a_file_takes_the_right_to_see_files_and_to_read(
    as_role: Callable[[str], Client], world: World, taken: tuple[str, ...], status: int
) -> None:
    from django.contrib.auth.models import Group

    client, group = as_role("Operators"), Group.objects.get(name="Operators")
    group.permissions.remove(*group.permissions.filter(codename__in=taken))
    answer = client.get(f"/api/v1/attachments/{world.picture.pk}/content/")
    assert answer.status_code == status
    assert (b"PNG" in answer.getvalue()) == (status == 200)
    assert Attachment.objects.count() == 3


def test_a_gateway_keeps_its_token_where_another_comes_with_another_address(boss: Client) -> None:
    gateway = factories.connected_gateway()
    change = {"base_url": "http://127.0.0.1:9", "token": "another-token"}
    url = f"/api/v1/gateways/{gateway.pk}/"
    assert boss.patch(url, {"base_url": "http://127.0.0.1:9"}, content_type="application/json").status_code == 400
    assert boss.patch(url, change, content_type="application/json").status_code == 200
    gateway.refresh_from_db()
    assert (gateway.base_url, gateway.token) == ("http://127.0.0.1:9", "another-token")
