"""Invitations and friend requests on pages: the open ones first, who may decide, and what of them is hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from auditlog.models import LogEntry
from django.urls import reverse

from bridge.models import ContactRequest
from channels_wechat import KINDS
from tests.support import factories
from tests.support.fake_connection import fake_platform
from tests.support.fake_phone import KIND, FakePhone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.contrib.auth.models import User
    from django.test import Client

    from accounts.models import ChannelAccount
    from tests.support.fake_connection import FakePlatform

LIST = reverse("admin:bridge_contactrequest_changelist")
WORDS = "请加入我们"


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    monkeypatch.setitem(KINDS, KIND, f"{FakePhone.__module__}.FakePhone")
    with fake_platform() as running:
        running.answers["accept"] = [{}]
        yield running


@pytest.fixture
def phone(platform: FakePlatform) -> ChannelAccount:
    return factories.account(KIND, {"phone": "shop"})


def page(client: Client, account: ChannelAccount) -> str:
    return client.get(reverse("admin:accounts_channelaccount_change", args=[account.pk])).content.decode()


def press(client: Client, name: str, asked: ContactRequest, back: str = "") -> str:
    answer = client.post(reverse(f"admin:bridge_contactrequest_{name}", args=[asked.pk]), {"back": back}, follow=True)
    return answer.content.decode()


def test_the_open_ones_come_first_and_are_counted_in_the_menu(boss: Client, phone: ChannelAccount) -> None:
    assert "Invitations to groups and friend requests of personal accounts wait here" in boss.get(LIST).content.decode()
    first = factories.contact_request(phone, title="Open one")
    for number in range(2):
        factories.contact_request(phone, state="dismissed", title=f"Old {number}")
    html = boss.get(LIST).content.decode()
    assert html.index("Open one") < html.index("Old 1") < html.index("Old 0")
    (entry,) = [
        entry
        for group in boss.get("/admin/").context["sidebar_navigation"]
        for entry in group["items"]
        if entry["link"] == LIST
    ]
    assert entry["badge"] == "1"
    press(boss, "dismiss", first)
    assert ContactRequest.objects.get(pk=first.pk).state == "dismissed"


def test_one_is_accepted_on_the_page_of_its_account(
    boss: Client, phone: ChannelAccount, platform: FakePlatform, admin_user: User
) -> None:
    asked = factories.contact_request(phone, title="产品组", text=WORDS)
    assert "None is open." in page(boss, factories.account(KIND, {"phone": "other"}))
    before = page(boss, phone)
    assert "产品组" in before
    assert WORDS in before
    back = reverse("admin:accounts_channelaccount_change", args=[phone.pk])
    html = press(boss, "accept", asked, back)
    assert "Accepted." in html
    assert "None is open." in html
    own = boss.get(reverse("admin:bridge_contactrequest_change", args=[asked.pk])).content.decode()
    assert admin_user.username in own
    said = [str(entry.additional_data) for entry in LogEntry.objects.get_for_object(asked)]
    assert said == ["{'action': 'Accepted.'}"]
    assert WORDS not in str(list(LogEntry.objects.values()))
    assert "Somebody else has decided it already" in press(boss, "dismiss", asked)


def test_a_refusal_of_the_platform_is_said_in_words(
    boss: Client, phone: ChannelAccount, platform: FakePlatform
) -> None:
    platform.answers["accept"] = [{"error": "gone"}]
    asked = factories.contact_request(phone)
    html = press(boss, "accept", asked)
    assert "It could not be accepted: The invitation is over." in html
    assert "waits for staff" in html
    assert "Ask for another one." in page(boss, phone)
    platform.answers["accept"] = [{"error": "no_answer"}]
    assert "outcome unknown" in press(boss, "accept", asked)


def test_who_may_not_read_messages_sees_no_text(staff: Callable[..., Client], phone: ChannelAccount) -> None:
    asked = factories.contact_request(phone, kind="friend", sender="wxid_lisi", text=WORDS)
    ContactRequest.objects.update(code="gone")
    viewer = staff("bridge.view_contact", "accounts.view_channelaccount")
    own = reverse("admin:bridge_contactrequest_change", args=[asked.pk])
    for html in (viewer.get(LIST).content.decode(), viewer.get(own).content.decode(), page(viewer, phone)):
        assert "wxid_lisi" in html
        assert "hidden: you may not read messages" in html
        assert WORDS not in html
        assert "The invitation is over." not in html
        assert ">Accept</button>" not in html
    assert viewer.post(reverse("admin:bridge_contactrequest_accept", args=[asked.pk])).status_code == 403
    assert ContactRequest.objects.get().state == "open"


def test_without_the_right_nothing_is_listed(staff: Callable[..., Client], phone: ChannelAccount) -> None:
    factories.contact_request(phone, title="产品组")
    client = staff("accounts.view_channelaccount")
    assert client.get(LIST).status_code == 403
    assert "产品组" not in page(client, phone)
