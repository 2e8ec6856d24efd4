"""Lists: newest first, page by page, and each filter finds what it names."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from django.utils import timezone

from bridge.models import Conversation, Delivery, Message
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World


def ids(client: Client, address: str) -> list[int]:
    answer = client.get(address if address.startswith("http") else f"/api/v1/{address}")
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def test_pages_lead_through_everything_and_back(boss: Client, world: World) -> None:
    everything = list(Message.objects.order_by("-id").values_list("id", flat=True))
    walked: list[int] = []
    address = "/api/v1/messages/?page_size=3"
    while address:
        page = boss.get(address).json()
        walked += [row["id"] for row in page["results"]]
        # What is said meanwhile does not shift the pages.
        factories.message(world.group, "meanwhile", f"NEW{len(walked)}")
        last, address = page, page["next"]
    assert walked == everything
    back = ids(boss, last["previous"])
    assert back == everything[-len(back) - len(last["results"]) :][: len(back)]


def test_messages_by_each_filter(boss: Client, world: World) -> None:
    assert ids(boss, f"messages/?conversation={world.person.pk}") == [world.uncertain.message_id, world.dead.message_id]
    assert ids(boss, f"messages/?account={world.app.pk}") == [world.uncertain.message_id, world.dead.message_id]
    assert ids(boss, "messages/?source=staff&direction=out") == [world.uncertain.message_id]
    assert ids(boss, "messages/?kind=hologram") == []
    assert ids(boss, "messages/?idempotency_key=ANSWER1") == [world.answer.pk]
    assert len(ids(boss, "messages/?sender=lisi")) == 1
    Message.objects.filter(pk=world.answer.pk).update(created_at=timezone.now() - timedelta(days=3))
    yesterday = quote((timezone.now() - timedelta(days=1)).isoformat())
    assert ids(boss, f"messages/?created_before={yesterday}") == [world.answer.pk]
    assert world.answer.pk not in ids(boss, f"messages/?created_after={yesterday}")
    unrouted = factories.message(world.person, "not routed yet", "NEW")
    Message.objects.filter(pk=unrouted.pk).update(conversation=None, routed_at=None)
    assert ids(boss, f"messages/?account={world.app.pk}")[0] == unrouted.pk


def test_deliveries_by_each_filter(boss: Client, world: World) -> None:
    assert ids(boss, "deliveries/?state=dead&target=channel") == [world.dead.pk]
    assert ids(boss, "deliveries/?reason=unknown&target=channel") == [world.uncertain.pk]
    assert ids(boss, f"deliveries/?message={world.answer.pk}") == [world.delivered.pk]
    assert ids(boss, f"deliveries/?conversation={world.person.pk}") == [world.uncertain.pk, world.dead.pk]
    assert ids(boss, f"deliveries/?account={world.app.pk}") == [world.uncertain.pk, world.dead.pk]
    assert len(ids(boss, f"deliveries/?gateway={world.gateway.pk}")) == 2
    Delivery.objects.filter(pk=world.dead.pk).update(dismissed_at=timezone.now())
    assert ids(boss, "deliveries/?dismissed=true") == [world.dead.pk]
    assert world.dead.pk not in ids(boss, "deliveries/?dismissed=false")
    Delivery.objects.filter(pk=world.answer.deliveries.get().pk).update(created_at=timezone.now() - timedelta(days=3))
    yesterday = quote((timezone.now() - timedelta(days=1)).isoformat())
    assert ids(boss, f"deliveries/?created_before={yesterday}") == [world.delivered.pk]
    later = ids(boss, f"deliveries/?created_after={yesterday}")
    assert (world.delivered.pk in later, len(later)) == (False, Delivery.objects.count() - 1)


def test_who_was_heard_since_a_moment(boss: Client, world: World) -> None:
    """Not who has a conversation since then."""
    Conversation.objects.update(created_at=timezone.now() - timedelta(days=9))
    hour = quote((timezone.now() - timedelta(hours=1)).isoformat())
    assert ids(boss, f"conversations/?last_inbound_after={hour}") == [world.group.pk]


@pytest.mark.parametrize(
    ("address", "count"),
    [
        ("accounts/?kind=wecom_app&state=stopped&enabled=true", 1), ("accounts/?enabled=false", 0),
        ("gateways/?state=ok&enabled=true", 1), ("gateways/?state=stopped", 0),
        ("routes/?peer_kind=group&peer_id=wrGROUP&enabled=true", 1), ("routes/?peer_kind=direct", 0),
        ("conversations/?peer_kind=group&mode=bot", 1), ("conversations/?peer_id=nobody", 0),
        ("conversations/?last_inbound_after=2020-01-01T00:00:00Z", 1), ("attachments/?state=failed", 1),
        ("conversations/?account=<app>", 1), ("conversations/?account=<app>&peer_kind=group", 0),
        ("routes/?account=<bot>", 1), ("routes/?account=<app>", 0),
        ("routes/?gateway=<gateway>", 1), ("routes/?gateway=<spare>", 0), ("routes/?enabled=false", 0),
        ("webhooks/?enabled=true", 2), ("webhooks/?enabled=false", 0), ("webhooks/?account=<app>", 1),
        ("webhooks/?account=<bot>", 0), ("accounts/?id=<bot>", 1), ("gateways/?enabled=true", 2),
        ("deliveries/?gateway=<spare>", 0), ("deliveries/?endpoint=<webhook>", 1), ("attachments/?state=ready", 2),
    ],
)  # fmt: skip
def test_the_other_lists_by_their_filters(boss: Client, world: World, address: str, count: int) -> None:
    factories.endpoint_with_a_new_secret(name="Of the app", account=world.app)
    named = {name: row.pk for name, row in vars(world).items()} | {
        "spare": factories.connected_gateway(name="Spare", state="new").pk
    }
    for name, pk in named.items():
        address = address.replace(f"<{name}>", str(pk))
    assert len(ids(boss, address)) == count


def test_files_of_one_message(boss: Client, world: World) -> None:
    assert len(ids(boss, f"attachments/?message={world.question.pk}")) == 3
    assert ids(boss, f"attachments/?message={world.answer.pk}") == []


def test_the_figures_of_today(boss: Client, world: World) -> None:
    figures = boss.get("/api/v1/stats/").json()
    assert (figures["dead"], figures["uncertain"], figures["held"]) == (2, 1, 0)
    assert figures["outgoing"] == Message.objects.filter(direction="out").count()
    assert (figures["incoming"], figures["waiting"], figures["held_by"]) == (4, 1, {})
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    assert datetime.fromisoformat(figures["since"]) == midnight
    assert figures["oldest_waiting"]
