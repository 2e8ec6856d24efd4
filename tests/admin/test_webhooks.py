"""Webhooks: the form, the secret that is shown once, the buttons, and what is withheld from whom."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from bridge.models import Delivery, Event, WebhookEndpoint
from bridge.webhooks import events
from tests.support import factories
from tests.support.factories import endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

ADDRESS = "https://hooks.example.com/services/T0/path-secret?key=query-secret"
NEW = {"name": "Desk", "enabled": "on", "url": ADDRESS, "events": [Event.MESSAGE_RECEIVED], "account": ""}


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:bridge_webhookendpoint_{name}", args=args)


def everywhere(client: Client, endpoint: WebhookEndpoint) -> str:
    pages = [url("changelist"), url("change", endpoint.pk), url("history", endpoint.pk)]
    return "".join(client.get(page).content.decode() for page in pages)


def test_the_secret_is_shown_once_when_it_is_made(boss: Client) -> None:
    answer = boss.post(url("add"), NEW)
    endpoint = WebhookEndpoint.objects.get()
    assert answer.status_code == 200
    assert endpoint.secret in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert (endpoint.url, endpoint.events) == (ADDRESS, ["message.received"])
    assert endpoint.secret not in everywhere(boss, endpoint)
    assert endpoint.secret not in str(list(LogEntry.objects.values()))


def test_the_address_is_never_shown_again_and_a_blank_keeps_it(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret(url=ADDRESS)
    seen = everywhere(boss, endpoint)
    assert "https://hooks.example.com" in seen
    assert "path-secret" not in seen
    assert "query-secret" not in seen
    assert boss.post(url("change", endpoint.pk), {**NEW, "url": "", "name": "Other"}).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.name, endpoint.url) == ("Other", ADDRESS)


def test_saving_writes_no_secret(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret()
    boss.post(url("change", endpoint.pk), NEW)
    endpoint.refresh_from_db()
    assert endpoint.secret == factories.CANARIES["webhook secret"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("url", ""),
        ("url", "ftp://example.com/x"),
        ("url", "nonsense"),
        ("url", "https://"),
        ("url", "http://example.com:99999/"),
        ("url", "http://[::1/"),
        ("url", f"https://example.com/{'x' * 2000}"),
        ("events", []),
        ("events", ["message.sent"]),
        ("account", "12345"),
    ],
)
def test_what_cannot_work_is_refused(boss: Client, field: str, value: Any) -> None:
    assert boss.post(url("add"), {**NEW, field: value}).status_code == 200
    assert not WebhookEndpoint.objects.exists()


def test_rotation_shows_the_new_secret_once(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret()
    answer = boss.post(url("rotate", endpoint.pk), {"hours": "24"})
    endpoint.refresh_from_db()
    assert endpoint.secret in answer.content.decode()
    assert endpoint.previous_secret == factories.CANARIES["webhook secret"]
    assert 23 < (endpoint.previous_until - timezone.now()).total_seconds() / 3600 <= 24
    assert endpoint.secret not in everywhere(boss, endpoint)
    assert endpoint.secret not in str(list(LogEntry.objects.values()))


@pytest.mark.parametrize("hours", ["", "-1", "1000", "soon"])
def test_a_rotation_without_sensible_hours_is_refused(boss: Client, hours: str) -> None:
    endpoint = factories.endpoint_with_a_new_secret()
    boss.post(url("rotate", endpoint.pk), {"hours": hours})
    endpoint.refresh_from_db()
    assert endpoint.secret == factories.CANARIES["webhook secret"]


def test_switching_on_again_forgets_why_it_was_off(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret(enabled=False, disabled_code="http_410")
    assert "The webhook is gone" in everywhere(boss, endpoint)
    boss.post(url("switch", endpoint.pk))
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (True, "")
    boss.post(url("switch", endpoint.pk))
    endpoint.refresh_from_db()
    assert not endpoint.enabled


def test_a_switch_is_a_change_since_the_last_call(boss: Client) -> None:
    """By it an answer 410 to an earlier call switches nothing off that staff have just enabled."""
    endpoint = factories.endpoint_with_a_new_secret()
    long_ago = endpoint.updated_at - timedelta(days=1)
    WebhookEndpoint.objects.update(updated_at=long_ago)
    boss.post(url("switch", endpoint.pk))
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.updated_at > long_ago) == (False, True)


def test_saving_the_form_of_one_that_was_switched_off_meanwhile_switches_it_on(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret(enabled=False, disabled_code="http_410")
    assert boss.post(url("change", endpoint.pk), NEW).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (True, "")


def test_a_test_event_leads_to_its_delivery(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret()
    answer = boss.post(url("test", endpoint.pk))
    delivery = Delivery.objects.get()
    assert delivery.payload["body"]["type"] == "webhook.test"
    assert answer.headers["Location"] == reverse("admin:bridge_delivery_change", args=[delivery.pk])
    assert f"#{delivery.pk}" in everywhere(boss, endpoint)


def test_none_is_queued_for_one_that_is_off(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret(enabled=False)
    answer = boss.post(url("test", endpoint.pk))
    assert not Delivery.objects.exists()
    assert "Enable it first." in [str(message) for message in get_messages(answer.wsgi_request)]


def test_who_may_only_look_sees_the_host_and_no_button(staff: Callable[..., Client]) -> None:
    endpoint = factories.endpoint_with_a_new_secret(url=ADDRESS)
    looks = staff("bridge.view_webhookendpoint")
    seen = everywhere(looks, endpoint)
    assert "https://hooks.example.com" in seen
    assert "path-secret" not in seen
    assert "query-secret" not in seen
    assert not [name for name, canary in factories.CANARIES.items() if canary in seen]
    for button in ("test", "switch", "rotate"):
        assert url(button, endpoint.pk) not in seen
        assert looks.post(url(button, endpoint.pk), {"hours": "1"}).status_code == 403
    assert looks.post(url("change", endpoint.pk), NEW).status_code == 403
    assert looks.post(url("add"), NEW).status_code == 403
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.secret) == (True, factories.CANARIES["webhook secret"])
    assert not Delivery.objects.exists()


def test_a_stranger_sees_nothing(staff: Callable[..., Client]) -> None:
    endpoint = factories.endpoint_with_a_new_secret()
    other = staff("bridge.view_route")
    assert other.get(url("change", endpoint.pk)).status_code == 403
    assert "Webhooks" not in other.get(reverse("admin:index")).content.decode()


def test_the_deliveries_pages_say_who_was_told_what(boss: Client, world: factories.World) -> None:
    letters = boss.get(reverse("admin:bridge_delivery_dead_letters")).content.decode()
    assert "Webhook Ticket desk" in letters
    page = boss.get(reverse("admin:bridge_delivery_change", args=[world.refused_event.pk])).content.decode()
    assert "message.received" in page
    assert "told to a webhook 世界" in page
    assert url("change", world.webhook.pk) in page
    only = boss.get(reverse("admin:bridge_delivery_changelist"), {"endpoint__id__exact": world.webhook.pk})
    assert [row.pk for row in only.context["cl"].result_list] == [world.refused_event.pk]


def test_a_waiting_delivery_says_that_its_webhook_is_off(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret()
    boss.post(url("test", endpoint.pk))
    WebhookEndpoint.objects.update(enabled=False, disabled_code="http_410")
    page = boss.get(reverse("admin:bridge_delivery_change", args=[Delivery.objects.get().pk])).content.decode()
    assert "is disabled." in page
    assert "The webhook is gone" in page


@pytest.mark.parametrize("target", ["webhook", "agent"])
def test_only_an_error_of_wechat_asks_for_the_kind_of_its_account(
    world: factories.World, django_assert_num_queries: Any, target: str
) -> None:
    """A page of failures costs no query for each."""
    refused = Delivery(target=target, account_id=world.app.pk, endpoint=world.webhook, code="http_404")
    with django_assert_num_queries(0):
        assert "404" in refused.error


def test_a_call_of_a_webhook_that_was_deleted_is_not_explained_as_an_alert(
    boss: Client, world: factories.World
) -> None:
    Delivery.objects.filter(pk=world.refused_event.pk).update(code="http_404")
    WebhookEndpoint.objects.all().delete()
    page = boss.get(reverse("admin:bridge_delivery_change", args=[world.refused_event.pk])).content.decode()
    assert "The webhook refuses this." in page
    assert "ALERT_WEBHOOK_URL" not in page


def test_what_was_told_is_withheld_from_those_who_may_not_read(
    staff: Callable[..., Client], world: factories.World
) -> None:
    looks = staff("bridge.view_delivery", "bridge.view_webhookendpoint")
    pages = [
        reverse("admin:bridge_delivery_change", args=[world.refused_event.pk]),
        reverse("admin:bridge_delivery_changelist"),
        reverse("admin:bridge_delivery_dead_letters"),
        url("change", world.webhook.pk),
    ]
    seen = "".join(looks.get(page).content.decode() for page in pages)
    assert "Ticket desk" in seen
    assert "told to a webhook" not in seen


def test_one_that_is_off_offers_no_test(boss: Client) -> None:
    endpoint = factories.endpoint_with_a_new_secret()
    assert "Send a test event" in boss.get(url("change", endpoint.pk)).content.decode()
    WebhookEndpoint.objects.update(enabled=False)
    assert "Send a test event" not in boss.get(url("change", endpoint.pk)).content.decode()


def test_whoever_is_asked_about_a_replay_reads_whom_it_tells(boss: Client) -> None:
    told = factories.refused_event(factories.endpoint_with_a_new_secret())
    asked = boss.post(reverse("admin:bridge_delivery_confirm"), {"verb": "replay", "ids": str(told.pk)})
    assert "Webhook Ticket desk" in asked.content.decode()


@pytest.mark.parametrize("tries", [3, 0], ids=["tried", "asked to wait"])
def test_the_list_says_that_a_receiver_is_failing(boss: Client, tries: int) -> None:
    good, bad = endpoint(), endpoint()
    for each in (good, bad):
        events.queue_test_event(each)
    failed = Delivery.objects.get(endpoint=bad)
    Delivery.objects.filter(pk=failed.pk).update(
        tries=tries,
        code_params={"text": "The webhook does not take it now. (http_503)"},
        due_at=timezone.now() + timedelta(minutes=5, seconds=30),
    )
    pages = [boss.get(f"/admin/bridge/webhookendpoint/{end}").content.decode() for end in ("", f"{bad.pk}/change/")]
    for page in pages:
        assert page.count("failing – retrying") == 1
        assert "The webhook does not take it now. (http_503)" in page
        assert f"/admin/bridge/delivery/{failed.pk}/change/" in page
        assert "in 5" in page
    assert "failing – retrying" not in boss.get(f"/admin/bridge/webhookendpoint/{good.pk}/change/").content.decode()
    Delivery.objects.filter(pk=failed.pk).update(state="delivered", code_params={}, finished_at=timezone.now())
    assert "failing – retrying" not in boss.get("/admin/bridge/webhookendpoint/").content.decode()
