"""The start page: each figure leads to as many rows as it says, and what waits leads to its cause."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import work
from accounts.channels import build_channel
from accounts.health import Health
from accounts.limits import all_limits, count_call, list_remaining, select_limits
from accounts.models import ChannelAccount
from bridge.admin import charts
from bridge.admin.menu import MAX_BADGE
from bridge.models import Delivery, Message, Reason, State
from bridge.operations.dashboard import Point
from bridge.operations.figures.counting import count_due_periods
from openclaw.models import Gateway
from tests.admin.test_filters import listed
from tests.admin.test_pages import first_steps
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    from django.test import Client

NUMBERS, SIDES = "/admin/part/numbers/", "/admin/part/sides/"


def test_each_figure_leads_to_as_many_rows_as_it_says(boss: Client, world: factories.World) -> None:
    until = timezone.now() + timedelta(minutes=1)
    factories.delivery(factories.message(world.group, "?", "MSG4"), State.SENDING, lease_until=until)
    for number in range(3):
        factories.delivery(factories.message(world.group, "?", f"HELD{number}"), State.HELD, Reason.WINDOW)
    for number in range(2):
        factories.delivery(factories.message(world.group, "?", f"REVIEW{number}"), State.HELD, Reason.REVIEW)
    figures = {str(figure["label"]): figure for figure in boss.get(NUMBERS).context["figures"]}
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
    figures = boss.get(NUMBERS).context["figures"]
    assert [(figure["value"], figure.get("tone", "")) for figure in figures] == [(0, "")] * 6


def test_the_bars_are_as_tall_as_their_hours() -> None:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    said = {2: (1, 0, 0), 3: (2, 4, 0), 5: (0, 0, 3)}
    hours = [Point(midnight + timedelta(hours=hour), *said.get(hour, (0, 0, 0))) for hour in range(24)]
    chart = charts.build_columns(hours, by_hour=True)
    assert (chart["peak"], chart["totals"]) == (4, {"incoming": 3, "outgoing": 4, "failed": 3})
    tall = {
        n: [bar["height"] for bar in column.bars]
        for n, column in enumerate(chart["columns"])
        if column.point.at.hour in said
    }
    assert tall == {2: [25, 0, 0], 3: [50, 100, 0], 5: [0, 0, 75]}
    assert all(bar["y"] + bar["height"] == charts.HEIGHT for column in chart["columns"] for bar in column.bars)
    ends = [bar["x"] + bar["width"] for column in chart["columns"] for bar in column.bars]
    assert ends == sorted(ends)
    assert ends[-1] <= charts.WIDTH
    assert [column.label for column in chart["labels"]] == [f"{hour:02}:00" for hour in range(0, 24, 3)]


@pytest.mark.parametrize(
    "columns", [{"state": Health.STOPPED}, {"enabled": False}, {"state": Health.FAILING}, {"state": Health.OK}]
)
def test_what_waits_for_an_account_or_a_gateway_stands_beside_it(
    boss: Client, staff: Callable[..., Client], world: factories.World, columns: dict[str, Any]
) -> None:
    """What is asked of an agent waits for a gateway."""
    Delivery.objects.filter(state__in=(State.PENDING, State.SENDING)).delete()
    ChannelAccount.objects.filter(pk=world.app.pk).update(**columns)
    Gateway.objects.update(**columns)
    factories.delivery(factories.message(world.person, "x", "OUT3", direction="out", source="staff"), State.PENDING)
    factories.delivery(factories.message(world.person, "?", "IN3"), State.PENDING, gateway=world.gateway)
    deliveries = reverse("admin:bridge_delivery_changelist")
    page = boss.get(SIDES).content.decode()
    for side, row in (("account", world.person.account), ("gateway", world.gateway)):
        link = f'<a href="{deliveries}?open=waiting&amp;{side}__id__exact={row.pk}">1 delivery waits for it</a>'
        assert page.count(link) == 1
    assert page.count("waits for it") == 2
    assert "waits for it" not in staff("accounts.view_channelaccount").get(SIDES).content.decode()


def test_what_does_not_work_stands_first_and_what_is_disabled_last(boss: Client) -> None:
    states = {"a": Health.OK, "b": Health.FAILING, "c": Health.NEW, "d": Health.STOPPED}
    for number, (name, state) in enumerate(states.items()):
        factories.app(columns={"name": name, "state": state}, agent_id=100 + number)
    factories.app(columns={"name": "aa", "state": Health.STOPPED, "enabled": False}, agent_id=200)
    factories.app(columns={"name": "ab", "state": Health.OK, "sending_stopped_at": timezone.now()}, agent_id=201)
    assert [side.row.name for side in boss.get(SIDES).context["accounts"]] == ["ab", "b", "d", "a", "c", "aa"]


def test_an_account_that_heard_nothing_for_three_hours_is_silent(boss: Client, valkey: redis.Redis) -> None:
    chats = [factories.conversation(account) for account in (factories.app(), factories.bot(), factories.mini())]
    for chat, hours in zip(chats, (4, 2, 9), strict=True):
        factories.message(chat, "?", f"M{hours}", created_at=timezone.now() - timedelta(hours=hours))
    factories.note_callback(chats[2].account, "ok")
    silent = {side.row.pk: side.is_silent for side in boss.get(SIDES).context["accounts"]}
    assert silent == {chats[0].account_id: True, chats[1].account_id: False, chats[2].account_id: False}


def test_the_calls_that_are_left_stand_side_by_side(boss: Client, valkey: redis.Redis) -> None:
    account, other = factories.robot(), factories.app()
    limit = select_limits(build_channel(account).limits, "group")
    for _call in range(3):
        assert count_call(limit, str(account.key), "") == 0
    found = {side.row.pk: side.quotas for side in boss.get(SIDES).context["quotas"]}
    assert [(one["limit"].count, one["left"], one["scarce"]) for one in found[account.pk]] == [(20, 17, False)]
    assert [(one["limit"], one["left"]) for one in found[other.pk]] == sorted(
        [
            (one, left)
            for one, left in list_remaining(all_limits(build_channel(other)), str(other.key))
            if one.scope == "account"
        ],
        key=lambda pair: (pair[1] or 0) / pair[0].count,
    )
    for _call in range(15):
        count_call(limit, str(account.key), "")
    assert '<span class="b-badge b-bad">2</span>' in boss.get(SIDES).content.decode()


def test_each_process_shows_what_it_consumed(boss: Client, valkey: redis.Redis) -> None:
    now = time.time()
    with valkey.pipeline() as pipe:
        work.record(
            pipe,
            {("attempts", (("outcome", "ok"), ("target", "channel"))): 7, ("token_failures", ()): 1},
            "worker:here:12",
        )
        pipe.zadd(work.PROCESSES, {"beat:here:13": now, "connector:there:14": now - 60})
        pipe.hset(f"work:beat:here:13:{int(now // 60) - 9}", "ticks", 500)
        pipe.execute()
    context = boss.get(SIDES).context
    seen = [
        (str(item["role"]), item["process"].pid, item["process"].is_lost, [d["count"] for d in item["done"]])
        for item in context["processes"]
    ]
    assert seen == [("beat", "13", False, []), ("connector", "14", True, []), ("worker", "12", False, [7])]
    assert [str(role) for role in context["missing"]] == ["callbacks", "connector"]
    assert "7 calls to WeChat" in boss.get(SIDES).content.decode()


def test_the_range_is_today_or_days_and_each_day_leads_to_its_rows(boss: Client, world: factories.World) -> None:
    yesterday = timezone.now() - timedelta(days=1)
    for number in range(3):
        factories.message(world.group, "?", f"Y{number}", created_at=yesterday)
    count_due_periods(60)
    chart = boss.get(f"{NUMBERS}?days=7").context["chart"]
    assert [column.point.incoming for column in chart["columns"]][-2:] == [3, 4]
    link = chart["columns"][-2].links["incoming"]
    assert len(boss.get(link).context["cl"].result_list) == 3
    assert len(boss.get(f"{NUMBERS}?days=30").context["chart"]["columns"]) == 30
    for odd in ("", "8", "x"):
        assert boss.get(NUMBERS, {"days": odd}).context["days"] == 1
    assert boss.get("/admin/part/other/").status_code == 404


def test_today_is_the_same_before_and_after_it_was_counted(boss: Client, world: factories.World) -> None:
    def hours() -> list[Any]:
        return [column.point for column in boss.get(NUMBERS).context["chart"]["columns"]]

    factories.message(world.group, "?", "EARLY", created_at=timezone.localtime().replace(hour=0, minute=0, second=0))
    before = hours()
    count_due_periods(60)
    assert hours() == before
    factories.message(world.group, "?", "NOW")
    assert sum(hour.incoming for hour in hours()) == sum(hour.incoming for hour in before) + 1


def test_the_time_to_answer_is_shown_by_agent(boss: Client, world: factories.World) -> None:
    Message.objects.all().update(reply_to=None)
    for number, seconds in enumerate((2, 2, 50)):
        asked = timezone.now() - timedelta(minutes=5)
        question = factories.message(world.group, "?", f"Q{number}", created_at=asked)
        factories.delivery(question, gateway=world.gateway, payload={"agent_id": "main"})
        answer = factories.message(world.group, "!", f"A{number}", direction="out", source="agent", reply_to=question)
        factories.delivery(answer, finished_at=asked + timedelta(seconds=seconds))
    count_due_periods(60)
    (row,) = boss.get(f"{NUMBERS}?days=7").context["times"]["rows"]
    assert (row["agent"], row["gateway"], row["times"].answers) == ("main", world.gateway.name, 3)
    assert 2 <= row["times"].p50 <= 2.5
    assert 40 <= row["times"].p95 <= 60


@pytest.mark.parametrize("part", ["numbers", "sides"])
def test_each_part_of_the_start_page_costs_few_queries(boss: Client, world: factories.World, part: str) -> None:
    for number in range(9):
        factories.app(agent_id=300 + number)
    with CaptureQueriesContext(connection) as caught:
        boss.get(f"/admin/part/{part}/")
    assert len(caught) <= 10


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
    "bridge.view_delivery": ["Deliveries", "Dead letters", "Replays", "Reports"],
    "accounts.view_channelaccount": ["Accounts"],
    "openclaw.view_gateway": ["Gateways"],
    "bridge.view_route": ["Mappings"],
    "bridge.view_contact": ["Invitations and requests", "Contacts"],
    "bridge.view_incident": ["Incidents"],
    "bridge.view_alertchannel": ["Alerts"],
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


def test_what_needs_attention_is_the_worst_and_oldest_and_nothing_that_is_over_or_muted(boss: Client) -> None:
    now = timezone.now()
    for name, severity, hours in (("new", 3, 1), ("old", 3, 2), ("small", 1, 9)):
        factories.incident(name, name, severity=severity, opened_at=now - timedelta(hours=hours))
    factories.incident("over", "over", closed_at=now)
    factories.incident("quiet", "quiet", muted_to_end=True)
    shown = boss.get("/admin/").context
    stored = [row.incident.title for row in shown["attention"] if row.incident.pk]
    assert stored == ["old", "new", "small"]
    assert shown["muted"] == 1
    assert [row.title for row in listed(boss, "bridge_incident", "open=muted")] == ["quiet"]


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
        ("bridge.view_message", {"Messages and failures", "Time to answer, by agent"}),
        ("bridge.view_delivery", {"received today"}),
        ("bridge.view_incident", {"Alerts are off.", "Needs attention", "Acme app", "What each process did"}),
        ("accounts.view_channelaccount", {"Acme app"}),
        ("openclaw.view_gateway", {"OpenClaw at home"}),
    ],
)
def test_each_right_opens_its_part_of_the_start_page(
    staff: Callable[..., Client], world: factories.World, settings: Any, right: str, words: set[str]
) -> None:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    parts = {
        "Messages and failures", "Time to answer, by agent", "received today", "Alerts are off.", "Acme app",
        "OpenClaw at home", "Needs attention", "What each process did",
    }  # fmt: skip
    client = staff(right)
    pages = "".join(client.get(address).content.decode() for address in ("/admin/", NUMBERS, SIDES))
    assert {part for part in parts if part in pages} == words
