"""Each filter of a list finds the rows that it names, and no other."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse
from django.utils import timezone

from bridge.admin.conversations.contacts import ContactAdmin
from bridge.models import Contact, Delivery, Reason, State
from bridge.security import audit
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.test import Client


def listed(client: Client, name: str, query: str = "") -> list[Any]:
    return list(client.get(f"{reverse(f'admin:{name}_changelist')}?{query}").context["cl"].result_list)


def offered(client: Client, name: str, title: str) -> list[str]:
    """What a filter of this title offers, besides everything."""
    changelist = client.get(reverse(f"admin:{name}_changelist")).context["cl"]
    [spec] = [each for each in changelist.filter_specs if str(each.title) == title]
    return [str(choice["display"]) for choice in spec.choices(changelist)][1:]


BY_FIELD: list[tuple[str, str, Callable[[factories.World], list[Any]]]] = [
    ("accounts_channelaccount", "kind=wecom_app", lambda world: [world.app]),
    ("accounts_channelaccount", "kind=mini_program", lambda _world: []),
    ("accounts_channelaccount", "state__exact=stopped", lambda world: [world.app]),
    ("accounts_channelaccount", "q=AIBOT", lambda world: [world.bot]),
    ("accounts_channelaccount", "q=群机器人", lambda world: [world.bot]),
    ("openclaw_gateway", "q=18789", lambda world: [world.gateway]),
    ("openclaw_gateway", "enabled__exact=0", lambda _world: []),
    ("bridge_conversation", "peer_kind__exact=direct", lambda world: [world.person]),
    ("bridge_conversation", "mode__exact=paused", lambda _world: []),
    ("bridge_route", "q=main", lambda world: [world.route]),
    ("bridge_webhookendpoint", "enabled__exact=1", lambda world: [world.webhook]),
    ("bridge_delivery", "target__exact=webhook", lambda world: [world.refused_event]),
    ("bridge_message", "source__exact=staff", lambda world: [world.uncertain.message]),
]


@pytest.mark.parametrize(("name", "query", "found"), BY_FIELD, ids=[f"{name}?{query}" for name, query, _f in BY_FIELD])
def test_a_list_by_a_field(
    boss: Client, world: factories.World, name: str, query: str, found: Callable[[factories.World], list[Any]]
) -> None:
    assert listed(boss, name, query) == found(world)


def test_lists_of_one_account_hold_nothing_of_another(boss: Client, world: factories.World) -> None:
    only = f"account__id__exact={world.app.pk}"
    assert listed(boss, "bridge_conversation", only) == [world.person]
    assert listed(boss, "bridge_contact", only) == [Contact.objects.get(account=world.app)]
    assert listed(boss, "bridge_delivery", only) == [world.uncertain, world.dead]
    assert listed(boss, "bridge_message", only) == [world.uncertain.message, world.dead.message]
    assert listed(boss, "bridge_route", only) == []


def test_messages_of_one_conversation_and_of_one_type(boss: Client, world: factories.World) -> None:
    """The first is where *Search its messages* leads."""
    page = boss.get(reverse("admin:bridge_conversation_change", args=[world.person.pk])).content.decode()
    assert f'{reverse("admin:bridge_message_changelist")}?conversation={world.person.pk}"' in page
    assert f'{reverse("admin:bridge_delivery_changelist")}?conversation={world.person.pk}"' in page
    its = Delivery.objects.filter(message__conversation=world.person).order_by("-pk")
    assert listed(boss, "bridge_delivery", f"conversation={world.person.pk}") == list(its)
    assert listed(boss, "bridge_message", f"conversation={world.person.pk}") == [
        world.uncertain.message,
        world.dead.message,
    ]
    assert [message.idempotency_key for message in listed(boss, "bridge_message", "kind=event")] == ["EVENT1"]
    types = offered(boss, "bridge_message", "type")
    assert {"text", "voice", "event", "unsupported", "textcard"} <= set(types)
    assert len(types) == len(set(types))


def test_deliveries_by_what_is_open(boss: Client, world: factories.World) -> None:
    waiting = Delivery.objects.get(state=State.PENDING)
    sending = factories.delivery(
        factories.message(world.group, "?", "MSG4"), State.SENDING, lease_until=timezone.now() + timedelta(minutes=1)
    )
    held = factories.delivery(factories.message(world.group, "?", "MSG5"), State.HELD, Reason.WINDOW)
    gone = factories.delivery(factories.message(world.person, "?", "OUT3"), State.DEAD, Reason.PERMANENT)
    Delivery.objects.filter(pk=gone.pk).update(dismissed_at=timezone.now())
    assert listed(boss, "bridge_delivery", "open=waiting") == [sending, waiting]
    assert listed(boss, "bridge_delivery", "open=held") == [held]
    assert listed(boss, "bridge_delivery", "open=review") == []
    assert listed(boss, "bridge_delivery", "open=dead") == [world.refused_event, world.uncertain, world.dead]
    assert len(listed(boss, "bridge_delivery", "open=nonsense")) == Delivery.objects.count()


def test_incidents_that_go_on_and_that_are_over(boss: Client, world: factories.World) -> None:
    over = factories.incident("x", "Over", closed_at=timezone.now())
    assert listed(boss, "bridge_incident", "open=1") == [world.incident]
    assert listed(boss, "bridge_incident", "open=0") == [over]
    assert len(listed(boss, "bridge_incident")) == 2


def test_people_who_follow(boss: Client, world: factories.World) -> None:
    follower = factories.contact(world.app, "oFAN", name="A fan", subscribed=True)
    left = factories.contact(world.app, "oLEFT", name="Gone", subscribed=False)
    assert listed(boss, "bridge_contact", "subscribed__exact=1") == [follower]
    assert listed(boss, "bridge_contact", "subscribed__exact=0") == [left]
    follows = ContactAdmin(Contact, admin.site).follows
    unknown = Contact.objects.get(account=world.app, external_id="zhangsan")
    assert [follows(contact) for contact in (follower, left, unknown)] == ["yes", "no", "–"]


def test_the_audit_log_by_what_who_and_action(boss: Client, admin_user: User, world: factories.World) -> None:
    LogEntry.objects.all().delete()
    boss.post(reverse("admin:bridge_conversation_rename", args=[world.group.pk]), {"title": "Sales"})
    audit.log_action("dismissed", [world.dead])
    world.route.delete()
    kinds = {model: ContentType.objects.get_for_model(model).pk for model in (type(world.group), Delivery)}
    renamed, deed, deleted = LogEntry.objects.order_by("id")
    assert listed(boss, "auditlog_logentry", f"what={kinds[Delivery]}") == [deed]
    assert listed(boss, "auditlog_logentry", f"what={kinds[type(world.group)]}") == [renamed]
    assert listed(boss, "auditlog_logentry", f"who={admin_user.pk}") == [renamed]
    assert listed(boss, "auditlog_logentry", f"action__exact={LogEntry.Action.DELETE}") == [deleted]
    assert {"delivery", "conversation", "mapping", "webhook"} <= set(offered(boss, "auditlog_logentry", "what"))
    assert offered(boss, "auditlog_logentry", "who") == [admin_user.get_username()]


@pytest.mark.parametrize("query", ["code=gone", "reason__exact=too_old"])
def test_a_chosen_value_that_nothing_has_any_more_is_still_named(
    boss: Client, world: factories.World, query: str
) -> None:
    """Else the list would be narrowed by something that nobody sees."""
    changelist = boss.get(f"{reverse('admin:bridge_delivery_dead_letters')}?{query}").context["cl"]
    chosen = [
        str(choice["display"])
        for spec in changelist.filter_specs
        for choice in list(spec.choices(changelist))[1:]
        if choice["selected"]
    ]
    assert chosen == [{"code=gone": "gone"}.get(query, str(Reason.TOO_OLD.label))]


def test_beside_a_search_every_reason_is_offered(boss: Client, world: factories.World) -> None:
    changelist = boss.get(f"{reverse('admin:bridge_delivery_dead_letters')}?q=zhangsan").context["cl"]
    [spec] = [each for each in changelist.filter_specs if str(each.title) == "reason"]
    assert len(list(spec.choices(changelist))) == 1 + len(Reason)
