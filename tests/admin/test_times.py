"""Lists by time: named spans, from–to with minutes, and what is no time; exact times and codes that lead to a filter."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from bridge.models import Conversation, Delivery, Message
from bridge.ui.formatting import zoned_time

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World


def listed(client: Client, name: str, **query: str) -> set[int]:
    return {row.pk for row in client.get(reverse(f"admin:{name}"), query).context["cl"].result_list}


def minute(ago: timedelta) -> str:
    """What a browser's field sends."""
    return f"{timezone.localtime() - ago:%Y-%m-%dT%H:%M}"


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("name", "model", "column"),
    [
        ("bridge_message_changelist", Message, "created_at"),
        ("bridge_delivery_changelist", Delivery, "created_at"),
        ("bridge_delivery_dead_letters", Delivery, "finished_at"),
        ("bridge_conversation_changelist", Conversation, "last_inbound_at"),
    ],
)
def test_a_list_from_to_a_minute_holds_what_was_between(
    boss: Client, world: World, name: str, model: Any, column: str
) -> None:
    row = world.person if model is Conversation else world.dead if model is Delivery else world.dead.message
    now = timezone.now()
    model.objects.filter(**{f"{column}__isnull": False}).update(**{column: now - 9 * HOUR})
    model.objects.filter(pk=row.pk).update(**{column: now - 3 * HOUR})
    assert listed(boss, name, **{"from": minute(4 * HOUR), "to": minute(2 * HOUR)}) == {row.pk}
    assert row.pk not in listed(boss, name, **{"from": minute(2 * HOUR)}) | listed(boss, name, to=minute(4 * HOUR))
    assert row.pk not in listed(boss, name, day="hour")
    assert row.pk in listed(boss, name, day="month")


def test_what_is_no_time_lists_nothing_and_says_so(boss: Client, world: World) -> None:
    answer = boss.get(reverse("admin:bridge_message_changelist"), {"from": "yesterday at two"})
    assert list(answer.context["cl"].result_list) == []
    assert "Enter a date with a time" in answer.content.decode()


EXTREMES = [
    "9999-12-31T23:59:00Z",
    "9999-12-31T23:59",
    "0001-01-01T00:00",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
]
TIMED = [
    "bridge_message_changelist",
    "bridge_delivery_changelist",
    "bridge_delivery_dead_letters",
    "bridge_conversation_changelist",
]


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("moment", EXTREMES)
@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Los_Angeles"])
def test_the_first_and_last_times_there_are_break_no_list(boss: Client, name: str, moment: str, zone: str) -> None:
    with timezone.override(zone):
        for end in ("from", "to"):
            assert boss.get(reverse(f"admin:{name}"), {end: moment}).status_code == 200


@pytest.mark.parametrize("day", ["nonsense", "2026-02-31", "9999-12-31", "2026-11-01..soon"])
def test_what_is_no_day_lists_nothing_says_so_and_downloads_nothing(boss: Client, world: World, day: str) -> None:
    answer = boss.get(reverse("admin:bridge_message_changelist"), {"day": day})
    assert list(answer.context["cl"].result_list) == []
    assert "Enter a date with a time" in answer.content.decode()
    file = boss.post(f"{reverse('admin:bridge_message_export')}?day={day}")
    assert (file.status_code, LogEntry.objects.filter(action=LogEntry.Action.ACCESS).count()) == (302, 0)


@pytest.mark.parametrize("day", ["0001-01-01", "0001-01-02", "9999-12-30", "9999-12-31"])
def test_the_first_and_last_days_there_are_break_no_report_and_no_plan(boss: Client, world: World, day: str) -> None:
    span = {"first": day, "last": day}
    answers = [boss.get(reverse("reports"), span), boss.get("/api/v1/stats/reports/", span)]
    assert {answer.status_code for answer in answers} <= {200, 400}
    for moment in EXTREMES:
        for end in ("from", "to"):
            assert boss.get(reverse("admin:bridge_replayrun_add"), {end: moment}).status_code < 500


def test_from_to_keeps_the_search_and_the_other_filters(boss: Client, world: World) -> None:
    page = boss.get(reverse("admin:bridge_message_changelist"), {"q": "x", "direction__exact": "in"}).content.decode()
    form = page.split('class="b-span"')[1].split("</form>")[0]
    assert 'name="q" value="x"' in form
    assert 'name="direction__exact" value="in"' in form


def test_a_code_leads_to_all_deliveries_with_it(boss: Client, world: World) -> None:
    Delivery.objects.filter(pk=world.dead.pk).update(code="81013")
    link = f"{reverse('admin:bridge_delivery_changelist')}?code=81013"
    page = boss.get(reverse("admin:bridge_delivery_change", args=[world.dead.pk])).content.decode()
    assert f'href="{link}"' in page
    assert listed(boss, "bridge_delivery_changelist", code="81013") == {world.dead.pk}
    assert listed(boss, "bridge_message_changelist", code="81013") == {world.dead.message_id}


def test_lists_show_the_exact_time_with_its_zone(boss: Client, world: World) -> None:
    page = boss.get(reverse("admin:bridge_message_changelist")).content.decode()
    world.question.refresh_from_db()
    assert f'<small class="b-exact">{zoned_time(world.question.created_at)}</small>' in page
    assert " UTC+" in zoned_time(world.question.created_at)
