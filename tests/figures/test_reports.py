"""Reports: their figures are those of the rows, each leads to its rows, and the file holds the same."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bridge.models import Conversation
from bridge.operations.figures.counting import count_due_periods
from bridge.operations.figures.reports import Grouping, build_report
from bridge.operations.figures.times import percentile
from tests.figures import history

if TYPE_CHECKING:
    from datetime import date

    import redis

    from bridge.operations.figures.reports import Line

pytestmark = pytest.mark.django_db
PAGE = "/admin/reports/"


@pytest.fixture
def boss(admin_user: User, valkey: redis.Redis) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def past() -> history.History:
    found = history.begin(21, days=5)
    history.go_on(found, 80)
    count_due_periods(60)
    return found


def days() -> tuple[date, date]:
    today = timezone.localdate()
    return today - timedelta(days=3), today - timedelta(days=1)


def within(at: datetime) -> bool:
    first, last = days()
    return first <= timezone.localtime(at).date() <= last


def key_of(by: str, at: datetime, chat: int | None, account: int, gateway: int | None, agent: str) -> Any:
    local = timezone.localtime(at)
    return {
        "day": (None, local.date().isoformat()), "account": (account, ""), "agent": (gateway, agent), "conversation": (chat, ""),
        "hour": (local.hour, ""),
    }[by]  # fmt: skip


def told(line: Line) -> tuple[Any, ...]:
    said = (line.messages_in, line.messages_out, line.failed, line.uncertain, line.questions, line.answers)
    return (*said, line.p50, line.p95, line.tokens_in, line.tokens_out, round(line.cost, 6))


def counted(row: dict[str, Any]) -> tuple[Any, ...]:
    times = row["answer_times"]
    said = tuple(row[name] for name in ("messages_in", "messages_out", "failed", "uncertain", "questions"))
    tokens = row["tokens_input"] + row["tokens_cache_read"] + row["tokens_cache_write"]
    more = (sum(times), percentile(times, 0.5), percentile(times, 0.95), tokens, row["tokens_output"])
    return (*said, *more, row["cost_microdollars"] / 1_000_000)


@pytest.mark.parametrize("by", Grouping.values)
def test_a_report_is_what_a_plain_count_gives(past: history.History, by: str) -> None:
    found = history.count_plainly(lambda at, *rest: (within(at), key_of(by, at, *rest)))
    expected = {key: counted(row) for (inside, key), row in found.items() if inside}
    report = build_report(*days(), Grouping(by))
    assert {(line.key, line.text): told(line) for line in report.lines} == expected
    whole = history.count_plainly(lambda at, *_rest: within(at))[True]
    assert told(report.total) == counted(whole)
    assert not report.is_cut


def test_what_lies_beyond_the_longest_list_is_said_to_be_cut(past: history.History) -> None:
    report = build_report(*days(), Grouping.CONVERSATION, 2)
    sizes = [line.messages_in + line.messages_out for line in report.lines]
    assert (len(sizes), report.is_cut) == (2, True)
    assert sizes == sorted(sizes, reverse=True)


def test_days_without_a_message_are_an_empty_report(boss: Client) -> None:
    report = build_report(*days(), Grouping.DAY)
    assert (report.lines, report.total.messages_in, report.total.p50) == ([], 0, None)
    assert "Nothing was said in these days." in boss.get(PAGE).content.decode()


@pytest.mark.parametrize("by", Grouping.values)
def test_the_page_shows_it_in_few_queries_and_each_figure_leads_to_its_rows(
    boss: Client, past: history.History, by: str
) -> None:
    first, last = days()
    with CaptureQueriesContext(connection) as caught:
        answer = boss.get(PAGE, {"first": first, "last": last, "by": by})
    assert (answer.status_code, len(caught) <= 10) == (200, True)
    for each in answer.context["lines"]:
        for name, count in (("incoming", each["line"].messages_in), ("outgoing", each["line"].messages_out)):
            if link := each.get(name):
                rows = boss.get(link).context["cl"].result_list
                assert len([row for row in rows if row.kind != "event"]) == min(count, 50)
        if page := each.get("page"):
            assert boss.get(page).status_code == 200
    assert any(each.get("incoming") or each.get("page") for each in answer.context["lines"]) == (
        by in ("day", "account", "conversation")
    )


def test_the_file_holds_the_same_and_no_formula(boss: Client, past: history.History) -> None:
    first, last = days()
    Conversation.objects.update(title="=HYPERLINK(1)")
    asked = {"first": first.isoformat(), "last": last.isoformat(), "by": "conversation"}
    answer = boss.get(PAGE, {**asked, "format": "csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert f"report-conversation-{first}-{last}.csv" in answer["Content-Disposition"]
    head, *rows = csv.reader(io.StringIO(answer.getvalue().decode("utf-8-sig")))
    assert head[:3] == ["group or person", "received", "sent"]
    lines = build_report(first, last, Grouping.CONVERSATION).lines
    assert [(row[0], int(row[1]), int(row[2])) for row in rows] == [
        ("'=HYPERLINK(1)", line.messages_in, line.messages_out) for line in lines
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"first": "2026-11-28", "last": "2026-11-27"}, {"first": "2020-01-01"}, {"first": "x"}, {"last": ""}, {"by": "colour"},
        {"by": "agent\0"},
    ],
)  # fmt: skip
def test_what_is_no_range_is_refused_with_a_sentence(boss: Client, asked: dict[str, str]) -> None:
    answer = boss.get(PAGE, asked)
    assert answer.status_code == 400
    assert "b-field-error" in answer.content.decode()


def test_it_takes_the_right_to_see_deliveries_and_titles_take_another(
    past: history.History, valkey: redis.Redis
) -> None:
    Conversation.objects.update(title="产品讨论")
    user = User.objects.create_user("reader", is_staff=True)
    client = Client()
    assert client.get(PAGE).status_code == 302
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    for codename, seen in (("view_delivery", False), ("view_conversation", True)):
        user.user_permissions.add(Permission.objects.get(codename=codename))
        page = client.get(PAGE, {"by": "conversation"}).content.decode()
        assert ("产品讨论" in page, "/bridge/conversation/" in page.partition("b-report")[2]) == (seen, seen)


def test_scripts_get_the_same(boss: Client, past: history.History) -> None:
    first, last = days()
    asked = {"first": first.isoformat(), "last": last.isoformat()}
    found = boss.get("/api/v1/stats/reports/", {**asked, "by": "agent"}).json()
    report = build_report(first, last, Grouping.AGENT)
    assert [(line["key"], line["text"], line["messages_in"], line["p95"], line["cost"]) for line in found["lines"]] == [
        (line.key, line.text, line.messages_in, line.p95, line.cost) for line in report.lines
    ]
    assert found["total"]["messages_out"] == report.total.messages_out
    assert (found["first"], found["by"], found["is_cut"]) == (first.isoformat(), "agent", False)
    week = boss.get("/api/v1/stats/reports/").json()
    assert week["first"] == (timezone.localdate() - timedelta(days=6)).isoformat()


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"first": "2026-11-28", "last": "2026-11-27"}, "last"),
        ({"first": "x"}, "first"),
        ({"by": "colour"}, "by"),
        ({"days": "7"}, "days"),
    ],
)
def test_scripts_get_a_clear_error(boss: Client, asked: dict[str, str], name: str) -> None:
    answer = boss.get("/api/v1/stats/reports/", asked)
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [name]
