"""A member is asked to send a message to customers: once for each key, and what became of it is kept."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.health import Health
from bridge.models import CustomerMessage, CustomerMessageState
from bridge.operations import retention
from bridge.people import customer_messages
from channels_wechat.contract.customer_messages import CustomerMessage as Wanted
from channels_wechat.contract.messages import Upload
from tests.support.factories import AGENT, app, bot

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
LI, NOBODY, CHAT = "wmCustomerLi000000000000000", "wmNobody00000000000000000000", "wrGroupOfSales"
LINK = {"msgtype": "link", "link": {"title": "新品", "url": "https://example.com/new"}}
PNG = Upload("image", "a.png", "image/png", b"\x89PNG\r\n\x1a\n" + b"x" * 20)


@pytest.fixture
def people(company: SimulatorClient) -> SimulatorClient:
    company.customer(LI, "李部长", followers={"zhangsan": ""})
    company.customer_group(CHAT, "销售群", owner="zhangsan", members=["zhangsan", LI])
    return company


def wanted(**changes: Any) -> Wanted:
    return Wanted(**{"peer_kind": "direct", "sender": "ZhangSan", "recipients": (LI,), "text": "上新了", **changes})


def ask(account: ChannelAccount, message: Wanted, key: str = "k1", **more: Any) -> CustomerMessage:
    return customer_messages.create(account, message, client="staff:1", key=key, **more)[0]


def test_a_member_is_asked_once_for_each_key(people: SimulatorClient) -> None:
    account = app(people.url)
    row = ask(account, wanted(recipients=(LI, NOBODY, LI), attachments=(LINK,)), files=[PNG])
    assert ask(account, wanted(recipients=(LI, NOBODY), attachments=(LINK,)), files=[PNG]).pk == row.pk
    (call,) = people.calls("externalcontact/add_msg_template")
    assert '"sender": "zhangsan"' in call["body"] or '"sender":"zhangsan"' in call["body"]
    assert "上新了" in call["body"]
    row.refresh_from_db()
    assert (row.state, row.left_out, bool(row.remote_id)) == (CustomerMessageState.CREATED, [NOBODY], True)
    assert row.attachments == [LINK, {"msgtype": "file", "name": "a.png"}]
    with pytest.raises(customer_messages.KeyReused):
        ask(account, wanted(text="other"))


def test_groups_are_named_as_such(people: SimulatorClient) -> None:
    row = ask(app(people.url), wanted(peer_kind="group", recipients=(CHAT,)))
    assert row.state == CustomerMessageState.CREATED
    assert '"chat_type"' in people.calls("externalcontact/add_msg_template")[0]["body"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sender": " "}, "sender"),
        ({"recipients": ()}, "recipients"),
        ({"text": " "}, "text"),
        ({"text": "好" * 1334}, "text"),
        ({"attachments": (LINK,) * 10}, "attachments"),
        ({"attachments": ({"msgtype": "voice", "voice": {}},)}, "attachments[1].msgtype"),
        ({"attachments": ({"msgtype": "link", "link": {"title": "x"}},)}, "attachments[1].link.url"),
        ({"attachments": ({"msgtype": "link", "link": {"title": "x", "url": "javascript:x"}},)}, "attachments[1].link.url"),
        ({"attachments": ({"msgtype": "link", "link": {"title": "x", "url": "https://x"}, "more": 1},)}, "attachments[1].link"),
        ({"attachments": ({"msgtype": "miniprogram", "miniprogram": {"title": "x"}},)}, "attachments[1].miniprogram.pic_media_id"),
    ],
)  # fmt: skip
def test_what_can_never_be_sent_is_refused_and_nothing_is_asked(
    people: SimulatorClient, change: dict[str, Any], field: str
) -> None:
    account = app(people.url)
    with pytest.raises(customer_messages.CannotCreate) as caught:
        ask(account, wanted(**change))
    assert (caught.value.field, people.calls(), CustomerMessage.objects.exists()) == (field, [], False)


def test_nine_attachments_count_the_files(people: SimulatorClient) -> None:
    with pytest.raises(customer_messages.CannotCreate):
        ask(app(people.url), wanted(attachments=(LINK,) * 9), files=[PNG])


@pytest.mark.parametrize(("columns", "make"), [({"state": Health.STOPPED}, app), ({"enabled": False}, app), ({}, bot)])
def test_an_account_that_cannot_do_it_says_so(people: SimulatorClient, columns: dict[str, Any], make: Any) -> None:
    with pytest.raises(customer_messages.CannotCreate):
        ask(make(people.url, columns=columns), wanted())
    assert people.calls() == []


@pytest.mark.parametrize(
    ("path", "fault", "state", "code"),
    [
        ("externalcontact/add_msg_template", {"kind": "errcode", "errcode": 84061}, "refused", "84061"),
        ("externalcontact/add_msg_template", {"kind": "errcode", "errcode": 48002}, "refused", "48002"),
        ("externalcontact/add_msg_template", {"kind": "reset_after"}, "uncertain", "reset"),
        ("media/upload", {"kind": "errcode", "errcode": -1}, "refused", "-1"),
    ],
)
def test_what_became_of_it_is_kept_and_nothing_is_repeated(
    people: SimulatorClient, path: str, fault: dict[str, Any], state: str, code: str
) -> None:
    account = app(people.url)
    people.fault(path, **fault)
    row = ask(account, wanted(), files=[PNG])
    assert (row.state, row.code) == (state, code)
    assert row.error
    assert ask(account, wanted(), files=[PNG]).pk == row.pk
    assert len(people.calls(path)) == 1
    account.refresh_from_db()
    assert account.state != Health.STOPPED


def test_one_whose_process_was_killed_is_uncertain() -> None:
    row = CustomerMessage(created_at=timezone.now())
    assert row.current_state == CustomerMessageState.ASKING
    row.created_at -= timedelta(minutes=6)
    assert row.current_state == CustomerMessageState.UNCERTAIN


@pytest.mark.django_db(transaction=True)
def test_one_key_at_the_same_moment_asks_once(people: SimulatorClient) -> None:
    account, rows = app(people.url), []
    people.fault("externalcontact/add_msg_template", "slow", seconds=0.5)

    def work() -> None:
        rows.append(ask(account, wanted()).pk)
        connection.close()

    threads = [threading.Thread(target=work) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(rows)) == 1
    assert len(people.calls("externalcontact/add_msg_template")) == 1


def test_old_ones_are_deleted_with_the_messages_of_their_account(people: SimulatorClient) -> None:
    account, forever = (
        app(people.url),
        app(people.url, agent_id=AGENT + 1, columns={"retention_days": None, "name": "x"}),
    )
    old = timezone.now() - timedelta(days=91)
    for number, owner in enumerate((account, account, forever)):
        row = CustomerMessage.objects.create(account=owner, client="staff:1", key=str(number))
        CustomerMessage.objects.filter(pk=row.pk).update(created_at=old if number else timezone.now())
    retention.delete_history()
    assert sorted(CustomerMessage.objects.values_list("key", flat=True)) == ["0", "2"]
