"""Alerts by each kind of channel, on the wire: grouped, retried, held back in quiet hours, and never by what is down."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from accounts.fields import Sealed
from accounts.health import Health
from bridge.models import AlertChannel, AlertDelivery, AlertMessage, Incident
from bridge.operations import alerts, incidents
from bridge.operations.alerts import channels, composing, sending
from tests.channels.harness import Reply, recorder, says
from tests.support import factories
from tests.support.factories import alert_channel, app, at_once, robot, route
from tests.support.mail_server import mail_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.mail import EmailMessage

    from tests.channels.harness import Recorder
    from tests.support.mail_server import MailServer

pytestmark = pytest.mark.django_db
KEY = "key=robot-secret"


@pytest.fixture(autouse=True)
def _no_settings(settings: Any) -> None:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""


@pytest.fixture
def server() -> Iterator[Recorder]:
    with recorder() as found:
        yield found


@pytest.fixture
def mails(settings: Any) -> Iterator[MailServer]:
    with mail_server() as found:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", found.port
        yield found


def by_robot(server: Recorder, **columns: Any) -> AlertChannel:
    return alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?{KEY}", **columns)


def said(server: Recorder) -> list[str]:
    return [request.json["text"]["content"] for request in server.requests]


def again(channel: AlertChannel) -> AlertChannel:
    """Let the pause after a failure be over."""
    AlertChannel.objects.filter(pk=channel.pk).update(next_try_at=None)
    alerts.send_alerts()
    return AlertChannel.objects.get(pk=channel.pk)


def states() -> list[tuple[str, str, str]]:
    return list(AlertDelivery.objects.order_by("pk").values_list("occasion", "state", "code"))


def test_a_mail_arrives_at_each_address_and_its_end_too(mails: MailServer) -> None:
    alert_channel(emails=["a@example.com", "b@example.com"])
    account = app(columns={"state": Health.STOPPED, "state_code": "40001"})
    incidents.update_incidents()
    account.revive()
    incidents.update_incidents()
    subjects = [(to, mail["Subject"]) for to, mail in mails.mails]
    down, over = "[bridge] Account Acme app is down", "[bridge] Resolved: Account Acme app is down"
    assert subjects == [
        ("a@example.com", down),
        ("b@example.com", down),
        ("a@example.com", over),
        ("b@example.com", over),
    ]
    assert states() == [("opened", "sent", ""), ("resolved", "sent", "")]
    incident = Incident.objects.get()
    assert None not in (incident.notified_at, incident.resolved_notified_at)


def test_an_address_that_is_refused_keeps_the_mail_from_no_other(mails: MailServer) -> None:
    mails.refused.add("gone@example.com")
    channel = alert_channel(emails=["gone@example.com", "b@example.com"])
    factories.incident()
    alerts.send_alerts()
    assert [to for to, _mail in mails.mails] == ["b@example.com"]
    message = channel.messages.get()
    assert (message.state, message.code) == ("accepted", "mail_partly")
    assert "gone@example.com" in message.error


def test_nobody_is_said_to_be_told_where_mail_only_goes_to_the_log(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    channel = alert_channel()
    factories.incident()
    alerts.send_alerts()
    assert (channel.messages.get().state, Incident.objects.get().notified_at) == ("refused", None)
    assert "EMAIL_URL" in Incident.objects.get().error


def test_a_robot_posts_it_by_its_address(server: Recorder) -> None:
    by_robot(server)
    factories.incident("spool", "spooled", code_params={"count": 2})
    alerts.send_alerts()
    assert [(request.path, request.query) for request in server.requests] == [
        ("/cgi-bin/webhook/send", {"key": "robot-secret"})
    ]
    (text,) = said(server)
    assert text.splitlines()[:2] == ["Callbacks were stored on disk", "Messages that wait for the database: 2."]
    assert "https://bridge.example/admin/bridge/incident/" in text


def test_a_robot_posts_it_by_its_account(server: Recorder) -> None:
    account = robot(server.url)
    alert_channel("robot", account=account)
    factories.incident("spool", "spooled", code_params={"count": 2})
    alerts.send_alerts()
    assert len(said(server)) == 1
    type(account).objects.update(enabled=False)
    Incident.objects.update(closed_at=timezone.now())
    alerts.send_alerts()
    assert len(said(server)) == 1
    assert AlertMessage.objects.latest("pk").code == "sending_stopped"


def test_a_webhook_is_signed_and_names_its_incidents(server: Recorder) -> None:
    channel = alert_channel("webhook", url=f"{server.url}/hook")
    incident = factories.incident("account:1", "account_down", code_params={"name": "A", "because": "x"})
    alerts.send_alerts()
    (request,) = server.requests
    body: Any = Webhook(channel.secret).verify(request.body, request.headers)
    assert body["type"] == "alert"
    (told,) = body["data"]["incidents"]
    assert (told["id"], told["state"], told["code"], told["until"]) == (incident.pk, "active", "account_down", None)
    assert told["withdrawn"] is False


def test_a_repetition_has_the_same_webhook_id(server: Recorder) -> None:
    channel = alert_channel("webhook", url=f"{server.url}/hook")
    server.will(Reply(b"", fault="reset"))
    factories.incident()
    alerts.send_alerts()
    again(channel)
    names = [request.headers["webhook-id"] for request in server.requests]
    assert len(names) == 2
    assert names[0] == names[1]


def test_what_happens_in_one_moment_is_one_message(server: Recorder) -> None:
    by_robot(server)
    for number in range(3):
        factories.incident(f"x{number}", f"Problem {number}")
    factories.incident("y", "Over", closed_at=timezone.now())
    alerts.send_alerts()
    (text,) = said(server)
    assert text.splitlines()[0] == "3 problems, 1 problem resolved"
    assert [line for line in text.splitlines() if "Problem" in line] == ["Problem 0", "Problem 1", "Problem 2"]
    assert "Resolved: Over" in text
    assert {row.message for row in AlertDelivery.objects.all()} == {AlertMessage.objects.get()}


def test_a_long_message_of_a_robot_says_how_many_are_left_out(server: Recorder) -> None:
    by_robot(server)
    for number in range(60):
        factories.incident(f"x{number}", f"Problem {number}")
    alerts.send_alerts()
    (text,) = said(server)
    assert len(text.encode()) <= 2000
    shown = text.count("\nSince ")
    assert 5 < shown < 60
    assert f"{60 - shown} more incidents: see the page. https://bridge.example/admin/bridge/incident/" in text


def test_it_is_sent_again_after_a_growing_pause(server: Recorder) -> None:
    channel = by_robot(server)
    factories.incident()
    pauses = []
    for _time in range(3):
        server.will(Reply(b"busy", 503))
        found = again(channel)
        pauses.append(round((found.next_try_at - timezone.now()).total_seconds(), -1))  # type: ignore[operator]
    assert pauses == [20, 40, 80]
    alerts.send_alerts()
    assert len(server.requests) == 3, "not before the pause is over"
    assert again(channel).next_try_at is None
    assert [message.state for message in channel.messages.order_by("pk")] == [
        "refused",
        "refused",
        "refused",
        "accepted",
    ]
    assert Incident.objects.get().error == ""


def test_what_only_staff_can_mend_is_tried_rarely_and_at_once_after_a_change(server: Recorder) -> None:
    server.will(says(93000, "invalid webhook url robot-secret"))
    channel = by_robot(server)
    factories.incident()
    found = again(channel)
    assert found.next_try_at > timezone.now() + timedelta(minutes=14)  # type: ignore[operator]
    assert "robot was removed" in Incident.objects.get().error
    assert "robot-secret" not in str(list(AlertMessage.objects.values())) + Incident.objects.get().error


def test_a_channel_that_fails_keeps_the_alert_from_no_other(server: Recorder, mailoutbox: list[EmailMessage]) -> None:
    server.will(Reply(b"no", 404))
    by_robot(server)
    alert_channel()
    factories.incident()
    alerts.send_alerts()
    incident = Incident.objects.get()
    assert (len(mailoutbox), bool(incident.notified_at), bool(incident.error)) == (1, True, True)


@pytest.mark.parametrize(("kind", "column"), [("robot", "url"), ("webhook", "url"), ("webhook", "secret")])
def test_a_channel_whose_secrets_no_key_opens_is_told_by_the_others(
    server: Recorder, mailoutbox: list[EmailMessage], kind: str, column: str
) -> None:
    channel = alert_channel(kind, url=f"{server.url}/hook?{KEY}", name="Desk")
    alert_channel()
    AlertChannel.objects.filter(pk=channel.pk).update(**{column: Sealed("v2.00000000.AAAA")})
    factories.incident("spool", "spooled", code_params={"count": 2})
    alerts.send_alerts()
    assert [mail.subject for mail in mailoutbox] == ["[bridge] Callbacks were stored on disk"]
    message = channel.messages.get()
    assert (message.state, message.code, server.requests) == ("refused", "unreadable", [])
    incidents.update_incidents()
    assert mailoutbox[1].subject == "[bridge] 1 problem, 1 problem resolved"
    assert "Alerts by Desk are not accepted" in mailoutbox[1].body
    assert "No key of FIELD_KEYS opens the stored address or secret" in mailoutbox[1].body


def test_an_incident_about_an_account_is_not_sent_by_it(server: Recorder) -> None:
    account = robot(server.url)
    by_robot(server)
    own = alert_channel("robot", account=account, name="Its own")
    factories.incident(
        f"account:{account.pk}", "account_down", account_id=account.pk, code_params={"name": "A", "because": "x"}
    )
    alerts.send_alerts()
    assert len(said(server)) == 1
    assert [(row.channel, row.code) for row in AlertDelivery.objects.filter(state="skipped")] == [(own, "own_channel")]


def test_the_address_of_an_accounts_robot_is_that_account(server: Recorder) -> None:
    account = robot(server.url, robot_key="robot-secret")
    by_robot(server)
    factories.incident(
        f"account:{account.pk}", "account_down", account_id=account.pk, code_params={"name": "A", "because": "x"}
    )
    alerts.send_alerts()
    assert server.requests == []
    assert states() == [("opened", "skipped", "own_channel")]
    assert Incident.objects.get().notified_at is None


def test_an_incident_about_the_gateway_of_an_account_is_not_sent_by_it(server: Recorder) -> None:
    account = robot(server.url)
    mine = route(account, peer_kind="group", peer_id="group")
    alert_channel("robot", account=account)
    factories.incident("gateway", "gateway_down", gateway_id=mine.gateway_id, code_params={"name": "G", "because": "x"})
    alerts.send_alerts()
    assert states() == [("opened", "skipped", "own_channel")]


def quiet_now(channel: AlertChannel, begins: int, ends: int) -> None:
    """Set quiet hours from so many hours before now until so many after."""
    now = timezone.localtime(timezone.now(), timezone.get_default_timezone())
    AlertChannel.objects.filter(pk=channel.pk).update(
        quiet_from=(now + timedelta(hours=begins)).time(), quiet_until=(now + timedelta(hours=ends)).time()
    )


def test_the_quiet_hours_end_with_one_summary(server: Recorder) -> None:
    channel = by_robot(server)
    quiet_now(channel, -3, 3)
    short = factories.incident("x", "Short")
    alerts.send_alerts()
    factories.incident("y", "Long")
    Incident.objects.filter(pk=short.pk).update(closed_at=timezone.now())
    alerts.send_alerts()
    assert server.requests == []
    quiet_now(channel, -3, -1)
    AlertDelivery.objects.update(created_at=timezone.now() - timedelta(hours=2))
    for _time in range(2):
        alerts.send_alerts()
    (text,) = said(server)
    assert text.startswith("What happened in the quiet hours from ")
    assert ("Resolved: Short" in text, "\nLong\n" in text) == (True, True)
    assert set(AlertDelivery.objects.values_list("state", flat=True)) == {"sent"}


@pytest.mark.parametrize(
    ("since", "until", "hour", "quiet"),
    [("22:00", "07:00", 23, True), ("22:00", "07:00", 6, True), ("22:00", "07:00", 7, False), ("22:00", "07:00", 21, False),
     ("12:00", "13:00", 12, True), ("12:00", "13:00", 13, False)],
)  # fmt: skip
def test_quiet_hours_may_pass_midnight(since: str, until: str, hour: int, quiet: bool) -> None:
    channel = AlertChannel(
        quiet_from=datetime.strptime(since, "%H:%M").time(), quiet_until=datetime.strptime(until, "%H:%M").time()
    )
    moment = datetime(2026, 5, 2, hour, 0, tzinfo=timezone.get_default_timezone())
    assert channels.quiet_at(channel, moment).now == quiet


def test_so_many_messages_an_hour_and_the_rest_in_one(server: Recorder) -> None:
    channel = by_robot(server, max_per_hour=2)
    for number in range(4):
        factories.incident(f"x{number}", f"Problem {number}")
        alerts.send_alerts()
    assert len(server.requests) == 2
    assert channels.next_time(channel) is not None
    AlertMessage.objects.update(created_at=timezone.now() - timedelta(minutes=61))
    alerts.send_alerts()
    assert [f"Problem {number}" in said(server)[-1] for number in range(4)] == [False, False, True, True]


def test_a_reminder_while_it_lasts(server: Recorder) -> None:
    by_robot(server)
    factories.alert_rule("other", reminder_hours=2)
    incident = factories.incident("x", "It")
    for _time in range(2):
        alerts.send_alerts()
    for _time in range(2):
        AlertDelivery.objects.filter(state="sent").update(finished_at=timezone.now() - timedelta(hours=3))
        alerts.send_alerts()
    assert [text.splitlines()[0] for text in said(server)] == ["It", "Still active: It", "Still active: It"]
    AlertDelivery.objects.filter(number=2).update(state="skipped", code="too_old", finished_at=timezone.now())
    alerts.send_alerts()
    assert len(said(server)) == 3, "not at once after one that was skipped"
    AlertDelivery.objects.update(finished_at=timezone.now() - timedelta(hours=3))
    alerts.send_alerts()
    assert said(server)[3].splitlines()[0] == "Still active: It"
    Incident.objects.filter(pk=incident.pk).update(closed_at=timezone.now())
    for _time in range(2):
        alerts.send_alerts()
    assert len(said(server)) == 5


def test_who_was_not_told_of_it_is_reminded_of_nothing(server: Recorder) -> None:
    account = robot(server.url)
    alert_channel("robot", account=account)
    factories.alert_rule("account_down", reminder_hours=1)
    about = {"account_id": account.pk, "code_params": {"name": "A", "because": "x"}}
    factories.incident(f"account:{account.pk}", "account_down", **about)
    for _time in range(2):
        alerts.send_alerts()
        AlertDelivery.objects.update(finished_at=timezone.now() - timedelta(hours=3))
    assert states() == [("opened", "skipped", "own_channel")]


def test_a_channel_gets_what_its_rules_say(server: Recorder, mailoutbox: list[EmailMessage]) -> None:
    chosen = by_robot(server)
    chosen.rules.add(factories.alert_rule("account_down"))
    alert_channel()
    factories.incident("account:1", "account_down", code_params={"name": "A", "because": "x"})
    factories.incident("spool", "spooled", code_params={"count": 1})
    alerts.send_alerts()
    assert len(said(server)) == 1
    assert ["Account A is down" in said(server)[0], "disk" in said(server)[0]] == [True, False]
    assert mailoutbox[0].subject == "[bridge] 2 problems"


def test_what_no_enabled_rule_matches_is_not_sent(server: Recorder) -> None:
    by_robot(server)
    factories.alert_rule("other", enabled=False)
    factories.incident("spool", "spooled", code_params={"count": 1})
    alerts.send_alerts()
    assert (server.requests, AlertDelivery.objects.count()) == ([], 0)


def test_a_rule_of_some_accounts_says_nothing_of_others(server: Recorder) -> None:
    by_robot(server)
    mine, other = app(), app(agent_id=7)
    factories.alert_rule("account_down").accounts.add(mine)
    for account in (mine, other):
        factories.incident(
            f"account:{account.pk}",
            "account_down",
            account_id=account.pk,
            code_params={"name": account.name, "because": "x"},
        )
    alerts.send_alerts()
    assert AlertDelivery.objects.get().incident.cause == f"account:{mine.pk}"


def test_the_text_is_in_the_language_of_the_channel(server: Recorder) -> None:
    by_robot(server, language="zh-hans")
    by_robot(server, language="en", name="English")
    factories.incident("spool", "spooled", closed_at=timezone.now(), code_params={"count": 1})
    alerts.send_alerts()
    chinese, english = said(server)
    assert "已恢复" in chinese.splitlines()[0]
    assert english.startswith("Resolved: ")


def test_a_later_channel_hears_of_what_lasts_only_where_nobody_was_told(
    server: Recorder, mailoutbox: list[Any]
) -> None:
    factories.incident("x", "Told", opened_at=timezone.now() - timedelta(days=2), notified_at=timezone.now())
    factories.incident("y", "Untold", opened_at=timezone.now() - timedelta(days=2))
    factories.incident("z", "Over", opened_at=timezone.now() - timedelta(days=2), closed_at=timezone.now())
    by_robot(server)
    alerts.send_alerts()
    assert [text.splitlines()[0] for text in said(server)] == ["Untold"]


def test_the_end_of_what_an_earlier_version_told_is_told_by_the_settings(settings: Any, mailoutbox: list[Any]) -> None:
    settings.ALERT_EMAIL = ["boss@example.com"]
    alert_channel()
    now = timezone.now()
    factories.incident("x", "It", opened_at=now - timedelta(days=2), notified_at=now - timedelta(days=2), closed_at=now)
    for _time in range(2):
        alerts.send_alerts()
    assert [(mail.subject, mail.to) for mail in mailoutbox] == [("[bridge] Resolved: It", ["boss@example.com"])]


def test_a_setting_that_is_emptied_is_no_channel_any_more(settings: Any, mailoutbox: list[Any]) -> None:
    settings.ALERT_EMAIL = ["boss@example.com"]
    assert [channel.name for channel in channels.list_active()] == ["ALERT_EMAIL"]
    settings.ALERT_EMAIL = []
    assert channels.list_active() == []
    factories.incident()
    alerts.send_alerts()
    assert mailoutbox == []


def test_a_lost_process_is_known_and_the_alert_sent_again(server: Recorder) -> None:
    channel = by_robot(server)
    incident = factories.incident()
    lost = AlertMessage.objects.create(channel=channel, title="It", text="It", target="x")
    AlertDelivery.objects.create(incident=incident, channel=channel, occasion="opened", message=lost)
    AlertChannel.objects.update(owner="lost", owner_until=timezone.now() + timedelta(minutes=1))
    alerts.send_alerts()
    assert server.requests == []
    AlertChannel.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    alerts.send_alerts()
    lost.refresh_from_db()
    assert (len(server.requests), lost.state, lost.code) == (1, "lost", "process_lost")


@pytest.mark.parametrize("accepts", [True, False])
def test_a_test_says_what_became_of_it(server: Recorder, accepts: bool) -> None:
    channel = by_robot(server, failures=3, next_try_at=timezone.now() + timedelta(hours=1))
    server.will(Reply() if accepts else Reply(b"no", 404))
    message = sending.send_test(channel)
    assert (message.state, message.is_test, bool(message.error)) == (
        "accepted" if accepts else "refused",
        True,
        not accepts,
    )
    channel.refresh_from_db()
    assert (channel.failures, channel.next_try_at is None) == ((0, True) if accepts else (3, False))
    assert said(server) == [composing.compose_test().text]


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_one_sends(server: Recorder) -> None:
    """Both look at the same moment."""
    by_robot(server)
    for kind in ("account_down", "other"):
        factories.alert_rule(kind)
    for number in range(3):
        factories.incident(f"x{number}", f"Problem {number}")

    def look() -> None:
        for _time in range(3):
            alerts.send_alerts()

    at_once(look, look)
    texts = "\n".join(said(server))
    assert [texts.count(f"Problem {number}") for number in range(3)] == [1, 1, 1]
    assert set(AlertDelivery.objects.values_list("state", flat=True)) == {"sent"}


def test_what_staff_acknowledged_or_muted_is_not_sent(server: Recorder) -> None:
    """The end of what was acknowledged is told; of what is muted nothing is."""
    channel = by_robot(server)
    known, muted = factories.incident("x", "Known"), factories.incident("y", "Muted")
    quiet_now(channel, -3, 3)
    alerts.send_alerts()
    Incident.objects.filter(pk=known.pk).update(acknowledged_at=timezone.now())
    Incident.objects.filter(pk=muted.pk).update(muted_to_end=True)
    factories.incident("z", "Known from the start", acknowledged_at=timezone.now())
    AlertChannel.objects.update(quiet_from=None, quiet_until=None)
    alerts.send_alerts()
    assert server.requests == []
    assert states() == [("opened", "skipped", "acknowledged"), ("opened", "skipped", "muted")]
    Incident.objects.update(closed_at=timezone.now())
    alerts.send_alerts()
    assert (server.requests, len(states())) == ([], 2)


@pytest.mark.parametrize("how", [{"muted_to_end": True}, {"muted_until": True}, {"acknowledged_at": True}])
def test_the_end_of_what_nobody_was_told_of_is_not_told(server: Recorder, how: dict[str, Any]) -> None:
    """Quiet hours held the alert back, somebody dealt with it, and it ended before they did."""
    channel = by_robot(server)
    quiet_now(channel, -3, 3)
    incident = factories.incident("x", "It")
    alerts.send_alerts()
    later = timezone.now() + timedelta(hours=1)
    columns = {name: True if name == "muted_to_end" else later for name in how}
    Incident.objects.filter(pk=incident.pk).update(**columns)
    for _time in range(2):
        alerts.send_alerts()
        Incident.objects.filter(pk=incident.pk).update(closed_at=timezone.now())
    AlertChannel.objects.update(quiet_from=None, quiet_until=None)
    alerts.send_alerts()
    code = "acknowledged" if "acknowledged_at" in how else "muted"
    assert (server.requests, states()) == ([], [("opened", "skipped", code), ("resolved", "skipped", code)])


def test_what_is_muted_for_an_hour_is_told_after_it_where_it_lasts(server: Recorder) -> None:
    by_robot(server)
    soon = timezone.now() + timedelta(minutes=30)
    held_back = factories.incident("x", "It")
    AlertDelivery.objects.create(incident=held_back, channel=AlertChannel.objects.get(), occasion="opened")
    factories.incident("y", "Muted from the start", muted_until=soon)
    factories.incident("z", "Over while muted", muted_until=soon, closed_at=timezone.now())
    Incident.objects.filter(pk=held_back.pk).update(muted_until=soon)
    alerts.send_alerts()
    assert server.requests == []
    Incident.objects.filter(closed_at=None).update(muted_until=timezone.now() - timedelta(seconds=1))
    alerts.send_alerts()
    (text,) = said(server)
    assert ["\nIt\n" in text, "Muted from the start" in text, "Over" in text] == [True, True, False]


def test_what_is_muted_for_a_day_while_its_alert_waits_is_told_after_it(server: Recorder) -> None:
    channel = by_robot(server)
    now = timezone.now()
    rows = {name: factories.incident(name, name, muted_until=now + timedelta(minutes=1)) for name in ("lasts", "old")}
    for incident in rows.values():
        AlertDelivery.objects.create(incident=incident, channel=channel, occasion="opened")
    AlertDelivery.objects.update(created_at=now - timedelta(hours=25))
    Incident.objects.filter(pk=rows["old"].pk).update(muted_until=None)
    alerts.send_alerts()
    assert (server.requests, states()) == ([], [("opened", "waiting", ""), ("opened", "skipped", "too_old")])
    Incident.objects.filter(pk=rows["lasts"].pk).update(muted_until=now - timedelta(seconds=1))
    alerts.send_alerts()
    assert [text.splitlines()[0] for text in said(server)] == ["lasts"]


def test_the_end_of_what_was_told_is_told_also_where_somebody_acknowledged_it(server: Recorder) -> None:
    by_robot(server)
    incident = factories.incident("x", "It")
    alerts.send_alerts()
    Incident.objects.filter(pk=incident.pk).update(acknowledged_at=timezone.now(), closed_at=timezone.now())
    alerts.send_alerts()
    assert [text.splitlines()[0] for text in said(server)] == ["It", "Resolved: It"]
