"""Invitations and friend requests by script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.models import ContactRequest
from channels_wechat import KINDS
from tests.support import factories
from tests.support.fake_connection import fake_platform
from tests.support.fake_phone import KIND, FakePhone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

    from tests.support.fake_connection import FakePlatform

PATH = "/api/v1/contact-requests/"


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    monkeypatch.setitem(KINDS, KIND, f"{FakePhone.__module__}.FakePhone")
    with fake_platform() as running:
        running.answers["accept"] = [{}]
        yield running


@pytest.fixture
def asked(platform: FakePlatform) -> ContactRequest:
    return factories.contact_request(factories.account(KIND, {"phone": "shop"}), title="产品组", text="come in")


def test_they_are_listed_and_filtered(boss: Client, asked: ContactRequest) -> None:
    factories.contact_request(asked.account, kind="friend", state="dismissed")
    assert [row["state"] for row in boss.get(PATH).json()["results"]] == ["dismissed", "open"]
    (row,) = boss.get(PATH, {"state": "open", "account": asked.account_id}).json()["results"]
    assert (row["kind"], row["title"], row["text"], row["sender"]) == ("group", "产品组", "come in", "lisi")
    assert boss.get(PATH, {"state": "lost"}).status_code == 400
    assert "invitation-" not in str(row), "the platform's own id is no business of scripts"


def test_one_is_accepted_once(operator: Client, asked: ContactRequest) -> None:
    answer = operator.post(f"{PATH}{asked.pk}/accept/")
    assert (answer.status_code, answer.json()["state"]) == (200, "accepted")
    assert answer.json()["decided_by"]
    again = operator.post(f"{PATH}{asked.pk}/dismiss/")
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")


def test_a_refusal_says_why(operator: Client, asked: ContactRequest, platform: FakePlatform) -> None:
    platform.answers["accept"] = [{"error": "gone"}]
    answer = operator.post(f"{PATH}{asked.pk}/accept/")
    assert (answer.status_code, answer.json()["code"]) == (422, "platform_refused")
    assert "The invitation is over." in answer.json()["message"]
    assert "The invitation is over." in operator.get(f"{PATH}{asked.pk}/").json()["error"]
    assert operator.post(f"{PATH}{asked.pk}/dismiss/").json()["state"] == "dismissed"


def test_who_may_not_read_messages_gets_no_text(viewer: Client, asked: ContactRequest) -> None:
    ContactRequest.objects.update(code="gone")
    row = viewer.get(f"{PATH}{asked.pk}/").json()
    assert (row["text"], row["error"], row["title"]) == (None, None, "产品组")
    assert viewer.post(f"{PATH}{asked.pk}/accept/").status_code == 403
