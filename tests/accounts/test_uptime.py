"""The history of states is written with the state, and uptime is counted from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from accounts.state_changes import StateChange
from accounts.uptime import list_spans, read_uptime, read_uptimes, share_up, shares_by_day
from openclaw.models import Gateway
from tests.support import factories

if TYPE_CHECKING:
    from accounts.health import HealthMixin

pytestmark = pytest.mark.django_db


def history() -> list[tuple[str, str, str]]:
    return list(StateChange.objects.order_by("id").values_list("before", "state", "code"))


def hours_ago(hours: float) -> datetime:
    return timezone.now() - timedelta(hours=hours)


def lived(row: HealthMixin, *changes: tuple[float, str, str]) -> None:
    """changes: how many hours ago, from which state, to which. The row is old."""
    type(row).objects.filter(pk=row.pk).update(created_at=hours_ago(24 * 90), state=changes[-1][2])  # type: ignore[attr-defined]
    for hours, before, state in changes:
        row.state_changes.create(at=hours_ago(hours), before=before, state=state)  # type: ignore[attr-defined]
    row.refresh_from_db()


def test_each_change_of_state_is_stored_once_and_a_new_reason_is_none() -> None:
    account = factories.app()
    account.set_state(Health.OK)
    account.set_state(Health.OK)
    account.set_state(Health.FAILING, "timeout")
    account.set_state(Health.FAILING, "http_502")
    account.set_state(Health.STOPPED, "40001")
    account.set_state(Health.OK)
    account.revive()
    assert history() == [
        ("new", "ok", ""), ("ok", "failing", "timeout"), ("failing", "stopped", "40001"), ("stopped", "new", ""),
    ]  # fmt: skip
    account.refresh_from_db()
    assert StateChange.objects.latest("id").at == account.state_since
    assert {row.account for row in StateChange.objects.all()} == {account}


def test_a_gateway_has_a_history_too_and_who_lost_it_writes_none() -> None:
    gateway = factories.gateway()
    gateway.set_state(Health.OK)
    assert not gateway.set_state(
        Health.FAILING, "down", rows=Gateway.objects.filter(pk=gateway.pk, connection__fence=7)
    )
    assert [(row.gateway, row.state) for row in StateChange.objects.all()] == [(gateway, "ok")]


def test_state_and_history_are_written_together() -> None:
    account = factories.app()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_statechange ADD CONSTRAINT none CHECK (state <> 'failing') NOT VALID")
    account.set_state(Health.OK)
    with pytest.raises(DatabaseError), transaction.atomic():
        account.set_state(Health.FAILING, "timeout")
    account.refresh_from_db()
    assert (account.state, len(history())) == ("ok", 1)


def test_what_changes_nothing_costs_one_query() -> None:
    account = factories.app()
    account.set_state(Health.OK)
    with CaptureQueriesContext(connection) as caught:
        account.set_state(Health.OK)
    assert len(caught) == 1


def test_uptime_is_the_share_of_the_time_in_which_it_worked() -> None:
    account = factories.app()
    lived(
        account,
        (100, "ok", "failing"),
        (99, "failing", "ok"),
        (24, "ok", "stopped"),
        (12, "stopped", "new"),
        (6, "new", "ok"),
    )
    spans = read_uptime(account)
    assert [span.state for span in spans] == ["ok", "new", "stopped", "ok", "failing", "ok"]
    week = share_up(spans, hours_ago(7 * 24))
    assert week == pytest.approx((6 + 75 + 68) / (6 + 12 + 75 + 1 + 68), abs=1e-4)
    assert share_up(spans, hours_ago(6)) == 1.0
    assert share_up(spans, hours_ago(12), hours_ago(7)) is None


def test_without_a_history_only_the_state_that_lasts_is_known() -> None:
    account = factories.app(columns={"state": Health.OK, "state_since": hours_ago(5)})
    ChannelAccount.objects.filter(pk=account.pk).update(created_at=hours_ago(1000))
    account.refresh_from_db()
    (span,) = read_uptime(account)
    assert (span.state, round((span.until - span.since).total_seconds() / 3600, 3)) == ("ok", 5.0)
    new = factories.bot()
    assert share_up(list_spans(new, [], hours_ago(10)), hours_ago(10)) is None


def test_days_are_those_of_the_site_today_last() -> None:
    account = factories.app()
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    ChannelAccount.objects.update(created_at=today - timedelta(days=60), state="ok")
    account.refresh_from_db()
    for at, before, state in ((36, "ok", "stopped"), (30, "stopped", "ok")):
        account.state_changes.create(at=today - timedelta(hours=at), before=before, state=state)
    days = shares_by_day(read_uptime(account))
    assert len(days) == 30
    assert days[-1][0] == today
    # From noon of the day before yesterday to six in the evening.
    assert [share for _day, share in days[-4:-1]] == [1.0, pytest.approx(0.75), 1.0]


def test_all_uptimes_take_one_query_and_are_those_of_each() -> None:
    account, gateway, other = factories.app(), factories.gateway(), factories.bot()
    lived(account, (50, "ok", "failing"), (10, "failing", "ok"))
    lived(gateway, (50, "ok", "stopped"))
    with CaptureQueriesContext(connection) as caught:
        found = read_uptimes([account, gateway, other])
    assert len(caught) == 1
    since = hours_ago(100)
    assert [share_up(found[row], since) for row in (account, gateway, other)] == [
        pytest.approx(share_up(read_uptime(row), since), abs=1e-4) if share_up(read_uptime(row), since) else None
        for row in (account, gateway, other)
    ]
