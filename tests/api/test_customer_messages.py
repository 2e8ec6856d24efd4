"""Asking a member over the API to send a message to customers: once for each key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile

from bridge.models import CustomerMessage
from tests.support.factories import app

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from channels_wechat.simulator import SimulatorClient

URL = "/api/v1/customer-messages/"
LI = "wmCustomerLi000000000000000"
LINK = {"msgtype": "link", "link": {"title": "新品", "url": "https://example.com/new"}}


@pytest.fixture
def asked(company: SimulatorClient) -> dict[str, Any]:
    company.customer(LI, "李部长", followers={"zhangsan": ""})
    account = app(company.url)
    return {
        "account": account.pk, "peer_kind": "direct", "sender": "zhangsan", "recipients": [LI, "wmNobody00000000000000000000"],
        "text": "上新了", "attachments": [LINK],
    }  # fmt: skip


def post(client: Client, body: Any, key: str = "k1") -> Any:
    return client.post(URL, body, content_type="application/json", headers={"Idempotency-Key": key})


def test_a_member_is_asked_once_and_told_what_became_of_it(
    boss: Client, company: SimulatorClient, asked: dict[str, Any]
) -> None:
    first, again = post(boss, asked), post(boss, asked)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    said = first.json()
    assert (said["state"], said["left_out"], said["text"]) == ("created", ["wmNobody00000000000000000000"], "上新了")
    assert said["remote_id"].startswith("msg")
    assert boss.get(f"{URL}?account={asked['account']}").json()["results"] == [said]
    assert len(company.calls("externalcontact/add_msg_template")) == 1
    other = post(boss, {**asked, "text": "other"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    deeds = [entry.additional_data for entry in LogEntry.objects.all() if entry.additional_data]
    assert deeds == [{"action": "asked a member to send a message to customers"}]


def test_files_go_with_it(boss: Client, company: SimulatorClient, asked: dict[str, Any]) -> None:
    parts = {"message": json.dumps(asked), "files": [SimpleUploadedFile("a.txt", b"hello")]}
    assert boss.post(URL, parts, headers={"Idempotency-Key": "k1"}).status_code == 201
    assert len(company.calls("media/upload")) == 1
    assert CustomerMessage.objects.get().attachments == [LINK, {"msgtype": "file", "name": "a.txt"}]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": "", "attachments": []}, "text"),
        ({"recipients": []}, "recipients"),
        ({"peer_kind": "party"}, "peer_kind"),
        ({"attachments": [{"msgtype": "link", "link": {"title": "x"}}]}, "attachments[1].link.url"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_asked(
    boss: Client, company: SimulatorClient, asked: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    answer = post(boss, {**asked, **change})
    assert (answer.status_code, list(answer.json()["details"])) == (400, [field])
    assert company.calls() == []


def test_a_refusal_of_the_platform_is_its_state(boss: Client, company: SimulatorClient, asked: dict[str, Any]) -> None:
    said = post(boss, {**asked, "recipients": ["wmNobody00000000000000000000"]}).json()
    assert (said["state"], said["code"]) == ("refused", "84061")
    assert "no contact between" in said["error"]


def test_an_operator_may_not(as_role: Callable[[str], Client], asked: dict[str, Any]) -> None:
    assert post(as_role("Operators"), asked).status_code == 403
