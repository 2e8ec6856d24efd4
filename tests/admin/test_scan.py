"""Adding an AI bot by a QR code: what is asked, the code, and the account that comes of it; the platform is a server on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.sessions.models import Session
from django.urls import reverse

from accounts.channels import http
from accounts.models import ChannelAccount
from bridge.admin.accounts import scan as pages
from channels_wechat.wecom.aibot import scan
from channels_wechat.wecom.aibot.channel import WeComAIBot
from tests.channels.harness import Recorder, Reply, recorder
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

pytestmark = pytest.mark.django_db
CODE, SECRET = "scode-canary", "secret-canary"
ADDRESS = "https://work.weixin.qq.com/ai/qc/gen?scode=scode-canary"
ASKED = {"name": "New bot", "bot_name": "小助手"}


@pytest.fixture
def wecom(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Recorder]:
    settings.ALLOWED_PRIVATE_HOSTS = ["127.0.0.1:*"]
    http.cache_clear()
    monkeypatch.setattr(WeComAIBot, "scan_pause_seconds", 0.0)
    with recorder() as server:
        monkeypatch.setattr(scan, "ADDRESS", server.url)
        yield server
    http.cache_clear()


def url(name: str) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=["wecom_aibot"])


def says(body: str, status: int = 200) -> Reply:
    return Reply(body.encode(), status)


GENERATED = says(f'{{"data":{{"scode":"{CODE}","auth_url":"{ADDRESS}"}}}}')
WAITING = says('{"data":{"status":"wait"}}')
SCANNED = says(f'{{"data":{{"status":"success","bot_info":{{"botid":"NEWBOT","secret":"{SECRET}"}}}}}}')


def begin(boss: Client, wecom: Recorder) -> None:
    wecom.will(GENERATED)
    assert boss.post(url("scan"), ASKED).headers["Location"] == url("scan_code")


def look(boss: Client) -> dict[str, Any]:
    found: dict[str, Any] = boss.post(url("scan_state")).json()
    return found


def test_a_scan_makes_the_account(boss: Client, wecom: Recorder) -> None:
    assert url("scan") in boss.get(reverse("admin:accounts_channelaccount_add")).content.decode()
    begin(boss, wecom)
    page = boss.get(url("scan_code")).content.decode()
    assert "<svg" in page
    assert CODE not in page
    wecom.will(WAITING, SCANNED)
    assert look(boss)["goes_on"]
    answer = look(boss)
    account = ChannelAccount.objects.get()
    assert answer == {"url": reverse("admin:accounts_channelaccount_change", args=[account.pk]), "goes_on": False}
    assert (account.name, account.external_id, account.enabled) == ("New bot", "NEWBOT", True)
    assert account.credentials["mode"] == "connection"
    assert (account.credentials["secret"], account.credentials["bot_name"]) == (SECRET, "小助手")
    assert [request.query for request in wecom.requests] == [
        {"source": "wechat-openclaw-bridge", "plat": "0"},
        {"scode": CODE},
        {"scode": CODE},
    ]
    page = boss.get(answer["url"]).content.decode()
    assert "Connection:" in page or "Not connected yet" in page
    assert f"/callbacks/{account.key}" not in page
    entry = LogEntry.objects.get_for_object(account).first()
    assert entry is not None
    assert entry.actor is not None
    assert SECRET not in str(list(LogEntry.objects.values())) + page


def test_the_session_keeps_the_code_encrypted(boss: Client, wecom: Recorder) -> None:
    begin(boss, wecom)
    assert CODE not in str([session.get_decoded() for session in Session.objects.all()])


@pytest.mark.parametrize(
    ("answer", "words", "goes_on"),
    [
        (says('{"data":{"status":"expired"}}'), "refused or has expired", False),
        (says('{"data":{"status":"success","bot_info":{}}}'), "could not be read", False),
        (says('{"errcode":40058,"errmsg":"no such scode"}'), "no such scode", False),
        (says("<html><title>Busy</title>", 503), "overloaded", True),
        (says('{"data":{"status":"scanned"}}'), "scans the code", True),
    ],
)
def test_whatever_is_answered_is_said(boss: Client, wecom: Recorder, answer: Reply, words: str, goes_on: bool) -> None:
    begin(boss, wecom)
    wecom.will(answer)
    found = look(boss)
    assert (words in found["text"], found["goes_on"]) == (True, goes_on), found
    assert not ChannelAccount.objects.exists()


def test_a_code_lasts_five_minutes(boss: Client, wecom: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(boss, wecom)
    monkeypatch.setattr(WeComAIBot, "scan_seconds", -1.0)
    assert "expired" in look(boss)["text"]
    assert "expired" in look(boss)["text"]
    assert len(wecom.requests) == 1


def test_the_platform_is_asked_every_few_seconds_only(
    boss: Client, wecom: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WeComAIBot, "scan_pause_seconds", 60.0)
    begin(boss, wecom)
    wecom.will(WAITING)
    assert look(boss)["goes_on"]
    assert look(boss)["goes_on"]
    assert len(wecom.requests) == 2


def test_a_name_that_is_taken_is_said_before_anybody_scans(boss: Client, wecom: Recorder) -> None:
    factories.app(columns={"name": "New bot"})
    page = boss.post(url("scan"), ASKED)
    assert "already" in page.context["form"].errors["name"][0]
    assert boss.post(url("scan"), {"name": "Other"}).context["form"].errors.keys() == {"bot_name"}
    assert not wecom.requests


def test_a_name_that_is_taken_meanwhile_loses_no_secret(boss: Client, wecom: Recorder) -> None:
    begin(boss, wecom)
    factories.app(columns={"name": "New bot"})
    wecom.will(SCANNED)
    assert look(boss)["url"]
    assert ChannelAccount.objects.get(kind="wecom_aibot").name == "New bot NEWBOT"


def test_a_code_that_cannot_be_read_is_said(boss: Client, wecom: Recorder) -> None:
    wecom.will(says('{"data":{"scode":"x","auth_url":"javascript:alert(1)"}}'))
    page = boss.post(url("scan"), ASKED)
    assert "could not be read" in page.content.decode()
    assert boss.get(url("scan_code")).status_code == 302


def test_only_kinds_that_can_be_scanned_have_the_pages(boss: Client) -> None:
    assert not pages.can_be_scanned("wecom_app")
    for kind in ("wecom_app", "wecom_fax"):
        assert boss.get(f"/admin/accounts/channelaccount/scan/{kind}/").status_code == 404
