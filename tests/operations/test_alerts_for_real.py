"""For each rule the thing itself breaks – a platform refuses, a gateway is killed, a secret is wrong – and staff get the alert and its end.

Nothing of what is wrong is written into a row; only the clock is moved where a rule waits for minutes. The alerts are read where they
arrive: in a group of the simulator, at a mail server and at a receiver of signed webhooks. Processes: tests/production/test_alerts.py.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from accounts.channels import stored_tokens
from accounts.models import AccessToken
from bridge.connector import process
from bridge.models import Message, RuleKind
from bridge.operations import incidents
from openclaw.models import Gateway
from tests.channels.harness import recorder
from tests.support import factories
from tests.support.callbacks import call, from_app
from tests.support.connecting import RunningConnector
from tests.support.factories import (
    AGENT,
    CORP,
    GROUP,
    alert_channel,
    alert_rule,
    app,
    eventually,
    route,
    shift,
    state,
    to_send,
    turn,
    work_off,
)
from tests.support.mail_server import mail_server
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

    Staff = Callable[..., "Inbox"]

pytestmark = pytest.mark.django_db(transaction=True)
ROBOT_KEY = "alerts-of-staff"


class Inbox:
    """Where the alerts of one channel arrive. read: the titles of all that have arrived."""

    def __init__(self, read: Callable[[], list[str]]) -> None:
        self.read, self.seen = read, 0

    def news(self) -> list[str]:
        """Look for what is wrong, as the clock does every 20 seconds, and return the titles that arrived since the last look."""
        incidents.update_incidents()
        titles = self.read()
        fresh, self.seen = titles[self.seen :], len(titles)
        return fresh


@pytest.fixture
def by_webhook(settings: Any) -> Iterator[Staff]:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    with recorder() as server:

        def tell(rule: RuleKind, **columns: Any) -> Inbox:
            channel = alert_channel("webhook", url=f"{server.url}/alerts")
            channel.rules.add(alert_rule(rule, **columns))
            signed = Webhook(channel.secret)
            return Inbox(lambda: [signed.verify(one.body, one.headers)["data"]["title"] for one in server.requests])

        yield tell


@pytest.fixture
def by_mail(settings: Any) -> Iterator[Staff]:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port

        def tell(rule: RuleKind, **columns: Any) -> Inbox:
            alert_channel(emails=["desk@example.com"]).rules.add(alert_rule(rule, **columns))
            return Inbox(lambda: [str(mail["Subject"]).removeprefix("[bridge] ") for _to, mail in server.mails])

        yield tell


@pytest.fixture
def by_robot(settings: Any, company: SimulatorClient) -> Staff:
    """In the group of the robot, as its members read it."""
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    company.robot(GROUP, key=ROBOT_KEY, name="Alerts")

    def tell(rule: RuleKind, **columns: Any) -> Inbox:
        channel = alert_channel("robot", url=f"{company.url}/cgi-bin/webhook/send?key={ROBOT_KEY}")
        channel.rules.add(alert_rule(rule, **columns))
        return Inbox(lambda: [entry["text"].splitlines()[0] for entry in company.transcript(GROUP)])

    return tell


def test_the_secret_of_an_account_was_renewed_in_the_console(company: SimulatorClient, by_mail: Staff) -> None:
    inbox = by_mail(RuleKind.ACCOUNT_DOWN)
    account = app(company.url)
    assert inbox.news() == []
    keys = {"token": factories.TOKEN, "aes_key": factories.KEY}
    company.app(AGENT, corpid=CORP, secret="renewed", name="助手", **keys)
    waiting = to_send(account)
    work_off()
    assert inbox.news() == ["Account Acme app is down"]
    account.refresh_from_db()
    account.credentials = {**account.credentials, "secret": "renewed"}
    account.save()

    def works_again() -> bool:
        """A process keeps what it read of an account for two seconds, the old secret too."""
        account.revive()
        work_off()
        return state(waiting) == "delivered"

    eventually(works_again, 60, pause=0.5)
    assert inbox.news() == ["Resolved: Account Acme app is down"]


@pytest.mark.usefixtures("valkey")
def test_no_connector_asks_the_agent(stub: RunningStub, by_webhook: Staff) -> None:
    inbox = by_webhook(RuleKind.BACKLOG, minutes=10)
    account = app()
    route(account, factories.gateway(stub.base_url))
    asked = turn(account)
    assert inbox.news() == []
    shift(asked, queued_at=-601)
    title = "Account Acme app: messages have been waiting for more than 10 minutes"
    assert inbox.news() == [title]
    with RunningConnector():
        eventually(lambda: state(asked) == "delivered", 60)
    assert inbox.news() == [f"Resolved: {title}"]


def test_the_platform_refuses_what_is_sent(company: SimulatorClient, by_robot: Staff) -> None:
    inbox = by_robot(RuleKind.FAILURE_RATE, minutes=10, percent=50, least_count=3)
    account = app(company.url)
    company.fault("message/send", "errcode", errcode=81013, times=3)
    refused = [to_send(account, str(number)) for number in range(3)]
    work_off()
    assert [state(one) for one in refused] == ["dead"] * 3
    assert inbox.news() == ["Account Acme app: 100 % of the deliveries fail"]
    for number in range(4):
        to_send(account, f"again {number}")
    work_off()
    assert inbox.news() == ["Resolved: Account Acme app: 100 % of the deliveries fail"]


def test_the_platform_gives_no_access_token(company: SimulatorClient, by_webhook: Staff) -> None:
    inbox = by_webhook(RuleKind.TOKEN)
    account = app(company.url)
    company.fault("gettoken", "errcode", errcode=45009, times=1)
    to_send(account)
    work_off()
    assert inbox.news() == ["Account Acme app: the access token cannot be refreshed"]
    AccessToken.objects.update(wait_until=timezone.now() - timedelta(seconds=1))
    stored_tokens(account).current()
    assert inbox.news() == ["Resolved: Account Acme app: the access token cannot be refreshed"]


def test_the_messages_of_a_day_are_nearly_used_up(company: SimulatorClient, by_robot: Staff) -> None:
    inbox = by_robot(RuleKind.QUOTA)
    account = app(company.url, seats=1)
    people = [f"person{number}" for number in range(20)]
    for person in people:
        company.member(person, person)
    for number in range(179):
        to_send(account, str(number), people[number % len(people)])
    work_off()
    assert inbox.news() == []
    to_send(account, "one more")
    work_off()
    assert inbox.news() == ["Account Acme app: a quota is nearly used up"]
    account.refresh_from_db()
    account.credentials = {**account.credentials, "seats": 2}
    account.save()
    assert inbox.news() == ["Resolved: Account Acme app: a quota is nearly used up"]


@pytest.mark.usefixtures("valkey")
def test_the_platform_calls_no_more(by_mail: Staff) -> None:
    inbox = by_mail(RuleKind.SILENCE, minutes=120)
    account = app()
    assert call(account, *from_app("hello", 1)).status == 200
    assert inbox.news() == []
    Message.objects.update(created_at=timezone.now() - timedelta(minutes=121))
    assert inbox.news() == ["Account Acme app receives nothing"]
    assert call(account, *from_app("anybody?", 2)).status == 200
    assert inbox.news() == ["Resolved: Account Acme app receives nothing"]


@contextmanager
def gateway_process(port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "openclaw.stub", "--port", str(port), "--token", "stub-token"]
    running = subprocess.Popen(command)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@pytest.mark.usefixtures("valkey")
def test_a_gateway_is_killed(by_webhook: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LEASE_SECONDS", 1.0)
    inbox, port = by_webhook(RuleKind.GATEWAY_DOWN), free_port()
    home = factories.gateway(f"http://127.0.0.1:{port}", name="Home")

    def has_state(name: str) -> bool:
        return Gateway.objects.get(pk=home.pk).state == name

    with RunningConnector():
        with gateway_process(port):
            eventually(lambda: has_state("ok"), 60)
            assert inbox.news() == []
        eventually(lambda: has_state("failing"), 60)
        assert inbox.news() == [], "a restart of the gateway alerts nobody"
        Gateway.objects.update(state_since=timezone.now() - timedelta(minutes=2))
        assert inbox.news() == ["Gateway Home is down"]
        with gateway_process(port):
            eventually(lambda: has_state("ok"), 60)
            assert inbox.news() == ["Resolved: Gateway Home is down"]
