"""A delivery that waits says for whom, why and until when: on the list, on its page, in the API and on the dashboard."""

from __future__ import annotations

import html
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Delivery, Reason, WebhookEndpoint
from bridge.operations.waiting import Wait, explain_waits
from bridge.security.permissions import HIDDEN
from bridge.webhooks import events
from openclaw.models import Gateway
from tests.support.factories import app, claimed, endpoint, route, send, shift, to_send, turn

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def told(delivery: Delivery, client: Client) -> dict[str, Any]:
    """What the API says; the list and the page must say the same."""
    wait: dict[str, Any] = client.get(f"/api/v1/deliveries/{delivery.pk}/").json()["waits_for"]
    listed = client.get("/api/v1/deliveries/").json()["results"]
    assert next(row["waits_for"] for row in listed if row["id"] == delivery.pk) == wait
    if wait:
        page = client.get(reverse("admin:bridge_delivery_change", args=[delivery.pk])).content.decode()
        rows = client.get(reverse("admin:bridge_delivery_changelist")).content.decode()
        assert wait["why"] in html.unescape(page)
        assert wait["why"] in html.unescape(rows)
    return wait


def explain(*deliveries: Delivery, may_read: bool) -> dict[int, Wait]:
    """Explain the waits of deliveries as they are stored now."""
    return explain_waits(Delivery.objects.filter(pk__in=[each.pk for each in deliveries]), may_read=may_read)


def of_gateway(**fields: Any) -> tuple[Delivery, Gateway]:
    account = app()
    home = route(account).gateway
    asked = turn(account)
    Gateway.objects.filter(pk=home.pk).update(**fields)
    return asked, home


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": Health.FAILING, "state_params": {"text": "No connection."}}, "cannot be reached: No connection."),
        ({"state": Health.STOPPED, "state_params": {"text": "Wrong token."}}, "is stopped: Wrong token."),
        ({"enabled": False}, "is disabled."),
    ],
)
def test_for_a_gateway(admin_client: Client, fields: dict[str, Any], words: str) -> None:
    asked, home = of_gateway(**fields)
    wait = told(asked, admin_client)
    assert (wait["on"], wait["id"], wait["why"]) == ("gateway", home.pk, f"The gateway {home.name} {words}")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": Health.STOPPED, "state_params": {"text": "Wrong secret."}}, "is stopped: Wrong secret."),
        ({"enabled": False}, "is disabled."),
    ],
)
def test_for_an_account(admin_client: Client, fields: dict[str, Any], words: str) -> None:
    delivery = to_send(app())
    ChannelAccount.objects.update(**fields)
    wait = told(delivery, admin_client)
    assert (wait["on"], wait["id"], wait["why"]) == ("account", delivery.account_id, f"The account Acme app {words}")


def test_behind_another(admin_client: Client) -> None:
    account = app()
    first, second = to_send(account, "1"), to_send(account, "2")
    claimed(first)
    wait = told(second, admin_client)
    assert (wait["on"], wait["id"]) == ("delivery", first.pk)


def test_for_the_next_try(admin_client: Client) -> None:
    delivery = to_send(app())
    shift(delivery, due_at=300, code_params={"text": "WeCom is busy."}, tries=3)
    wait = told(delivery, admin_client)
    assert (wait["on"], wait["why"]) == ("time", "It was tried and is tried again: WeCom is busy.")
    assert wait["until"]


def test_for_a_process_that_is_not_there(admin_client: Client) -> None:
    delivery = to_send(app())
    shift(delivery, due_at=-600)
    assert told(delivery, admin_client)["on"] == "process"


@pytest.mark.parametrize(
    ("reason", "on"), [(Reason.WINDOW, "person"), (Reason.REVIEW, "staff"), (Reason.CHECKING, "time")]
)
def test_what_is_held_back(admin_client: Client, reason: Reason, on: str) -> None:
    delivery = to_send(app())
    shift(delivery, state="held", reason=reason, due_at=60)
    assert told(delivery, admin_client)["on"] == on


def test_a_later_part_waits_for_the_one_that_failed(admin_client: Client) -> None:
    delivered, merged, dead, held, *_more = send(app(), "词" * 3000).deliveries.order_by("part")
    shift(delivered, state="delivered", finished_at=0)
    shift(merged, state="skipped", reason=Reason.MERGED, finished_at=0)
    shift(dead, state="dead", reason=Reason.PERMANENT, finished_at=0)
    shift(held, state="held", reason=Reason.PART_BEFORE)
    wait = told(held, admin_client)
    assert (wait["on"], wait["id"]) == ("delivery", dead.pk)


def test_nothing_is_said_of_what_does_not_wait(admin_client: Client) -> None:
    delivery = to_send(app())
    shift(delivery, state="delivered", finished_at=0)
    assert told(delivery, admin_client) is None


