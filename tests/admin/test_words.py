"""What staff read: no word of the code, no claim against another on the same page, and a way on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags
from knox.models import AuthToken

from accounts.models import Connection
from bridge.models import Contact, Delivery
from bridge.security import audit
from bridge.ui import formatting
from tests.admin.test_titles import crumbs
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client


def words(client: Client, name: str, *args: Any, **query: str) -> str:
    """What can be read below the page's head, in one line."""
    page = client.get(reverse(f"admin:{name}", args=args), query).content.decode()
    return read(page)


def read(page: str) -> str:
    body = re.sub(r"<(script|style|pre)\b.*?</\1>", " ", page.partition('id="main"')[2], flags=re.DOTALL)
    return " ".join(strip_tags(body.replace("<", " <")).split())


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("bridge_route", "Add: mapping"),
        ("bridge_webhookendpoint", "Add: webhook"),
        ("openclaw_gateway", "Add: OpenClaw gateway"),
        ("auth_user", "Add: user"),
        ("auth_group", "Add: group"),
    ],
)
def test_a_form_for_a_new_row_says_what_it_adds(boss: Client, name: str, title: str) -> None:
    assert crumbs(boss, reverse(f"admin:{name}_add"))[-1] == title


def test_what_is_typed_into_a_new_row_is_not_lost_by_a_second_add(boss: Client, world: factories.World) -> None:
    pages = {"changelist": (), "change": (world.gateway.pk,), "add": ()}
    links = {
        page: boss.get(reverse(f"admin:openclaw_gateway_{page}", args=args)).content.decode().count("addlink")
        for page, args in pages.items()
    }
    assert links == {"changelist": 1, "change": 1, "add": 0}


def test_a_page_beside_a_row_says_which_it_is(boss: Client, world: factories.World) -> None:
    assert crumbs(boss, reverse("admin:openclaw_gateway_history", args=[world.gateway.pk]))[-1] == "History"
    assert crumbs(boss, reverse("admin:accounts_channelaccount_groups", args=[world.app.pk]))[-1] == "Groups"
    history = words(boss, "openclaw_gateway_history", world.gateway.pk)
    assert "Times in the zone Asia/Shanghai." in history


def test_staff_are_called_as_in_the_menu(boss: Client) -> None:
    assert crumbs(boss, reverse("admin:auth_user_changelist")) == ["Staff"]
    assert crumbs(boss, reverse("admin:auth_group_changelist")) == ["Staff groups"]


def test_a_mapping_is_called_by_its_group_on_all_its_pages(boss: Client, world: factories.World) -> None:
    called = f"{world.group.title} → main"
    for page in ("change", "delete", "history"):
        assert called in crumbs(boss, reverse(f"admin:bridge_route_{page}", args=[world.route.pk])), page


def test_the_audit_log_names_fields_and_values_as_the_forms_do(boss: Client, world: factories.World) -> None:
    boss.post(reverse("admin:bridge_conversation_mode", args=[world.group.pk]), {"mode": "human"})
    User.objects.create_user("new", is_staff=True)
    audit.log_action("sent a message", [world.group])
    told = words(boss, "auditlog_logentry_changelist")
    assert "What Action Who" in told
    assert "changed assigned to, mode" in told
    assert "staff status" in told
    assert "is_staff" not in told
    entries = boss.get(reverse("admin:auditlog_logentry_changelist")).context["cl"].result_list
    said, made, mode = (words(boss, "auditlog_logentry_change", entry.pk) for entry in entries[:3])
    assert "action sent a message" in said
    assert "staff status – yes" in made
    assert "None" not in made
    assert "mode the agent answers staff answer" in mode
    assert "assigned to – admin" in mode


def test_a_test_is_one_line_of_the_history(boss: Client, world: factories.World) -> None:
    boss.post(reverse("admin:openclaw_gateway_test", args=[world.gateway.pk]))
    history = words(boss, "openclaw_gateway_history", world.gateway.pk)
    assert history.count("Tested: ") == 1
    assert "1 entry" in history


def test_a_contact_leads_to_its_conversation_and_claims_no_following(boss: Client, world: factories.World) -> None:
    contact = Contact.objects.get(account=world.app)
    namesake = factories.conversation(world.bot, contact.external_id)
    page = boss.get(reverse("admin:bridge_contact_change", args=[contact.pk])).content.decode()
    assert reverse("admin:bridge_conversation_change", args=[world.person.pk]) in page
    assert reverse("admin:bridge_conversation_change", args=[namesake.pk]) not in page
    assert "question_mark" not in page
    Contact.objects.filter(pk=contact.pk).update(subscribed=True)
    assert "Acme app yes" in words(boss, "bridge_contact_changelist")
    namesake.delete()
    in_a_group = Contact.objects.get(account=world.bot)
    assert f"Conversations {world.group.title}" in words(boss, "bridge_contact_change", in_a_group.pk)


def test_a_webhooks_events_are_in_the_forms_words(boss: Client, world: factories.World) -> None:
    told = words(boss, "bridge_webhookendpoint_changelist")
    assert "a message was received" in told
    assert "message.received" not in told


