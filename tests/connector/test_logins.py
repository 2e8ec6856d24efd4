"""Accounts that somebody logs in: what the connector stores of the login, and that it comes and goes with it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts import logins
from accounts.health import Health
from accounts.models import ChannelAccount, Connection
from bridge.connector import leases, states
from bridge.models import Incident, State
from bridge.operations import incidents, probe
from channels_wechat import KINDS
from channels_wechat.contract.connection import ConnectionState
from tests.support.connecting import RunningConnector
from tests.support.factories import account, alert_rule, eventually, gateway, route, row, shift, to_send
from tests.support.fake_phone import KIND, FakePhone

if TYPE_CHECKING:
    from django.core.mail import EmailMessage

    from tests.support.fake_connection import FakePlatform

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> ChannelAccount:
    monkeypatch.setitem(KINDS, KIND, f"{FakePhone.__module__}.FakePhone")
    made = account(KIND, {"phone": "shop", "token": "CANARY-token"})
    route(made, gateway(enabled=False))
    return made


def held(phone: ChannelAccount) -> Connection:
    return Connection.objects.select_related("account").get(account=phone)


def health(phone: ChannelAccount) -> tuple[str, str]:
    fresh = ChannelAccount.objects.get(pk=phone.pk)
    return fresh.state, fresh.state_code


def standing(phone: ChannelAccount) -> tuple[str, str]:
    """The connection's state, and the code to scan."""
    found = Connection.objects.filter(account=phone).first()
    return (found.state, found.login_code) if found else ("", "")


def subscribed(platform: FakePlatform) -> None:
    eventually(lambda: platform.line is not None and platform.subscribed)


def test_a_login_from_the_first_code_to_the_second(phone: ChannelAccount, platform: FakePlatform) -> None:
    delivery = to_send(phone, "hello", "ann")
    with RunningConnector():
        subscribed(platform)
        platform.tell(type="login", code="one")
        eventually(lambda: standing(phone) == ("needs_login", "one"))
        assert health(phone) == (Health.NEW, "")
        platform.tell(type="login", code="two")
        eventually(lambda: standing(phone) == ("needs_login", "two"))
        platform.tell(type="login", code="two", scanned=True)
        eventually(lambda: standing(phone)[0] == "scanned")
        assert row(delivery).state == State.PENDING
        platform.tell(type="logged_in", id="wxid_ann", name="Ann")
        eventually(lambda: row(delivery).state == State.DELIVERED)
        assert (standing(phone), health(phone)) == (("connected", ""), (Health.OK, ""))
        assert (held(phone).own_id, held(phone).own_name) == ("wxid_ann", "Ann")
        platform.tell(type="login", code="three")
        eventually(lambda: health(phone) == (Health.FAILING, "needs_login"))
        waiting = to_send(phone, "again", "ann")
        platform.tell(type="logged_in", id="wxid_ann", name="Ann")
        eventually(lambda: row(waiting).state == State.DELIVERED)
        assert health(phone) == (Health.OK, "")


def test_the_code_is_stored_encrypted_and_named_nowhere_else(
    phone: ChannelAccount, platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import connection

    with RunningConnector():
        subscribed(platform)
        platform.tell(type="login", code="CANARY-code")
        eventually(lambda: standing(phone)[1] == "CANARY-code")
    with connection.cursor() as cursor:
        cursor.execute("SELECT login_code FROM accounts_connection WHERE account_id = %s", [phone.pk])
        assert "CANARY-code" not in cursor.fetchone()[0]
    assert "CANARY-code" not in caplog.text


def test_a_name_that_no_database_stores_keeps_nobody_from_logging_in(phone: ChannelAccount) -> None:
    (connection,) = leases.acquire("first")
    states.store_identity(connection, "wxid\0ann", "Ann\0\ud83d")
    assert (held(phone).own_id, held(phone).own_name) == ("wxid\ufffdann", "Ann\ufffd\ufffd")


def test_a_new_account_alerts_nobody_and_a_lost_login_does(
    phone: ChannelAccount, settings: object, mailoutbox: list[EmailMessage]
) -> None:
    settings.ALERT_EMAIL = ["boss@example.com"]  # type: ignore[attr-defined]
    alert_rule("account_down")  # a test that commits leaves none of the rules that the migration made
    (connection,) = leases.acquire("first")
    long_ago = timezone.now() - timedelta(minutes=5)

    def look() -> list[str]:
        ChannelAccount.objects.update(state_since=long_ago)
        incidents.update_incidents()
        return [mail.subject for mail in mailoutbox]

    states.store_account_state(connection, Health.FAILING, "connect")  # the platform could not be reached at first
    states.store_login(connection, "one", scanned=False)
    delivery = to_send(phone, "hello", "ann")
    shift(delivery, due_at=-600)
    assert look() == []
    states.store_identity(connection, "wxid_ann", "Ann")
    states.store_opened(connection, keeps_history=True)
    states.store_login(connection, "two", scanned=False)
    assert look() == ["[bridge] Account fakephone is down"]
    body = mailoutbox[0].body
    assert "somebody has to scan the QR code" in body
    assert f"https://bridge.example/admin/accounts/channelaccount/{phone.pk}/change/" in body
    assert Incident.objects.count() == 1
    states.store_opened(connection, keeps_history=True)
    shift(delivery, due_at=0)
    assert look()[1:] == ["[bridge] Resolved: Account fakephone is down"]


def test_who_was_logged_out_by_staff_alerts_nobody(phone: ChannelAccount) -> None:
    (connection,) = leases.acquire("first")
    states.store_identity(connection, "wxid_ann", "Ann")
    states.store_opened(connection, keeps_history=True)
    logins.note_logged_out(phone)
    states.store_login(connection, "two", scanned=False)
    assert health(phone) == (Health.NEW, "")


def test_neither_a_probe_nor_a_late_success_makes_it_work(phone: ChannelAccount) -> None:
    """Its platform answers; only nobody is logged in."""
    (connection,) = leases.acquire("first")
    states.store_identity(connection, "wxid_ann", "Ann")
    states.store_login(connection, "one", scanned=False)
    assert health(phone) == (Health.FAILING, "needs_login")
    ChannelAccount.objects.update(next_try_at=timezone.now() - timedelta(hours=1))
    assert probe.probe_failing() == 0
    assert not ChannelAccount.objects.get(pk=phone.pk).set_state(Health.OK)
    assert health(phone) == (Health.FAILING, "needs_login")
    states.store_opened(connection, keeps_history=True)
    assert health(phone) == (Health.OK, "")


def test_who_holds_it_next_shows_no_code_of_the_one_before(phone: ChannelAccount, platform: FakePlatform) -> None:
    (lost,) = leases.acquire("lost")
    states.store_login(lost, "stale", scanned=False)
    Connection.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    with RunningConnector():
        eventually(lambda: standing(phone) == (ConnectionState.CONNECTING, ""))


def test_a_login_of_a_lost_holder_changes_nothing(phone: ChannelAccount) -> None:
    (late,) = leases.acquire("first")
    Connection.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    (now,) = leases.acquire("second")
    states.store_identity(now, "wxid_ann", "Ann")
    states.store_opened(now, keeps_history=True)
    states.store_login(late, "code", scanned=False)
    states.store_login(late, "code", scanned=True)
    states.store_identity(late, "wxid_other", "Other")
    states.forget_left_state(late)
    assert (standing(phone), health(phone)) == (("connected", ""), (Health.OK, ""))
    assert (held(phone).own_id, held(phone).own_name) == ("wxid_ann", "Ann")