def test_the_dashboard_ties_what_waits_to_the_gateway(admin_client: Client) -> None:
    _asked, home = of_gateway(state=Health.FAILING, state_since=timezone.now() - timedelta(minutes=9))
    page = admin_client.get(reverse("dashboard_part", args=["sides"])).content.decode()
    link = f"{reverse('admin:bridge_delivery_changelist')}?open=waiting&amp;gateway__id__exact={home.pk}"
    assert f'<a href="{link}">1 delivery waits for it</a>' in page


def test_a_page_of_waiting_deliveries_costs_few_queries(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    account = app()
    for number in range(20):
        to_send(account, str(number))
    with django_assert_max_num_queries(20):
        admin_client.get(reverse("admin:bridge_delivery_changelist"))


def test_who_may_not_read_messages_sees_that_a_gateway_is_down_and_not_what_it_said(client: Client) -> None:
    asked, _home = of_gateway(state=Health.STOPPED, state_params={"text": "The agent said: 我的身份证号"})
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client.force_login(viewer)
    for path in ("change", "changelist"):
        page = client.get(reverse(f"admin:bridge_delivery_{path}", args=[asked.pk] if path == "change" else []))
        assert "is stopped: hidden" in html.unescape(page.content.decode())
        assert "身份证" not in page.content.decode()
    answer = client.get(f"/api/v1/deliveries/{asked.pk}/").json()["waits_for"]
    assert answer["on"] == "gateway"
    assert "hidden" in answer["why"]
    assert "身份证" not in str(answer)


def test_an_event_waits_for_its_webhook_and_whoever_may_not_read_sees_no_reason() -> None:
    one = endpoint()
    event = events.queue_test_event(one)
    WebhookEndpoint.objects.update(enabled=False, disabled_code="http_410")
    switched_off = f"The webhook {one.name} is disabled."
    why = f"{switched_off} The webhook is gone, as it says itself, and was disabled. (http_410)"
    assert explain(event, may_read=True) == {event.pk: Wait("webhook", why, one.pk)}
    assert explain(event, may_read=False) == {event.pk: Wait("webhook", f"{switched_off} {HIDDEN}", one.pk)}
    WebhookEndpoint.objects.update(disabled_code="")
    assert explain(event, may_read=False) == {event.pk: Wait("webhook", switched_off, one.pk)}


def test_what_is_due_now_says_so_for_a_minute(admin_client: Client) -> None:
    delivery = to_send(app())
    for seconds, words in (
        (-5, "It is due now."),
        (-50, "It is due now."),
        (-70, "It is due, and no process has taken it"),
    ):
        shift(delivery, due_at=seconds)
        assert told(delivery, admin_client)["why"].startswith(words), seconds
    shift(delivery, due_at=60, code_params={})
    assert told(delivery, admin_client)["why"] == "It is not to go earlier."


def test_what_a_chat_asks_for_waits_for_the_person() -> None:
    delivery = to_send(app())
    shift(delivery, carrier="http_reply", due_at=60)
    delivery.refresh_from_db()
    wait = explain(delivery, may_read=True)[delivery.pk]
    assert (wait.on, wait.until) == ("person", delivery.due_at)
    assert wait.why.startswith("It is given out when the chat asks for it")


def test_a_question_does_not_wait_for_its_account() -> None:
    """An agent can be asked while WeChat refuses us."""
    asked, _home = of_gateway(state=Health.OK)
    ChannelAccount.objects.update(state=Health.STOPPED, state_params={"text": "Wrong secret."})
    assert explain(asked, may_read=True)[asked.pk].on == "process"


def test_the_side_that_is_down_is_named_before_the_one_in_front() -> None:
    account = app()
    first, second, third = (to_send(account, str(number)) for number in range(3))
    for delivery in (second, third):
        assert (
            explain(delivery, may_read=True)[delivery.pk].on,
            explain(delivery, may_read=True)[delivery.pk].id,
        ) == (
            "delivery",
            first.pk,
        )
    ChannelAccount.objects.update(state=Health.STOPPED, state_params={"text": "Wrong secret."})
    assert {wait.on for wait in explain(first, second, third, may_read=True).values()} == {"account"}


def test_a_held_part_waits_for_an_earlier_one_and_for_no_later(admin_client: Client) -> None:
    first, held, later, *_more = send(app(), "词" * 3000).deliveries.order_by("part")
    for part, state in ((first, "dead"), (later, "dead")):
        shift(part, state=state, reason=Reason.PERMANENT, finished_at=0)
    shift(held, state="held", reason=Reason.PART_BEFORE)
    assert told(held, admin_client)["id"] == first.pk


def test_who_may_not_read_messages_sees_no_reason_of_an_account() -> None:
    delivery = to_send(app())
    ChannelAccount.objects.update(state=Health.STOPPED, state_params={"text": "WeCom said: 我的身份证号"})
    why = {reads: explain(delivery, may_read=reads)[delivery.pk].why for reads in (True, False)}
    assert why[False] == f"The account Acme app is stopped: {HIDDEN}"
    assert "身份证" in why[True]
    assert ChannelAccount.objects.get().state_reason != str(HIDDEN)
