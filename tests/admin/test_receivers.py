"""What the pages of webhooks say of their receivers, to whom, and what a save or a rotation writes and shows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from bridge.models import Delivery, State, WebhookEndpoint
from bridge.webhooks import events
from tests.admin.test_facts import column
from tests.admin.test_sides import url
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def test_a_list_of_webhooks_says_whose_and_in_which_state(boss: Client, world: factories.World) -> None:
    off = factories.endpoint_with_a_new_secret(name="Off", enabled=False, account=world.app)
    gone = factories.endpoint_with_a_new_secret(name="Gone", enabled=False, disabled_code="http_410")
    assert column(boss, "bridge_webhookendpoint", "account_name") == {
        world.webhook.pk: "all accounts", off.pk: str(world.app), gone.pk: "all accounts",
    }  # fmt: skip
    page = boss.get(url("bridge_webhookendpoint_changelist")).content.decode()
    tones = {"good": "enabled", "quiet": "disabled", "bad": "disabled"}
    assert [page.count(f'<span class="b-badge b-{tone}">{word}</span>') for tone, word in tones.items()] == [1, 1, 1]


def test_the_form_of_a_webhook_saves_each_of_its_fields(boss: Client, world: factories.World) -> None:
    form = {"name": "Desk", "events": ["account.state"], "account": world.app.pk, "url": ""}
    boss.post(url("bridge_webhookendpoint_change", world.webhook.pk), form)
    one = WebhookEndpoint.objects.get()
    assert (one.name, one.events, one.account, one.enabled) == ("Desk", ["account.state"], world.app, False)
    assert one.url == world.webhook.url


def test_a_new_secret_is_shown_where_the_address_leads_elsewhere(boss: Client, world: factories.World) -> None:
    form = {"name": "Desk", "enabled": "on", "events": ["account.state"], "account": ""}
    page = url("bridge_webhookendpoint_change", world.webhook.pk)
    shown = boss.post(page, {**form, "url": "https://elsewhere.example.com/in"})
    secret = WebhookEndpoint.objects.get().secret
    assert (shown.status_code, secret in shown.content.decode()) == (200, True)
    assert boss.post(page, {**form, "url": "https://elsewhere.example.com/in/2"}).status_code == 302
    assert WebhookEndpoint.objects.get().secret == secret


def test_a_page_of_a_webhook_counts_what_waits_and_lists_the_newest(
    boss: Client, staff: Callable[..., Client], world: factories.World
) -> None:
    made = [events.queue_test_event(world.webhook).pk for _number in range(9)]
    Delivery.objects.filter(pk=made[0]).update(state=State.DELIVERED, finished_at=timezone.now())
    shown = boss.get(url("bridge_webhookendpoint_change", world.webhook.pk))
    assert [row.pk for row in shown.context["latest"]] == made[:0:-1]
    assert "8 events wait to be sent." in shown.content.decode()
    assert "The previous secret also signs until" in shown.content.decode()
    Delivery.objects.filter(pk__in=made).delete()
    reader = staff("bridge.view_webhookendpoint")
    for client, reads in ((boss, True), (reader, False)):
        page = client.get(url("bridge_webhookendpoint_change", world.webhook.pk)).content.decode()
        assert (f"#{world.refused_event.pk}</a>" in page, "The webhook refuses this" in page) == (True, reads)
        assert "wait to be sent" not in page
    WebhookEndpoint.objects.update(previous_until=timezone.now() - timedelta(seconds=1))
    page = boss.get(url("bridge_webhookendpoint_change", world.webhook.pk)).content.decode()
    assert "signs too until" not in page


def test_a_rotation_stands_in_the_history(boss: Client, world: factories.World) -> None:
    boss.post(url("bridge_webhookendpoint_rotate", world.webhook.pk), {"hours": "0"})
    history = boss.get(url("bridge_webhookendpoint_history", world.webhook.pk)).content.decode()
    assert "Secret rotated." in history


def test_what_a_receiver_answers_is_said_of_its_oldest_event_to_who_may_read(
    boss: Client, staff: Callable[..., Client], world: factories.World
) -> None:
    first, second = events.queue_test_event(world.webhook), events.queue_test_event(world.webhook)
    Delivery.objects.filter(pk=second.pk).update(code_params={"text": "canary-answer"})
    list_of = "bridge_webhookendpoint_changelist"
    clients = {True: boss, False: staff("bridge.view_webhookendpoint")}
    for reads, client in clients.items():
        page = client.get(url(list_of)).content.decode()
        assert ("canary-answer" in page, f"#{second.pk}</a>" in page) == (reads, True)
        assert f"#{first.pk}</a>" not in page
        page = client.get(url("bridge_webhookendpoint_change", world.webhook.pk)).content.decode()
        assert "failing – retrying" in page
        assert ("canary-answer" in page) == reads
    Delivery.objects.filter(pk=first.pk).update(code_params={"text": "canary-older"})
    assert f"#{first.pk}</a>" in boss.get(url(list_of)).content.decode()
    WebhookEndpoint.objects.update(enabled=False)
    page = boss.get(url(list_of)).content.decode()
    assert ("failing – retrying" in page, "canary-older" in page) == (False, False)
