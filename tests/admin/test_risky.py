"""Kinds whose platform may ban accounts that a program writes for: said everywhere, and nobody starts one by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from accounts.models import ChannelAccount
from channels_wechat import KINDS
from tests.support import factories
from tests.support.factories.values import WECHATY_FIELDS
from tests.support.fake_phone import KIND, FakePhone

if TYPE_CHECKING:
    from django.test import Client

ADD = reverse("admin:accounts_channelaccount_add")
RISK = "WeChat forbids programs that write as a person does"


@pytest.fixture(autouse=True)
def _kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, KIND, f"{FakePhone.__module__}.FakePhone")


def test_the_list_of_kinds_says_it_of_those_only(boss: Client) -> None:
    page = boss.get(ADD)
    said = {kind["kind"] for kind in page.context["kinds"] if kind["is_risky"]}
    assert KIND in said
    assert "wecom_app" not in said
    assert page.content.decode().count(RISK) == len(said)


def test_the_form_has_it_disabled_at_first(boss: Client) -> None:
    page = boss.get(ADD, {"kind": KIND})
    assert "WeChat may ban such an account." in page.content.decode()
    assert page.context["adminform"].form["enabled"].value() is False
    boss.post(f"{ADD}?kind={KIND}", {"name": "Phone", "retention_days": 90})
    ordinary = boss.get(ADD, {"kind": "wecom_app"})
    assert ordinary.context["adminform"].form["enabled"].value() is True
    assert "may ban" not in ordinary.content.decode()


def test_its_page_warns_while_it_is_enabled(boss: Client) -> None:
    account = factories.account(KIND, {"phone": "shop"}, enabled=False)
    page = reverse("admin:accounts_channelaccount_change", args=[account.pk])
    off = boss.get(page).content.decode()
    assert "may ban this account while it is enabled" not in off
    assert "Enable it?" in off
    boss.post(reverse("admin:accounts_channelaccount_switch", args=[account.pk]))
    on = boss.get(page).content.decode()
    assert "may ban this account while it is enabled" in on
    assert "Enable it?" not in on
    ordinary = factories.app()
    assert (
        "may ban" not in boss.get(reverse("admin:accounts_channelaccount_change", args=[ordinary.pk])).content.decode()
    )


@pytest.mark.parametrize(("given", "enabled"), [({}, False), ({"enabled": True}, True), ({"enabled": False}, False)])
def test_a_script_that_does_not_say_it_gets_one_that_is_disabled(
    boss: Client, given: dict[str, bool], enabled: bool
) -> None:
    new = {"kind": "wechaty", "name": "Phone", "credentials": WECHATY_FIELDS, **given}
    answer = boss.post("/api/v1/accounts/", new, content_type="application/json")
    assert answer.status_code == 201, answer.content
    assert answer.json()["enabled"] is ChannelAccount.objects.get().enabled is enabled
