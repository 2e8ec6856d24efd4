"""Every state of a scan, new codes, further people, and credentials that are renewed; the platform is a fake on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.sessions.models import Session
from django.urls import reverse

from accounts.fields import encrypt
from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.admin.accounts.scan_session import SESSION_KEY
from channels_wechat import KINDS
from tests.support import factories
from tests.support.fake_connection import fake_platform
from tests.support.fake_phone import KIND, FakePhone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

    from tests.support.fake_connection import FakePlatform

ANN = {"phone": "ann", "token": "CANARY-of-ann"}
BEN = {"phone": "ben", "token": "CANARY-of-ben"}
NAME = {"name": "Phones"}


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    monkeypatch.setitem(KINDS, KIND, f"{FakePhone.__module__}.FakePhone")
    with fake_platform() as running:
        running.answers["scan_code"] = [
            {"code": "CANARY-first", "address": "https://phone.example/CANARY-first"},
            {"code": "CANARY-second", "address": "https://phone.example/CANARY-second"},
        ]
        yield running


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=args or [KIND])


def will(platform: FakePlatform, *steps: dict[str, Any]) -> None:
    platform.answers["scan_state"] = list(steps)


def done(credentials: dict[str, str]) -> dict[str, Any]:
    return {"state": "done", "credentials": credentials}


def begin(boss: Client) -> None:
    assert boss.post(url("scan"), NAME).headers["Location"] == url("scan_code")


def look(boss: Client, **typed: str) -> dict[str, Any]:
    found: dict[str, Any] = boss.post(url("scan_state"), typed).json()
    return found


def looks(platform: FakePlatform) -> list[tuple[str, str]]:
    """The code and what was typed, of each look at the platform."""
    return [(asked["code"], asked["typed"]) for asked in platform.requests if asked["type"] == "scan_state"]


def account_of(credentials: dict[str, str], **columns: Any) -> ChannelAccount:
    return factories.account(KIND, credentials, **columns)


def token(account: ChannelAccount) -> str:
    return str(ChannelAccount.objects.get(pk=account.pk).credentials["token"])


def test_each_step_is_said_and_a_number_is_sent_once(boss: Client, platform: FakePlatform) -> None:
    begin(boss)
    will(platform, {"state": "waiting"})
    assert look(boss) == {"text": "Scan this with your phone.", "goes_on": True, "asks": False}
    will(platform, {"state": "scanned"})
    assert "confirm on the phone" in look(boss)["text"]
    assert look(boss, typed="99")["asks"] is False
    will(platform, {"state": "asks", "code": "CANARY-moved"})
    assert look(boss)["asks"]
    assert "data-asks hidden" not in boss.get(url("scan_code")).content.decode()
    assert look(boss, typed=" 42 ")["asks"]
    assert look(boss)["asks"]
    assert looks(platform)[-4:] == [
        ("CANARY-first", ""),
        ("CANARY-first", ""),
        ("CANARY-moved", "42"),
        ("CANARY-moved", ""),
    ]
    will(platform, done(ANN))
    account = look(boss)["url"]
    assert account == url("change", ChannelAccount.objects.get().pk)
    assert not ChannelAccount.objects.get().enabled, "nobody starts a risky account by accident"


def test_a_number_that_was_typed_too_soon_is_kept(
    boss: Client, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(boss)
    will(platform, {"state": "asks"})
    look(boss)
    monkeypatch.setattr(FakePhone, "scan_pause_seconds", 60.0)
    assert look(boss, typed="42")["goes_on"]
    monkeypatch.setattr(FakePhone, "scan_pause_seconds", 0.0)
    will(platform, {"error": "busy"}, {"state": "waiting"})
    for _look in range(2):
        look(boss)
    assert [typed for _code, typed in looks(platform)] == ["", "42", "42"]


@pytest.mark.parametrize("end", ["error", "time"])
def test_a_new_code_takes_one_click(
    boss: Client, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    begin(boss)
    if end == "error":
        will(platform, {"error": "expired"})
        assert "The code has expired." in look(boss)["text"]
    else:
        monkeypatch.setattr(FakePhone, "scan_seconds", -1.0)
        assert look(boss) == {"text": "The code has expired. Get a new one.", "goes_on": False}
    page = boss.get(url("scan_code")).content.decode()
    assert "The code has expired" in page
    assert "New code" in page
    assert "data-again hidden" not in page
    assert look(boss)["goes_on"] is False
    monkeypatch.setattr(FakePhone, "scan_seconds", 300.0)
    assert boss.post(url("scan_code")).headers["Location"] == url("scan_code")
    will(platform, done(ANN))
    assert look(boss)["url"]
    assert looks(platform)[-1] == ("CANARY-second", "")
    assert ChannelAccount.objects.get().name == "Phones"


def test_nothing_of_the_code_stands_anywhere(boss: Client, platform: FakePlatform) -> None:
    begin(boss)
    will(platform, {"state": "asks", "code": "CANARY-moved"})
    said = boss.get(url("scan_code")).content.decode() + str(look(boss, typed="77")) + str(look(boss, typed="77"))
    sessions = str([session.get_decoded() for session in Session.objects.all()])
    assert "CANARY" not in said + sessions


def test_somebody_whose_account_is_here_renews_it(boss: Client, platform: FakePlatform) -> None:
    account = account_of({**ANN, "token": "old"}, name="Ann", state=Health.STOPPED, sentences={"welcome": "hi"})
    before = ChannelAccount.objects.values("name", "enabled", "retention_days", "sentences").get()
    begin(boss)
    will(platform, done(ANN))
    assert look(boss)["url"] == url("change", account.pk)
    after = ChannelAccount.objects.get()
    assert (after.credentials, after.state) == (ANN, Health.NEW)
    assert ChannelAccount.objects.values("name", "enabled", "retention_days", "sentences").get() == before
    said = [entry.additional_data for entry in LogEntry.objects.get_for_object(account) if entry.additional_data]
    assert said == [{"action": "Logged in again by QR code."}]
    assert "CANARY" not in str(list(LogEntry.objects.values()))
    assert "Logged in again by QR code." in boss.get(url("change", account.pk)).content.decode()


def test_who_may_only_add_renews_nobody(staff: Callable[..., Client], platform: FakePlatform) -> None:
    account = account_of({**ANN, "token": "old"})
    client = staff("accounts.add_channelaccount", "accounts.view_channelaccount")
    begin(client)
    will(platform, done(ANN))
    assert "which you may not change" in look(client)["text"]
    assert token(account) == "old"


def test_logging_in_again_from_the_page_of_the_account(boss: Client, platform: FakePlatform) -> None:
    account = account_of({**ANN, "token": "old"})
    assert "Log in again" in boss.get(url("change", account.pk)).content.decode()
    assert boss.post(url("scan_again", account.pk)).headers["Location"] == url("scan_code")
    assert f"Log in again: {account.name}" in boss.get(url("scan_code")).content.decode()
    will(platform, done(ANN))
    assert look(boss)["url"] == url("change", account.pk)
    assert token(account) == ANN["token"]


@pytest.mark.parametrize("is_known", [True, False])
def test_somebody_else_is_refused_in_words(boss: Client, platform: FakePlatform, is_known: bool) -> None:
    account = account_of({**ANN, "token": "old"}, name="Ann's phone")
    if is_known:
        account_of({**BEN, "token": "old"}, name="Ben's phone")
    boss.post(url("scan_again", account.pk))
    will(platform, done(BEN))
    found = look(boss)
    assert ("nothing was changed" in found["text"], found["goes_on"]) == (True, False)
    assert ("Ben" in found["text"]) is is_known
    assert {each.credentials["token"] for each in ChannelAccount.objects.all()} == {"old"}


def test_another_person_is_one_click_after_the_first(boss: Client, platform: FakePlatform) -> None:
    begin(boss)
    will(platform, done(ANN))
    page = boss.get(look(boss)["url"]).content.decode()
    assert "Add another person" in page
    first = ChannelAccount.objects.get()
    assert boss.post(url("scan_another", first.pk)).headers["Location"] == url("scan_code")
    will(platform, done(BEN))
    assert look(boss)["url"]
    names = dict(ChannelAccount.objects.values_list("external_id", "name"))
    assert names == {"ann": "Phones", "ben": "Phones ben"}


@pytest.mark.parametrize("kept", ["v1.gone.AAAA", "", '{"kind": "fakephone", "of_another_version": 1}', "[]"])
def test_what_another_version_kept_in_the_session_is_begun_again(
    boss: Client, kept: str, platform: FakePlatform
) -> None:
    session = boss.session
    session[SESSION_KEY] = encrypt(kept, SESSION_KEY) if kept[:1] in ("{", "[") else kept
    session.save()
    assert boss.get(url("scan_code")).headers["Location"] == url("scan")
    assert "begin again" in look(boss)["text"]
    begin(boss)


def test_a_platform_that_gives_no_code_says_why(boss: Client, platform: FakePlatform) -> None:
    account = account_of(ANN)
    platform.answers["scan_code"] = [{"error": "busy"}]
    for name in ("scan_again", "scan_another"):
        page = boss.post(url(name, account.pk), follow=True)
        assert page.redirect_chain == [(url("change", account.pk), 302)]
        assert "The platform is busy." in page.content.decode()


def test_the_rights_are_those_to_change_and_to_add(staff: Callable[..., Client], platform: FakePlatform) -> None:
    account = account_of(ANN)
    client = staff("accounts.change_channelaccount", "accounts.view_channelaccount")
    assert client.post(url("scan_another", account.pk)).status_code == 403
    assert client.post(url("scan_again", account.pk)).status_code == 302
    assert client.get(url("scan_code")).status_code == 200
    assert client.get(url("scan")).status_code == 403
