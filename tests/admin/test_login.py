"""The panel by which an account is logged in: its words for each state, who sees the code, and logging out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount, Connection
from channels_wechat import KINDS
from tests.support import factories
from tests.support.fake_connection import fake_platform
from tests.support.fake_phone import KIND, FakePhone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

    from tests.support.fake_connection import FakePlatform

CODE = "CANARY-login-code"


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with fake_platform() as running:
        yield running


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> ChannelAccount:
    monkeypatch.setitem(KINDS, KIND, f"{FakePhone.__module__}.FakePhone")
    return factories.account(KIND, {"phone": "shop", "token": "CANARY-token"})


def url(name: str, account: ChannelAccount) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=[account.pk])


def connect(account: ChannelAccount, state: str, code: str = "", *, is_held: bool = True, **columns: Any) -> None:
    until = timezone.now() + timedelta(seconds=15 if is_held else -1)
    columns = {"state": state, "login_code": code, "owner": "host:7:x", "owner_until": until, **columns}
    Connection.objects.update_or_create(account=account, defaults=columns)


def state(client: Client, account: ChannelAccount) -> dict[str, Any]:
    found: dict[str, Any] = client.get(url("login_state", account)).json()
    return found


def test_each_state_is_said_in_words(boss: Client, phone: ChannelAccount) -> None:
    assert "No connector" in state(boss, phone)["words"]
    for stored, code, held, words, draws in (
        ("needs_login", CODE, False, "No connector", False),
        ("connecting", "", True, "Connecting", False),
        ("needs_login", "", True, "Waiting for a code", False),
        ("needs_login", CODE, True, "Scan this code", True),
        ("scanned", CODE, True, "confirm the login on the phone", False),
        ("kicked", "", True, "Another connection", False),
    ):
        connect(phone, stored, code, is_held=held)
        found = state(boss, phone)
        assert (words in found["words"], "<svg" in found["picture"]) == (True, draws), (stored, found["words"])
        assert not found["is_logged_in"]
        assert found["connection"].count('id="connection"') == 1
    connect(phone, "connected", own_id="wxid_ann", own_name="Ann")
    found = state(boss, phone)
    assert (found["words"], found["picture"], found["is_logged_in"]) == ("Logged in as Ann (wxid_ann).", "", True)
    ChannelAccount.objects.update(enabled=False)
    assert "disabled" in state(boss, phone)["words"]
    ChannelAccount.objects.update(enabled=True, state=Health.STOPPED, state_code="kicked")
    found = state(boss, phone)
    assert ("stopped" in found["words"], found["reason"]) == (True, ChannelAccount.objects.get().state_reason)


def test_a_code_that_fits_into_no_picture_is_said_and_breaks_no_page(boss: Client, phone: ChannelAccount) -> None:
    connect(phone, "needs_login", "码" * 2000)
    found = state(boss, phone)
    assert ("too long" in found["words"], found["picture"]) == (True, "")
    assert "too long" in boss.get(url("change", phone)).content.decode()
    connect(phone, "needs_login", "short")  # not as one of the small codes that WeChat does not read
    assert 'viewBox="0 0 29 29"' in state(boss, phone)["picture"]


def test_the_page_draws_the_code_and_says_it_nowhere(boss: Client, phone: ChannelAccount) -> None:
    connect(phone, "needs_login", CODE)
    page = boss.get(url("change", phone))
    html = page.content.decode()
    assert "Scan this code" in html
    assert "<svg viewBox=" in html, "it can be scaled as a whole"
    assert CODE not in html + str(state(boss, phone))
    for answer in (page, boss.get(url("login_state", phone))):
        assert "no-store" in answer.headers["Cache-Control"]
    assert CODE not in boss.get(f"/api/v1/accounts/{phone.pk}/").content.decode()


def test_only_who_may_change_accounts_sees_the_code(staff: Callable[..., Client], phone: ChannelAccount) -> None:
    connect(phone, "needs_login", CODE)
    viewer = staff("accounts.view_channelaccount", "bridge.read_content")
    html = viewer.get(url("change", phone)).content.decode()
    assert "needs a login" in html
    assert "<svg" not in html.partition('id="content"')[2]
    assert 'id="login"' not in html
    assert viewer.get(url("login_state", phone)).status_code == 403
    assert viewer.get(url("log_out", phone)).status_code == 403


def test_logging_out_asks_first_and_says_what_it_does(
    boss: Client, phone: ChannelAccount, platform: FakePlatform
) -> None:
    connect(phone, "connected", own_id="wxid_ann", own_name="Ann")
    ChannelAccount.objects.update(state=Health.OK)
    platform.answers["log_out"] = [{}]
    assert url("log_out", phone) in boss.get(url("change", phone)).content.decode()
    assert "receives nothing and sends nothing" in boss.get(url("log_out", phone)).content.decode()
    assert platform.requests == []
    assert boss.post(url("log_out", phone)).headers["Location"] == url("change", phone)
    assert [asked["type"] for asked in platform.requests] == ["log_out"]
    found = ChannelAccount.objects.get()
    assert (found.state, found.connection.own_id) == (Health.NEW, "")
    assert any("Logged out" in str(entry.additional_data) for entry in LogEntry.objects.get_for_object(phone))


def test_a_logout_that_fails_is_said(boss: Client, phone: ChannelAccount, platform: FakePlatform) -> None:
    connect(phone, "connected", own_id="wxid_ann", own_name="Ann")
    platform.answers["log_out"] = [{"error": "busy"}]
    page = boss.post(url("log_out", phone), follow=True).content.decode()
    assert "could not be logged out" in page
    assert "The platform is busy." in page
    assert Connection.objects.get().own_id == "wxid_ann"


def test_an_account_without_a_login_has_no_such_pages(boss: Client) -> None:
    account = factories.app()
    assert 'id="login"' not in boss.get(url("change", account)).content.decode()
    for name in ("login_state", "log_out"):
        assert boss.get(url(name, account)).status_code == 404


def test_the_dashboard_says_what_is_to_be_done_first(boss: Client, phone: ChannelAccount) -> None:
    assert "Log fakephone in: scan the code on its page." in boss.get("/admin/").content.decode()