def test_a_connected_gateway_names_machine_and_process(boss: Client, world: factories.World) -> None:
    page = ("openclaw_gateway_change", world.gateway.pk)
    assert "Not connected yet" in words(boss, *page)
    until = timezone.now() + timedelta(minutes=1)
    Connection.objects.create(gateway=world.gateway, owner="vm:42:cafe", owner_until=until, state="connected")
    told = words(boss, *page)
    assert "held by connector vm, process 42" in told
    assert "cafe" not in told


def test_a_delivery_says_once_why_it_failed_and_counts_its_tries_since_the_replay(
    boss: Client, world: factories.World
) -> None:
    Delivery.objects.filter(pk=world.dead.pk).update(
        code_params={"text": "It is not in the visible scope. (81013)"}, replays=1
    )
    world.dead.attempts.update(code_params={"text": "It is not in the visible scope. (81013)"})
    told = words(boss, "bridge_delivery_change", world.dead.pk)
    assert told.count("It is not in the visible scope.") == 1
    assert "attempts 1 since the last replay, replayed once" in told
    assert f"queue {world.dead.lane}" in told


@pytest.mark.parametrize("verb", ["replay", "release", "dismiss"])
def test_what_cannot_be_done_is_named(boss: Client, world: factories.World, verb: str) -> None:
    form = {"verb": verb, "ids": f"{world.delivered.pk},{world.dead.pk}"}
    told = read(boss.post(reverse("admin:bridge_delivery_confirm"), form).content.decode())
    done = {"replay": "1 cannot be replayed", "release": "2 cannot be released", "dismiss": "1 cannot be dismissed"}
    assert done[verb] in told
    if verb == "dismiss":
        assert "It leaves the list of dead letters" in told
        assert "Only what failed, is uncertain, was skipped or is on hold can be dismissed." in told


@pytest.mark.parametrize(
    ("lane", "whom"), [("hook:alerts", "Alert to staff"), ("hook:9", "Event for a webhook that was deleted")]
)
def test_a_delivery_to_no_webhook_says_what_it_was(boss: Client, world: factories.World, lane: str, whom: str) -> None:
    Delivery.objects.filter(pk=world.refused_event.pk).update(endpoint=None, lane=lane)
    assert whom in words(boss, "bridge_delivery_dead_letters")
    form = {"verb": "dismiss", "ids": str(world.refused_event.pk)}
    told = read(boss.post(reverse("admin:bridge_delivery_confirm"), form).content.decode())
    assert whom in told
    assert lane not in told


def test_who_may_not_read_sees_no_number_twice(staff: Any, world: factories.World) -> None:
    client = staff("bridge.view_delivery", "bridge.view_message", "bridge.replay_delivery")
    form = {"verb": "replay", "ids": str(world.dead.pk)}
    told = read(client.post(reverse("admin:bridge_delivery_confirm"), form).content.decode())
    assert f"#{world.dead.pk} failed message #{world.dead.message_id}" in told


def test_the_box_offers_to_map_a_person_and_says_the_cause_once(boss: Client, world: factories.World) -> None:
    asked = {"account": str(world.app.pk), "peer_kind": "direct", "peer_id": "nobody", "addressed": "on"}
    told = words(boss, "bridge_route_explain", **asked)
    assert "Map this person" in told
    assert "Map this group" not in told
    assert told.count("group or person") == 1


def test_tokens_are_api_tokens_and_have_all_their_days(boss: Client, admin_user: User) -> None:
    token, _secret = AuthToken.objects.create(admin_user, expiry=timedelta(days=3))
    assert "in 3 days" in words(boss, "knox_authtoken_changelist").replace("\xa0", " ")
    form = {"action": "delete_selected", "_selected_action": token.pk}
    told = read(boss.post(reverse("admin:knox_authtoken_changelist"), form).content.decode())
    assert "delete the selected API token?" in told
    assert "auth token" not in told.lower()


@pytest.mark.parametrize(
    ("left", "told"), [(timedelta(minutes=5, seconds=30), "in 5"), (timedelta(hours=48), "in 2"), (timedelta(hours=1), "in 1")]
)  # fmt: skip
def test_a_time_to_come_is_not_rounded_to_less_than_was_given(left: timedelta, told: str) -> None:
    when = timezone.now() + left - timedelta(milliseconds=200)
    assert formatting.distance(when).startswith(told)


def test_the_chart_names_its_zone(boss: Client, world: factories.World) -> None:
    page = boss.get(reverse("dashboard_part", args=["numbers"])).content.decode()
    assert "Messages and failures Asia/Shanghai" in " ".join(strip_tags(page).split())


def test_lists_say_what_their_search_looks_in(boss: Client) -> None:
    lists = ("accounts_channelaccount", "openclaw_gateway", "bridge_route", "bridge_conversation", "bridge_message",
             "bridge_delivery", "bridge_incident", "bridge_contact", "bridge_webhookendpoint")  # fmt: skip
    for name in lists:
        page = boss.get(reverse(f"admin:{name}_changelist")).content.decode()
        [field] = re.findall(r'<input[^>]*id="searchbar"[^>]*>', page, re.DOTALL)
        assert "Type to search" not in field, name
