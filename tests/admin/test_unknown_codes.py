"""Codes that no table explains are collected by code and kind of account, from the incidents in which they were met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from bridge.models import Reason
from bridge.operations import incidents
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from bridge.models import Delivery

PAGE = "/admin/unknown-codes/"


def rows(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(PAGE).context["rows"]
    return found


@pytest.fixture
def failed(db: None) -> list[Delivery]:
    """Two failures at one app and one at another with a code of no table, one with a code that a table explains."""
    first = factories.app()
    codes = ["987654", "987654", "81013"]
    sent = [factories.to_send(first, f"hello {number}") for number in range(3)]
    for delivery, code in zip(sent, codes, strict=True):
        factories.shift(
            delivery,
            state="dead",
            reason=Reason.PERMANENT,
            code=code,
            code_params={"detail": "odd words"},
            finished_at=0,
        )
    incidents.update_incidents()
    return sent


def test_a_code_of_no_table_is_listed_with_what_the_platform_said(boss: Client, failed: list[Delivery]) -> None:
    (row,) = rows(boss)
    assert (row["one"].code, row["one"].kind, row["one"].total) == ("987654", "wecom_app", 2)
    assert row["one"].words == "odd words"
    page = boss.get(PAGE).content.decode()
    assert "odd words" in page
    shown = boss.get(row["deliveries"]).context["cl"].result_list
    assert {delivery.pk for delivery in shown} == {failed[0].pk, failed[1].pk}
    assert boss.get(row["incident"]).status_code == 200


def test_it_stays_when_the_failures_are_dismissed(boss: Client, failed: list[Delivery]) -> None:
    for delivery in failed:
        factories.shift(delivery, dismissed_at=0)
    incidents.update_incidents()
    assert [row["one"].code for row in rows(boss)] == ["987654"]


def test_an_account_that_an_unknown_code_stopped_is_listed_too(boss: Client, db: None) -> None:
    because = {"code": "987655", "params": {}, "target": "channel", "kind": "official_account"}
    factories.incident("account:1", "account_down", code_params={"name": "It", "because": because})
    (row,) = rows(boss)
    assert (row["one"].code, row["one"].kind, row["deliveries"]) == ("987655", "official_account", "")


def test_what_the_platform_said_is_hidden_from_those_who_may_not_read_messages(
    staff: Callable[..., Client], failed: list[Delivery]
) -> None:
    page = staff("bridge.view_incident").get(PAGE).content.decode()
    assert "987654" in page
    assert "odd words" not in page


def test_the_list_of_incidents_leads_there(boss: Client, db: None) -> None:
    assert reverse("unknown_codes") in boss.get(reverse("admin:bridge_incident_changelist")).content.decode()
    assert rows(boss) == []


def test_it_takes_the_right_to_see_incidents(staff: Callable[..., Client]) -> None:
    assert staff("bridge.view_delivery").get(PAGE).status_code == 403
