"""Each row of *Needs attention* has the button that mends it; staff acknowledge, mute and take over an incident."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from bridge.admin import attention
from bridge.models import Incident, Reason, State
from bridge.operations import incidents
from tests.support import factories

if TYPE_CHECKING:
    import redis
    from django.contrib.auth.models import User
    from django.test import Client

ROWS = "/admin/bridge/incident/attention/"


def rows(client: Client) -> dict[str, Any]:
    """The rows of stored incidents, by code: where a test has Valkey and no worker, a row says that there was no sweep."""
    return {row.incident.code: row for row in client.get(ROWS).context["attention"] if row.incident.pk}


def test_one_unmapped_chat_is_mapped_from_the_row_and_several_from_its_page(boss: Client) -> None:
    account = factories.app()
    first = factories.conversation(account)
    factories.delivery(factories.message(first, "?", "1"), State.SKIPPED, Reason.NO_ROUTE)
    incidents.update_incidents()
    mend = rows(boss)["chats_unmapped"].mend
    assert mend.text == "Map this chat"
    assert boss.get(mend.url).status_code == 200
    second = factories.conversation(account, "lisi")
    factories.delivery(factories.message(second, "?", "2"), State.SKIPPED, Reason.NO_ROUTE)
    incidents.update_incidents()
    mend = rows(boss)["chats_unmapped"].mend
    shown = boss.get(mend.url).context
    assert [chat["row"].pk for chat in shown["chats"]] == [first.pk, second.pk]
    assert all(boss.get(chat["map_url"]).status_code == 200 for chat in shown["chats"])


def test_failures_lead_to_their_replay_and_their_page_shows_the_newest(boss: Client) -> None:
    sent = factories.to_send(factories.app())
    factories.shift(sent, state="dead", reason=Reason.PERMANENT, code="81013", finished_at=0)
    incidents.update_incidents()
    row = rows(boss)["account_failures"]
    plan = boss.get(row.mend.url).context["form"]
    assert row.mend.url.startswith(reverse("admin:bridge_replayrun_add"))
    assert (plan["code"].value(), plan["account"].value()) == ("81013", str(sent.account_id))
    page = boss.get(reverse("admin:bridge_incident_change", args=[row.incident.pk])).context
    assert [delivery.pk for delivery in page["examples"]] == [sent.pk]


@pytest.fixture
def trouble(db: None) -> Incident:
    return factories.incident("x", "It")


def press(client: Client, name: str, incident: Incident, **fields: str) -> None:
    answer = client.post(reverse(f"admin:bridge_incident_{name}", args=[incident.pk]), fields)
    assert answer.status_code == 302
    incident.refresh_from_db()


def test_each_action_is_stored_with_one_line_in_the_audit_log(
    boss: Client, admin_user: User, trouble: Incident
) -> None:
    LogEntry.objects.all().delete()
    press(boss, "acknowledge", trouble)
    assert (trouble.acknowledged_by, bool(trouble.acknowledged_at)) == (admin_user, True)
    press(boss, "take", trouble)
    assert trouble.owner == admin_user
    press(boss, "take", trouble)
    assert trouble.owner is None
    press(boss, "note", trouble, note="看一下")
    assert trouble.note == "看一下"
    press(boss, "mute", trouble, how_long="8h")
    assert trouble.is_muted
    assert rows(boss) == {}
    press(boss, "mute", trouble, how_long="none")
    assert not trouble.is_muted
    assert LogEntry.objects.filter(actor=admin_user).count() == 6


def test_what_is_over_can_neither_be_muted_nor_assigned(boss: Client, trouble: Incident) -> None:
    trouble.closed_at = timezone.now()
    trouble.save()
    press(boss, "mute", trouble, how_long="end")
    press(boss, "take", trouble)
    press(boss, "acknowledge", trouble)
    assert (trouble.muted_to_end, trouble.owner, trouble.acknowledged_at) == (False, None, None)


def test_a_time_that_is_not_offered_is_refused(boss: Client, trouble: Incident) -> None:
    url = reverse("admin:bridge_incident_mute", args=[trouble.pk])
    assert boss.post(url, {"how_long": "for ever"}).status_code == 400
    trouble.refresh_from_db()
    assert not trouble.is_muted


def test_what_is_silent_is_shown_once_and_not_at_all_where_it_is_muted(
    boss: Client, admin_user: User, valkey: redis.Redis
) -> None:
    def shown() -> list[str]:
        return [row.incident.code for row in boss.get(ROWS).context["attention"]]

    valkey.set("swept", time.time() - 600)
    assert shown() == ["sweep_silent"], "nobody has stored it"
    incidents.update_incidents()
    assert shown().count("sweep_silent") == 1
    incidents.mute(Incident.objects.get(cause="sweep"), incidents.Mute.END)
    assert "sweep_silent" not in shown()
    incidents.mute(Incident.objects.get(cause="sweep"), incidents.Mute.NONE)
    for number in range(attention.MAX_ROWS + 1):
        factories.incident(f"x{number}", f"Problem {number}", severity=3, opened_at=timezone.now() - timedelta(days=1))
    assert shown().count("sweep_silent") == 0, "it stands further down"
    valkey.delete("swept")
