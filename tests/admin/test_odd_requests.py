"""Requests that no page makes: they are answered as mistakes, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from bridge.models import Conversation, Message
from openclaw.models import Gateway
from tests.admin.test_matrix import everything

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("accounts_channelaccount_changelist", "state__exact=%00"),
        ("accounts_channelaccount_changelist", "kind=%00"),
        ("bridge_route_changelist", "peer_kind__exact=%00"),
        ("bridge_message_changelist", "kind=%00"),
        ("bridge_delivery_dead_letters", "code=%00"),
        ("autocomplete", "app_label=bridge&model_name=route&field_name=account&term=%00"),
        ("accounts_channelaccount_changelist", "_to_field=token"),
    ],
)
def test_what_nobody_can_look_for_is_a_mistake(boss: Client, page: str, query: str) -> None:
    assert boss.get(f"{reverse(f'admin:{page}')}?{query}").status_code == 400


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("bridge_message_changelist", "conversation"),
        ("auditlog_logentry_changelist", "who"),
        ("auditlog_logentry_changelist", "what"),
        ("bridge_delivery_changelist", "q"),
        ("bridge_delivery_changelist", "p"),
    ],
)
def test_a_number_beyond_all_numbers_is_none(boss: Client, page: str, name: str) -> None:
    assert boss.get(f"{reverse(f'admin:{page}')}?{name}={LONG}").status_code == 200


def test_numbers_of_deliveries_that_cannot_be_are_left_out(boss: Client, world: World) -> None:
    said = {"verb": "dismiss", "ids": f"{LONG},x,{world.dead.pk},-1,１", "sure": "1"}
    assert boss.post(reverse("admin:bridge_delivery_confirm"), said).status_code == 302
    world.dead.refresh_from_db()
    assert world.dead.dismissed_at is not None


@pytest.mark.parametrize("key", ["x", "", "1.5", LONG, "{}", "\0"])
@pytest.mark.parametrize(
    "page", ["openclaw_gateway_changelist", "bridge_delivery_dead_letters", "auth_group_changelist"]
)
def test_keys_of_chosen_rows_that_are_none_are_a_mistake(boss: Client, world: World, page: str, key: str) -> None:
    action = "dismiss_selected" if "dead" in page else "delete_selected"
    before = everything()
    answer = boss.post(reverse(f"admin:{page}"), {"action": action, "_selected_action": [key], "post": "yes"})
    assert (answer.status_code, everything() == before) == (400, True)


@pytest.mark.parametrize("page", ["accounts_channelaccount", "openclaw_gateway", "bridge_contact", "auth_user"])
def test_no_row_is_made_of_another(boss: Client, world: World, page: str) -> None:
    """Django makes one of `_saveasnew` whether or not a page offers that."""
    pk = {"accounts_channelaccount": world.app.pk, "openclaw_gateway": world.gateway.pk}.get(page, 1)
    said = {
        "_saveasnew": "1",
        "name": "Copy",
        "base_url": "http://127.0.0.1:9",
        "transport": "ws",
        "timeout_seconds": 60,
        "max_in_flight": 2,
    }
    before = everything()
    assert boss.post(reverse(f"admin:{page}_change", args=[pk]), said).status_code == 400
    assert everything() == before
    assert Gateway.objects.count() == 1


@pytest.mark.parametrize("peer", ["\0", "a\0b", "\u200b", "li\u200bsi\n", "x" * 201, "a\x1bb"])
def test_nobody_is_written_to_by_an_id_that_is_none(boss: Client, world: World, peer: str) -> None:
    url = reverse("admin:accounts_channelaccount_write", args=[world.app.pk])
    answer = boss.post(url, {"peer_id": peer})
    made = Conversation.objects.exclude(pk__in=[world.group.pk, world.person.pk])
    if peer.startswith("li"):  # what nobody sees is left out of what was pasted
        assert [row.peer_id for row in made] == ["lisi"]
    else:
        assert (answer.status_code, made.exists()) == (400, False)


def test_a_capability_with_a_letter_that_cannot_be_stored_is_a_mistake(boss: Client, world: World) -> None:
    url = reverse("admin:accounts_channelaccount_try_again", args=[world.app.pk])
    assert boss.post(url, {"capability": "moderation\0"}).status_code == 400


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"text": "\u200b"}, "__all__"),
        ({"kind": "textcard", "details": LONG}, "details"),
        ({"kind": "textcard", "details": "[" * 100_000}, "details"),
        ({"text": "hello", "details": '{"title": "x"}'}, "kind"),
        ({"text": "hello", "kind": "textcard", "details": '{"title": "t", "description": "d", "url": "https://x.example"}'}, "text"),
    ],
)  # fmt: skip
def test_what_a_message_would_pass_over_is_said_before_it_goes(
    boss: Client, world: World, said: dict[str, str], field: str
) -> None:
    count = Message.objects.count()
    page = boss.post(reverse("admin:bridge_conversation_send", args=[world.person.pk]), said)
    assert list(page.context["form"].errors) == [field]
    assert Message.objects.count() == count
