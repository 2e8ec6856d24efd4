"""Incidents by script: what is wrong, who knows of it, for how long it is muted, and who deals with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from tests.api.conftest import user_with
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client

    from bridge.models import Incident

PATH = "/api/v1/incidents/"
BECAUSE = {"code": "40001", "params": {"detail": "their own words"}, "target": "channel", "kind": "wecom_app"}


@pytest.fixture
def trouble() -> Incident:
    app = factories.app()
    params = {"name": app.name, "because": BECAUSE}
    return factories.incident(f"account:{app.pk}", "account_down", code_params=params, account=app, severity=3)


def listed(client: Client, **filters: Any) -> list[int]:
    return [row["id"] for row in client.get(PATH, filters).json()["results"]]


def test_they_are_listed_and_filtered(boss: Client, trouble: Incident) -> None:
    over = factories.incident("y", closed_at=timezone.now(), muted_to_end=True)
    assert listed(boss) == [over.pk, trouble.pk]
    for name, value in (("active", "true"), ("severity", 3), ("account", trouble.account_id), ("code", "account_down")):
        assert listed(boss, **{name: value}) == [trouble.pk]
    assert listed(boss, muted="true") == []
    assert listed(boss, acknowledged="true") == []
    assert listed(boss, owner="nobody") == []
    assert boss.get(PATH, {"severity": 9}).status_code == 400


def test_it_says_why_to_those_who_may_read(boss: Client, viewer: Client, trouble: Incident) -> None:
    row = boss.get(f"{PATH}{trouble.pk}/").json()
    assert (row["title"], "Secret" in row["detail"]) == ("Account Acme app is down", True)
    hidden = viewer.get(f"{PATH}{trouble.pk}/").json()
    assert (hidden["title"], hidden["detail"], hidden["error"]) == (row["title"], None, None)


def test_each_action_is_stored_with_one_line_in_the_audit_log(operator: Client, trouble: Incident) -> None:
    colleague = user_with("Viewers")
    LogEntry.objects.all().delete()
    assert operator.post(f"{PATH}{trouble.pk}/acknowledge/").json()["acknowledged_by"] == "Operators-user"
    given = {"owner": colleague.username}
    assert operator.post(f"{PATH}{trouble.pk}/assign/", given, "application/json").json()["owner"] == colleague.username
    assert operator.post(f"{PATH}{trouble.pk}/mute/", {"how_long": "end"}, "application/json").json()["muted"]
    assert listed(operator, muted="true", owner=colleague.username, acknowledged="true") == [trouble.pk]
    lines = LogEntry.objects.filter(actor__username="Operators-user")
    assert (lines.count(), LogEntry.objects.count()) == (3, 3)


@pytest.mark.parametrize(
    ("action", "body"), [("acknowledge", None), ("mute", {"how_long": "1h"}), ("assign", {"owner": None})]
)
def test_what_is_resolved_is_left_as_it_was(operator: Client, trouble: Incident, action: str, body: Any) -> None:
    type(trouble).objects.update(closed_at=timezone.now())
    sent = {"data": body, "content_type": "application/json"} if body else {}
    answer = operator.post(f"{PATH}{trouble.pk}/{action}/", **sent)
    assert (answer.status_code, answer.json()["code"]) == (409, "is_resolved")
    assert not LogEntry.objects.filter(actor__username="Operators-user").exists()


@pytest.mark.parametrize(
    ("action", "body"), [("mute", {"how_long": "for ever"}), ("assign", {"owner": "stranger"}), ("assign", {})]
)
def test_what_is_not_understood_changes_nothing(operator: Client, trouble: Incident, action: str, body: Any) -> None:
    answer = operator.post(f"{PATH}{trouble.pk}/{action}/", body, "application/json")
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["how_long" if action == "mute" else "owner"])
    trouble.refresh_from_db()
    assert (trouble.owner, trouble.muted_to_end) == (None, False)
