"""The pages of incidents say whom the bridge alerted, where to go on, and what a test alert came to."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from bridge.models import Incident
from bridge.pipeline.inbound import receive, spool_drain
from bridge.runtime.spool import journal
from tests.support import factories
from tests.support.factories import said

if TYPE_CHECKING:
    from pathlib import Path

    from django.core.mail import EmailMessage
    from django.test import Client


@pytest.fixture(autouse=True)
def _no_channel(settings: object) -> None:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""  # type: ignore[attr-defined]


def page(client: Client, name: str, *args: int) -> str:
    return client.get(reverse(f"admin:{name}", args=args)).content.decode()


def press(client: Client) -> list[str]:
    answer = client.post(reverse("admin:bridge_incident_test_alert"), {"back": "/admin/"})
    assert answer["Location"] == "/admin/"
    return [str(message) for message in get_messages(answer.wsgi_request)]


def test_pages_say_that_alerts_are_off(boss: Client, world: factories.World) -> None:
    pages = [("index",), ("bridge_incident_changelist",), ("bridge_incident_change", world.incident.pk)]
    for name, *args in pages:
        shown = page(boss, name, *args)
        assert "Alerts are off." in shown, name
        assert "Send a test alert" not in shown, name
        assert not re.search("staff (are|is) (told|alerted)", shown, re.IGNORECASE), name


def test_pages_name_the_channels_that_are_set(boss: Client, settings: object) -> None:
    settings.ALERT_EMAIL = ["boss@example.com"]  # type: ignore[attr-defined]
    shown = page(boss, "index")
    assert "Alerts are off." not in shown
    assert "Staff are alerted by: ALERT_EMAIL." in shown
    assert "Send a test alert" in shown


def test_staff_told_is_claimed_only_where_it_is_true(boss: Client, world: factories.World) -> None:
    url = ("bridge_incident_change", factories.incident().pk)
    assert "Nobody was told." in page(boss, *url)
    Incident.objects.update(notified_at=timezone.now())
    assert re.search(r"An alert was sent <time", page(boss, *url))


def test_a_test_alert_says_what_each_channel_did(
    boss: Client, settings: object, mailoutbox: list[EmailMessage]
) -> None:
    assert press(boss) == ["Nothing was sent: there is no channel for alerts."]
    settings.ALERT_EMAIL = ["boss@example.com"]  # type: ignore[attr-defined]
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/robot-secret"  # type: ignore[attr-defined]
    _before, mailed, refused = press(boss)
    assert mailed == "The test alert by ALERT_EMAIL was accepted. Look whether it has arrived."
    assert refused.startswith("The test alert by ALERT_WEBHOOK_URL was not accepted: No connection")
    assert "robot-secret" not in refused
    assert len(mailoutbox) == 1


ABOUT = {
    "account_down": "app", "gateway_down": "gateway", "gateway_takes_no_turns": "gateway", "account_failures": "app",
    "gateway_failures": "gateway", "uncertain": "app", "webhook_failures": "webhook", "webhook_disabled": "webhook",
    "webhook_failing": "webhook", "quota_low": "app", "stuck": "", "spooled": "", "spool_unreadable": "",
}  # fmt: skip
COLUMNS = {"app": "account", "gateway": "gateway", "webhook": "endpoint"}


@pytest.mark.parametrize("code", ABOUT)
def test_an_incident_leads_on(boss: Client, world: factories.World, code: str) -> None:
    about = {COLUMNS[name]: getattr(world, name) for name in [ABOUT[code]] if name}
    world.incident.delete()
    incident = factories.incident("cause-of-it", code, **about)
    shown = page(boss, "bridge_incident_change", incident.pk)
    assert incident.cause not in re.sub(r'(href|value|action)="[^"]*"', "", shown)
    links = [link.replace("&amp;", "&") for link in re.findall(r'class="b-button[^"]*" href="([^"]+)"', shown)]
    assert links
    for link in links:
        assert boss.get(link).status_code == 200, link


@pytest.mark.usefixtures("valkey")
def test_callbacks_that_no_key_opens_are_counted_with_their_cure(
    boss: Client, world: factories.World, settings: Any, tmp_path: Path
) -> None:
    settings.SPOOL_DIR, ours = str(tmp_path), settings.FIELD_KEYS
    journal.append([receive.build_row(world.app, said(text)) for text in ("one", "two")])
    settings.FIELD_KEYS = [base64.b64encode(bytes(32)).decode()]
    assert spool_drain.drain() == 0
    settings.FIELD_KEYS = ours
    shown = page(boss, "index")
    assert 'id="on-disk"' in shown
    assert "2 callbacks on disk cannot be read" in shown
    assert "Put the removed key back at the end of FIELD_KEYS and restart" in shown
