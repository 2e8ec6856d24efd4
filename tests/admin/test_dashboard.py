"""The start page: each figure leads to as many rows as it says, and what waits leads to its cause."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.admin import dashboard
from bridge.models import Delivery, Reason, State
from bridge.operations.dashboard import MAX_BADGE, Hour
from openclaw.models import Gateway
from tests.admin.test_filters import listed
from tests.admin.test_pages import first_steps
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def test_each_figure_leads_to_as_many_rows_as_it_says(boss: Client, world: factories.World) -> None:
    until = timezone.now() + timedelta(minutes=1)
    factories.delivery(factories.message(world.group, "?", "MSG4"), State.SENDING, lease_until=until)
    for number in range(3):
        factories.delivery(factories.message(world.group, "?", f"HELD{number}"), State.HELD, Reason.WINDOW)
    for number in range(2):
        factories.delivery(factories.message(world.group, "?", f"REVIEW{number}"), State.HELD, Reason.REVIEW)
    figures = {str(figure["label"]): figure for figure in boss.get("/admin/").context["figures"]}
    found = {label: boss.get(figure["link"]).context["cl"].result_list for label, figure in figures.items()}
    said = {label: [row for row in shown if getattr(row, "kind", "") != "event"] for label, shown in found.items()}
    assert {label: len(shown) for label, shown in said.items()} == {
        "received today": 10, "sent today": 3, "waiting": 2, "on hold": 5, "awaiting your decision": 2, "failed": 2, "uncertain": 1,
    }  # fmt: skip
    assert {label: figure["value"] for label, figure in figures.items()} == {k: len(shown) for k, shown in said.items()}
    assert {label for label, figure in figures.items() if figure.get("tone")} == {
        "awaiting your decision",
        "failed",
        "uncertain",
    }
    assert [str(row.message.direction) for row in found["waiting"]] == ["in", "in"]
    assert figures["waiting"]["since"] == min(row.queued_at for row in found["waiting"])
    assert figures["on hold"]["why"] == [
        "2 × awaiting your decision (content check)", "3 × WeChat allows no more until the person writes again",
    ]  # fmt: skip


def test_a_figure_of_nothing_alarms_nobody(boss: Client) -> None:
    figures = boss.get("/admin/").context["figures"]
    assert [(figure["value"], figure.get("tone", "")) for figure in figures] == [(0, "")] * 6


def test_the_bars_are_as_tall_as_their_hours(boss: Client) -> None:
    hours = [Hour(hour, {2: 1, 3: 2}.get(hour, 0), {3: 4}.get(hour, 0)) for hour in range(24)]
    bars = dashboard._build_bars(hours)
    assert dashboard._find_peak(hours) == 4
    assert dashboard._find_peak([Hour(0, 7, 2)]) == 7
    assert [bar["in"]["height"] for bar in bars[:4]] == [0, 0, 25, 50]
    assert [bar["out"]["height"] for bar in bars[:4]] == [0, 0, 0, 100]
    assert [(bar["in"]["y"], bar["out"]["y"]) for bar in bars[2:4]] == [(75, 100), (50, 0)]
    assert [bar["in"]["x"] < bar["out"]["x"] < (bar["hour"].hour + 1) * dashboard.SLOT for bar in bars] == [True] * 24
    assert [bar["label"]["text"] for bar in bars if bar["label"]] == ["00", "03", "06", "09", "12", "15", "18", "21"]


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        ({"state": Health.STOPPED}, 1),
        ({"enabled": False}, 1),
        ({"state": Health.FAILING}, 0),
        ({"state": Health.OK}, 0),
    ],
)
def test_what_waits_for_an_account_stands_beside_it(
    boss: Client, staff: Callable[..., Client], world: factories.World, columns: dict[str, Any], count: int
) -> None:
    """A failing account is tried; what is asked of an agent waits for a gateway."""
    ChannelAccount.objects.update(state=Health.OK)
    ChannelAccount.objects.filter(pk=world.app.pk).update(**columns)
    factories.delivery(factories.message(world.person, "x", "OUT3", direction="out", source="staff"), State.PENDING)
    factories.delivery(factories.message(world.person, "?", "IN3"), State.PENDING, gateway=world.gateway)
    link = f"{reverse('admin:bridge_delivery_changelist')}?open=waiting&amp;account__id__exact="
    page = boss.get("/admin/").content.decode()
    assert page.count(f'<a href="{link}{world.app.pk}">1 delivery waits for it</a>') == count
    assert page.count("waits for it") == count
    assert "waits for it" not in staff("accounts.view_channelaccount").get("/admin/").content.decode()


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        ({"state": Health.STOPPED}, 1),
        ({"enabled": False}, 1),
        ({"state": Health.FAILING}, 1),
        ({"state": Health.OK}, 0),
    ],
)
def test_what_waits_for_a_gateway_stands_beside_it(
    boss: Client, world: factories.World, columns: dict[str, Any], count: int
) -> None:
    ChannelAccount.objects.update(state=Health.OK)
    Gateway.objects.update(**columns)
    factories.connected_gateway(name="Another")
    sent = factories.message(world.person, "x", "OUT3", direction="out", source="agent")
    factories.delivery(sent, State.PENDING, gateway=world.gateway)
    page = boss.get("/admin/").content.decode()
    link = f"{reverse('admin:bridge_delivery_changelist')}?open=waiting&amp;gateway__id__exact={world.gateway.pk}"
    assert page.count(f'<a href="{link}">1 delivery waits for it</a>') == page.count("waits for it") == count


def test_no_step_is_left_for_what_is_switched_off(boss: Client) -> None:
    account, gateway = factories.account(state=Health.NEW), factories.connected_gateway(state=Health.NEW)
    assert len(first_steps(boss)) == 2
    for row in (account, gateway):
        type(row).objects.update(enabled=False)
    assert first_steps(boss) == []


@pytest.mark.parametrize("made", [factories.account, factories.connected_gateway])
def test_a_mapping_is_a_step_until_both_sides_are_there(boss: Client, made: Callable[..., Any]) -> None:
    mapping = "Then map a group or person to an agent."
    assert mapping in first_steps(boss)
    made(state=Health.OK)
    assert mapping in first_steps(boss)
    (factories.connected_gateway if made is factories.account else factories.account)(state=Health.OK)
    assert first_steps(boss) == []


@pytest.mark.parametrize(("count", "badge"), [(0, None), (1, "1"), (MAX_BADGE - 1, "99"), (MAX_BADGE, "99+")])
def test_the_menu_counts_failures_to_a_border(
    boss: Client, world: factories.World, count: int, badge: str | None
) -> None:
    Delivery.objects.all().delete()
    for number in range(count):
        factories.delivery(factories.message(world.person, "x", f"X{number}"), State.DEAD, Reason.PERMANENT)
    menu = boss.get("/admin/").context["sidebar_navigation"]
    assert [item.get("badge") for group in menu for item in group["items"] if item["title"] == "Dead letters"] == [
        badge
    ]


def test_the_menu_marks_the_page_that_is_open(boss: Client, world: factories.World) -> None:
    pages = {
        "/admin/": "Dashboard",
        reverse("admin:bridge_delivery_changelist"): "Deliveries",
        reverse("admin:bridge_delivery_change", args=[world.dead.pk]): "Deliveries",
        reverse("admin:bridge_delivery_dead_letters"): "Dead letters",
        reverse("admin:auth_group_changelist"): "Staff groups",
    }
    for page, title in pages.items():
        menu = boss.get(page).context["sidebar_navigation"]
        assert [str(item["title"]) for group in menu for item in group["items"] if item["active"]] == [title], page


MENU = {
    "bridge.view_conversation": ["Conversations"],
    "bridge.view_message": ["Messages"],
    "bridge.view_delivery": ["Deliveries", "Dead letters"],
    "accounts.view_channelaccount": ["Accounts"],
    "openclaw.view_gateway": ["Gateways"],
    "bridge.view_route": ["Mappings"],
    "bridge.view_contact": ["Invitations and requests", "Contacts"],
    "bridge.view_incident": ["Incidents"],
    "bridge.view_webhookendpoint": ["Webhooks"],
    "auth.view_user": ["Staff"],
    "auth.view_group": ["Staff groups"],
    "knox.view_authtoken": ["API tokens"],
    "auditlog.view_logentry": ["Audit log"],
}


@pytest.mark.parametrize("right", MENU)
def test_the_menu_offers_what_a_right_opens(staff: Callable[..., Client], world: factories.World, right: str) -> None:
    menu = staff(right).get("/admin/").context["sidebar_navigation"]
    entries = [item for group in menu for item in group["items"]]
    assert [str(item["title"]) for item in entries] == ["Dashboard", *MENU[right]]
    assert any("badge" in item for item in entries) == (right in ("bridge.view_delivery", "bridge.view_contact"))


def test_active_incidents_are_ten_at_most_and_none_that_is_over(boss: Client) -> None:
    for number in range(12):
        over = timezone.now() if number == 11 else None
        factories.incident(f"x{number}", f"Incident {number}", closed_at=over)
    shown = boss.get("/admin/").context["board"].incidents
    assert [row.title for row in shown] == [f"Incident {number}" for number in range(10, 0, -1)]
    assert len(listed(boss, "bridge_incident", "open=1")) == 11


@pytest.mark.parametrize(("hours", "shown"), [(23, True), (25, False)])
def test_what_was_stored_on_disk_is_told_for_a_day(
    boss: Client, staff: Callable[..., Client], hours: int, shown: bool
) -> None:
    over = timezone.now() - timedelta(hours=hours)
    title, detail = "Callbacks were stored on disk", "Messages that wait for the database: 12."
    factories.incident("spool", "spooled", code_params={"count": 12}, opened_at=over, closed_at=over)
    factories.incident("account:1", "Another", opened_at=over, closed_at=over)
    page = boss.get("/admin/").content.decode()
    assert (title in page, detail in page, "Another" in page) == (shown, shown, False)
    reader = staff("bridge.view_incident").get("/admin/").content.decode()
    assert (title in reader, detail in reader) == (shown, False)


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ("bridge.view_message", "Today by the hour"),
        ("bridge.view_delivery", "received today"),
        ("bridge.view_incident", "Alerts are off."),
        ("accounts.view_channelaccount", "Acme app"),
        ("openclaw.view_gateway", "OpenClaw at home"),
        ("bridge.view_incident", "Active incidents"),
    ],
)
def test_each_right_opens_its_part_of_the_start_page(
    staff: Callable[..., Client], world: factories.World, settings: Any, right: str, words: str
) -> None:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    parts = (
        "Today by the hour",
        "received today",
        "Alerts are off.",
        "Acme app",
        "OpenClaw at home",
        "Active incidents",
    )
    page = staff(right).get("/admin/").content.decode()
    opened = {"bridge.view_incident": {"Alerts are off.", "Active incidents", "Acme app"}}.get(right, {words})
    assert {part for part in parts if part in page} == opened
