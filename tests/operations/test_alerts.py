"""Somebody is told when something is wrong: once, and again when it is over."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import AlertChannel, Incident, Reason
from bridge.operations import alerts, incidents
from bridge.operations.alerts import channels, sending
from tests.support import factories
from tests.support.factories import app, bot, claimed, endpoint, gateway, route, shift, to_send, turn

if TYPE_CHECKING:
    import redis
    from django.core.mail import EmailMessage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _told_by_mail(settings: object) -> None:
    settings.ALERT_EMAIL = ["boss@example.com"]  # type: ignore[attr-defined]


def causes() -> set[str]:
    return set(Incident.objects.filter(closed_at=None).values_list("cause", flat=True))


def test_told_once_and_again_when_it_is_over(mailoutbox: list[EmailMessage]) -> None:
    account = app()
    account.set_state(Health.STOPPED, "40001", {"detail": "wrong secret=canary"})
    for _time in range(3):
        incidents.update_incidents()
    assert [mail.subject for mail in mailoutbox] == ["[bridge] Account Acme app is down"]
    assert mailoutbox[0].to == ["boss@example.com"]
    assert "wrong secret" in mailoutbox[0].body
    assert "https://bridge.example/admin/" in mailoutbox[0].body
    account.revive()
    for _time in range(2):
        incidents.update_incidents()
    assert [mail.subject for mail in mailoutbox[1:]] == ["[bridge] Resolved: Account Acme app is down"]
    assert ("Since " in mailoutbox[0].body, "From " in mailoutbox[1].body) == (True, True)
    assert "wrong secret" not in mailoutbox[1].body
    incident = Incident.objects.get()
    assert incident.closed_at
    assert incident.resolved_notified_at


def test_a_hiccup_is_no_incident() -> None:
    account, home = app(), gateway()
    account.set_state(Health.FAILING, "", {"text": "busy"})
    home.set_state(Health.FAILING, "unreachable", {"detail": "nobody there"})
    incidents.update_incidents()
    assert causes() == set()
    for seconds, found in ((110, set()), (125, {f"account:{account.pk}", f"gateway:{home.pk}"})):
        for row in (account, home):
            type(row).objects.update(state_since=timezone.now() - timedelta(seconds=seconds))
            # What the platform says differs with each call, because it names the call.
            row.set_state(Health.FAILING, "-1", {"detail": f"system error rid: {seconds}"})
        incidents.update_incidents()
        assert causes() == found


def test_what_is_switched_off_is_nobodys_trouble() -> None:
    app(columns={"state": Health.STOPPED, "enabled": False})
    gateway(state=Health.STOPPED, enabled=False)
    incidents.update_incidents()
    assert causes() == set()


@pytest.mark.parametrize("deleted", [False, True])
def test_what_staff_disable_or_delete_is_not_told_as_resolved(mailoutbox: list[EmailMessage], deleted: bool) -> None:
    down, mended, away = app(), app(agent_id=7, columns={"name": "Mended"}), gateway(name="Home")
    hook = endpoint(name="Desk", enabled=False, disabled_code="http_410")
    for row in (down, mended, away):
        row.set_state(Health.STOPPED, "40001")
    incidents.update_incidents()
    assert mailoutbox[0].subject == "[bridge] 4 problems"
    mended.revive()
    for row in (down, away, hook):
        if deleted:
            row.delete()
        else:
            type(row).objects.filter(pk=row.pk).update(enabled=False)
    type(hook).objects.update(disabled_code="")
    incidents.update_incidents()
    assert mailoutbox[1].subject == "[bridge] 1 problem resolved, 3 problems no longer watched"
    told = {line for line in mailoutbox[1].body.splitlines() if ": " in line}
    assert told == {
        "No longer watched: Account Acme app is down",
        "Resolved: Account Mended is down",
        "No longer watched: Gateway Home is down",
        "No longer watched: Webhook Desk was disabled",
    }


def test_failures_with_one_cause_are_one_incident(mailoutbox: list[EmailMessage]) -> None:
    first, second = app(), bot()
    failed = [to_send(first, str(number)) for number in range(3)]
    for delivery in failed:
        shift(delivery, state="dead", reason=Reason.PERMANENT, finished_at=0)
    incidents.update_incidents()
    assert causes() == {f"dead:account:{first.pk}:permanent:"}
    assert "Failed deliveries: 3." in mailoutbox[0].body
    unclear = to_send(second_app := app(agent_id=7))
    shift(unclear, state="uncertain", reason=Reason.UNKNOWN, finished_at=0)
    incidents.update_incidents()
    unclear_cause = f"uncertain:account:{second_app.pk}:unknown:"
    assert causes() == {f"dead:account:{first.pk}:permanent:", unclear_cause}
    shift(unclear, dismissed_at=0)
    assert "+00:00" not in mailoutbox[0].body
    for delivery in failed:
        shift(delivery, dismissed_at=0)
    incidents.update_incidents()
    assert causes() == set()
    assert second


def test_work_that_nobody_does() -> None:
    account = app()
    route(account)
    sent, asked = to_send(account), turn(account)
    shift(sent, due_at=-290)
    incidents.update_incidents()
    assert causes() == set()
    shift(sent, due_at=-301)
    shift(asked, due_at=-301)
    incidents.update_incidents()
    assert causes() == {"stuck"}


@pytest.mark.parametrize(
    ("side", "columns"),
    [
        ("account", {"state": "stopped"}),
        ("account", {"enabled": False}),
        ("gateway", {"state": "stopped"}),
        ("gateway", {"state": "failing"}),
        ("gateway", {"enabled": False}),
    ],
)
def test_work_that_waits_for_staff_is_told_as_that(side: str, columns: dict) -> None:
    account = app()
    mine = route(account)
    waiting = to_send(account) if side == "account" else turn(account)
    shift(waiting, due_at=-301)
    type(account if side == "account" else mine.gateway).objects.update(**columns)
    incidents.update_incidents()
    assert "stuck" not in causes()


def test_what_waits_behind_something_long_is_not_stuck() -> None:
    """A turn of ten minutes, or a limit of the platform, holds back its own lane; worker and connector are well."""
    account = app()
    route(account)
    running, behind = turn(account, "1"), turn(account, "2")
    claimed(running)
    limited, second = to_send(account, "1"), to_send(account, "2")
    shift(limited, due_at=60)
    for delivery in (behind, second):
        shift(delivery, due_at=-400)
    incidents.update_incidents()
    assert causes() == set()


def test_a_mail_that_cannot_be_sent_is_sent_later(settings: object, mailoutbox: list[EmailMessage]) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"  # type: ignore[attr-defined]
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # type: ignore[attr-defined]
    app(columns={"state": Health.STOPPED})
    incidents.update_incidents()
    incident = Incident.objects.get()
    assert incident.notified_at is None
    assert incident.error
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"  # type: ignore[attr-defined]
    AlertChannel.objects.update(next_try_at=None)
    incidents.update_incidents()
    incident.refresh_from_db()
    assert incident.notified_at
    assert (incident.error, len(mailoutbox)) == ("", 1)


def test_over_before_anybody_was_told(mailoutbox: list[EmailMessage]) -> None:
    """One message says both."""
    channels.add_environment_channels()
    factories.incident("x", "It", closed_at=timezone.now())
    for _time in range(3):
        incidents.update_incidents()
    assert [mail.subject for mail in mailoutbox] == ["[bridge] Resolved: It"]
    assert "From " in mailoutbox[0].body


def test_the_sweep_leaves_a_mark(valkey: redis.Redis) -> None:
    incidents.record_sweep()
    assert float(valkey.get("swept")) > 0


def test_nobody_was_told_where_no_channel_is_set(settings: object) -> None:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""  # type: ignore[attr-defined]
    account = app(columns={"state": Health.STOPPED})
    incidents.update_incidents()
    assert causes() == {f"account:{account.pk}", "alerts_off"}
    account.revive()
    incidents.update_incidents()
    assert causes() == {"alerts_off"}
    assert not Incident.objects.exclude(notified_at=None, resolved_notified_at=None).exists()


def test_nobody_is_told_that_alerts_were_off(settings: object, mailoutbox: list[EmailMessage]) -> None:
    settings.ALERT_EMAIL = []  # type: ignore[attr-defined]
    incidents.update_incidents()
    assert causes() == {"alerts_off"}
    settings.ALERT_EMAIL = ["boss@example.com"]  # type: ignore[attr-defined]
    incidents.update_incidents()
    assert not Incident.objects.exists()
    assert mailoutbox == []


def test_a_channel_that_is_set_later_is_not_flooded_with_what_was_over_long_ago(
    settings: object, mailoutbox: list[EmailMessage]
) -> None:
    past = timezone.now() - timedelta(days=2)
    factories.incident("x", "Old", opened_at=past, closed_at=past)
    factories.incident("y", "Going on", opened_at=past)
    alerts.send_alerts()
    assert [mail.subject for mail in mailoutbox] == ["[bridge] Going on"]


def test_a_name_with_a_line_break_does_not_stop_the_alert(mailoutbox: list[EmailMessage]) -> None:
    ChannelAccount.objects.filter(pk=app(columns={"state": Health.STOPPED}).pk).update(name="A\nBcc: a@example.com")
    incidents.update_incidents()
    assert "\n" not in mailoutbox[0].subject


@pytest.mark.parametrize(
    "columns", [{"state": "stopped"}, {"state": "failing"}, {"enabled": False}], ids=["stopped", "failing", "off"]
)
def test_a_turn_that_waits_for_its_gateway_is_not_stuck(columns: dict) -> None:
    """Its account is well, so the gateway alone says why."""
    account = app()
    mine = route(account)
    asked = turn(account)
    shift(asked, due_at=-301)
    type(mine.gateway).objects.update(**columns)
    incidents.update_incidents()
    assert "stuck" not in causes()
    type(mine.gateway).objects.update(state="ok", enabled=True)
    incidents.update_incidents()
    assert "stuck" in causes()


def test_a_gateway_that_refuses_a_turn_again_and_again_is_told_while_the_turn_is_still_tried() -> None:
    mine = route(account := app())
    asked = turn(account)
    for tries, enabled, found in ((3, True, set()), (4, True, {f"turns:{mine.gateway.pk}"}), (4, False, set())):
        shift(asked, tries=tries)
        type(mine.gateway).objects.update(enabled=enabled)
        incidents.update_incidents()
        assert causes() == found
    assert Incident.objects.get().detail == ("Questions that are tried again and again: 1. Their pages say why.")


def test_what_waits_for_a_stopped_account_is_not_stuck() -> None:
    sent = to_send(account := app())
    shift(sent, due_at=-301)
    for columns in ({"state": "stopped"}, {"state": "ok", "enabled": False}):
        type(account).objects.update(**columns)
        incidents.update_incidents()
        assert "stuck" not in causes()


def test_a_webhook_that_staff_switched_off_is_no_trouble() -> None:
    off, gone = endpoint(enabled=False), endpoint(enabled=False, disabled_code="http_410")
    incidents.update_incidents()
    assert causes() == {f"hook:{gone.pk}"}
    assert "The webhook is gone" in Incident.objects.get().detail
    assert off.pk != gone.pk


def test_an_alert_that_cannot_be_sent_is_logged_ever_more_rarely(
    settings: object, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again with every look, three times a minute."""
    sending.failures_to_send.clear()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"  # type: ignore[attr-defined]
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # type: ignore[attr-defined]
    app(columns={"state": Health.STOPPED})
    for _time in range(9):
        incidents.update_incidents()
        AlertChannel.objects.update(next_try_at=None)
    told = [record.getMessage() for record in caplog.records if record.name == "bridge.operations.alerts.sending"]
    assert [line.startswith("an alert could not be sent: ") for line in told] == [True] * 4


@pytest.mark.parametrize(("hours", "news"), [(23, True), (25, False)])
def test_what_was_over_is_news_for_a_day(mailoutbox: list[EmailMessage], hours: int, news: bool) -> None:
    over = timezone.now() - timedelta(hours=hours)
    channels.add_environment_channels()
    AlertChannel.objects.update(created_at=over - timedelta(days=4))
    factories.incident("x", "It", opened_at=over - timedelta(days=3), closed_at=over)
    for _time in range(3):
        alerts.send_alerts()
    assert [mail.subject for mail in mailoutbox] == (["[bridge] Resolved: It"] if news else [])
