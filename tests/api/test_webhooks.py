"""`/webhooks/`: the secret comes out once, the address never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry

from bridge.models import Delivery, WebhookEndpoint

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World

ADDRESS = "https://hooks.example.com/in/path-secret?key=query-secret"
NEW = {"name": "Desk", "url": ADDRESS, "events": ["message.received", "account.state"]}
WEBHOOKS = "/api/v1/webhooks/"


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    more = {"data": body, "content_type": "application/json"} if body is not None else {}
    return getattr(client, method)(path, **more)


def made(client: Client) -> tuple[WebhookEndpoint, str]:
    """The endpoint and its path."""
    answer = send(client, "post", WEBHOOKS, NEW)
    assert answer.status_code == 201, answer.content
    endpoint = WebhookEndpoint.objects.latest("pk")
    return endpoint, f"{WEBHOOKS}{endpoint.pk}/"


def test_the_secret_is_told_once_and_the_address_never(boss: Client) -> None:
    answer = send(boss, "post", WEBHOOKS, NEW)
    endpoint = WebhookEndpoint.objects.get()
    assert answer.json()["secret"] == endpoint.secret
    assert endpoint.url == ADDRESS
    others = [boss.get(WEBHOOKS), boss.get(f"{WEBHOOKS}{endpoint.pk}/")]
    others.append(send(boss, "patch", f"{WEBHOOKS}{endpoint.pk}/", {"name": "Other"}))
    for other in others:
        assert other.status_code == 200
        assert endpoint.secret not in other.content.decode()
    for any_answer in (answer, *others):
        assert "https://hooks.example.com" in any_answer.content.decode()
        assert "path-secret" not in any_answer.content.decode()
        assert "query-secret" not in any_answer.content.decode()


def test_rotation_tells_the_new_secret_once(boss: Client) -> None:
    endpoint, path = made(boss)
    answer = send(boss, "post", f"{path}rotate-secret/", {"overlap_hours": 2})
    now = WebhookEndpoint.objects.get()
    assert answer.json()["secret"] == now.secret != endpoint.secret
    assert now.previous_secret == endpoint.secret
    assert now.secret not in boss.get(path).content.decode()


def test_another_host_gets_another_secret_and_another_path_does_not(boss: Client) -> None:
    endpoint, path = made(boss)
    moved = send(boss, "patch", path, {"url": "https://elsewhere.example.com/in"}).json()
    assert moved["secret"] == WebhookEndpoint.objects.get().secret != endpoint.secret
    for change in ({"url": "https://elsewhere.example.com/in/2"}, {"name": "Other"}):
        assert send(boss, "patch", path, change).json()["secret"] is None
    assert WebhookEndpoint.objects.get().secret == moved["secret"]


def test_without_a_word_the_overlap_is_a_day(boss: Client) -> None:
    endpoint, path = made(boss)
    assert send(boss, "post", f"{path}rotate-secret/", {}).status_code == 200
    endpoint.refresh_from_db()
    assert 23.9 < (endpoint.previous_until - endpoint.updated_at).total_seconds() / 3600 <= 24


@pytest.mark.parametrize(
    "body",
    [
        {"url": ""},
        {"url": "ftp://example.com"},
        {"url": "http://"},
        {"url": f"https://example.com/{'x' * 2000}"},
        {"events": []},
        {"events": ["message.sent"]},
        {"account": 99999},
        {"secret": "whsec_mine"},
        {"disabled_reason": "mine"},
        {"nonsense": 1},
    ],
)
def test_what_cannot_work_is_refused(boss: Client, body: dict[str, Any]) -> None:
    endpoint, path = made(boss)
    before = WebhookEndpoint.objects.values().get()
    answer = send(boss, "patch", path, body)
    if set(body) == {"disabled_reason"}:  # a field that is only read is passed over
        assert WebhookEndpoint.objects.get().disabled_reason == ""
        return
    assert answer.status_code == 400, answer.content
    assert WebhookEndpoint.objects.values().get() == before
    assert endpoint.pk == before["id"]


@pytest.mark.parametrize("hours", [-1, 337, "x", None])
def test_a_rotation_without_sensible_hours_is_refused(boss: Client, hours: Any) -> None:
    endpoint, path = made(boss)
    assert send(boss, "post", f"{path}rotate-secret/", {"overlap_hours": hours}).status_code == 400
    assert WebhookEndpoint.objects.get().secret == endpoint.secret


def test_switching_on_again_forgets_why_it_was_off(boss: Client) -> None:
    _endpoint, path = made(boss)
    WebhookEndpoint.objects.update(enabled=False, disabled_code="http_410")
    assert boss.get(path).json()["disabled_reason"] == (
        "The webhook is gone, as it says itself, and was disabled. (http_410)"
    )
    answer = send(boss, "patch", path, {"enabled": True})
    assert (answer.status_code, answer.json()["disabled_reason"]) == (200, "")


def test_a_test_event_is_queued_and_found(boss: Client) -> None:
    endpoint, path = made(boss)
    answer = send(boss, "post", f"{path}test/")
    assert answer.status_code == 202
    assert LogEntry.objects.get_for_object(endpoint).latest("id").additional_data == {"action": "tested"}
    found = boss.get("/api/v1/deliveries/", {"endpoint": endpoint.pk}).json()["results"]
    assert [row["id"] for row in found] == [answer.json()["delivery"]]
    assert found[0]["endpoint"] == endpoint.pk


def test_none_is_queued_for_one_that_is_off(boss: Client) -> None:
    _endpoint, path = made(boss)
    WebhookEndpoint.objects.update(enabled=False)
    answer = send(boss, "post", f"{path}test/")
    assert (answer.status_code, answer.json()["code"]) == (422, "disabled")
    assert not Delivery.objects.exists()


def test_what_was_told_is_withheld_from_those_who_may_not_read(viewer: Client, world: World) -> None:
    answer = viewer.get(f"/api/v1/deliveries/{world.refused_event.pk}/")
    assert answer.json()["payload"] is None
    assert "told to a webhook" not in answer.content.decode()


def test_one_that_was_used_can_be_deleted_and_its_deliveries_stay(boss: Client, world: World) -> None:
    assert boss.delete(f"{WEBHOOKS}{world.webhook.pk}/").status_code == 204
    assert Delivery.objects.get(pk=world.refused_event.pk).endpoint_id is None
