"""Events of a company's directory: the entry is read again by the clock, and a new customer is welcomed once, within its time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from bridge.models import Contact, CustomerGroup, Delivery, DirectoryChange, Message, State
from bridge.people import directory
from bridge.pipeline.inbound import router
from tests.inbound.test_no_event_lost import callback
from tests.support.callbacks import call
from tests.support.factories import AGENT, app, conversation, work_off

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
LI, CHAT = "wmCustomerLi000000000000000", "wrGroupOfSales"
HELLO = "您好，有问题请直接留言。"


def event(account: ChannelAccount, name: str, change: str, **fields: object) -> None:
    now = int(timezone.now().timestamp())
    head = {"ToUserName": "ww1", "FromUserName": "sys", "CreateTime": now, "MsgType": "event", "Event": name}
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in {**head, "ChangeType": change, **fields}.items())
    assert call(account, *callback("wecom_app", f"<xml>{inner}</xml>")).status == 200
    router.route_waiting()


def read_changes() -> None:
    while DirectoryChange.objects.exists():
        assert directory.read_due()


def test_a_group_that_changed_is_read_again_and_not_in_the_callback(company: SimulatorClient) -> None:
    account = app(company.url)
    company.customer(LI, "李部长", followers={"zhangsan": ""})
    company.customer_group(CHAT, "销售群", owner="zhangsan", members=["zhangsan"])
    group = conversation(account, CHAT, "group")
    event(account, "change_external_chat", "create", ChatId=CHAT)
    assert company.calls("externalcontact/groupchat/get") == []
    read_changes()
    company.customer_group(CHAT, "大客户群", members=["zhangsan", LI])
    detail = {"UpdateDetail": "add_member", "MemChangeCnt": 1, "MemChangeList": f"<Item>{LI}</Item>"}
    event(account, "change_external_chat", "update", ChatId=CHAT, **detail)
    event(account, "change_external_chat", "update", ChatId=CHAT, UpdateDetail="change_name")
    read_changes()
    group.refresh_from_db()
    stored = CustomerGroup.objects.get()
    assert (group.title, stored.name, [one["name"] for one in stored.members]) == (
        "大客户群",
        "大客户群",
        ["张三", "李部长"],
    )
    assert len(company.calls("externalcontact/groupchat/get")) == 2
    assert Contact.objects.get(external_id=LI).kind == "customer"
    event(account, "change_external_chat", "dismiss", ChatId=CHAT)
    read_changes()
    assert CustomerGroup.objects.get().dismissed_at
    assert len(company.calls("externalcontact/groupchat/get")) == 2


def test_a_member_who_left_is_marked_and_one_who_came_is_named(company: SimulatorClient) -> None:
    account = app(company.url)
    event(account, "change_contact", "create_user", UserID="LiSi")
    event(account, "change_contact", "delete_user", UserID="zhangsan")
    Contact.objects.create(account=account, external_id="zhangsan", name="张三")
    read_changes()
    told = {one.external_id: (one.name, one.left_at is not None) for one in account.contacts.exclude(name="")}
    assert told == {"lisi": ("李四", False), "zhangsan": ("张三", True)}


def test_a_customer_whom_no_member_knows_any_more_has_left(company: SimulatorClient) -> None:
    account = app(company.url)
    company.customer(LI, "李部长", followers={"zhangsan": "", "lisi": ""})
    event(account, "change_external_contact", "edit_external_contact", UserID="zhangsan", ExternalUserID=LI)
    read_changes()
    company.customer(LI, "李部长", followers={"lisi": ""})
    event(account, "change_external_contact", "del_follow_user", UserID="zhangsan", ExternalUserID=LI)
    read_changes()
    assert Contact.objects.get(external_id=LI).left_at is None
    company.customer(LI, "李部长", followers={})
    event(account, "change_external_contact", "del_external_contact", UserID="lisi", ExternalUserID=LI)
    read_changes()
    assert Contact.objects.get(external_id=LI).left_at


def add_customer(company: SimulatorClient, account: ChannelAccount) -> None:
    """The simulator makes the event and its code; the callback it would send is sent by us, into the test's transaction."""
    company.app(AGENT, callback_url="")
    company.customer(LI, "李部长")
    made = company.add_customer(AGENT, LI, "zhangsan")
    assert made["code"]
    event(
        account, "change_external_contact", "add_external_contact",
        UserID="zhangsan", ExternalUserID=LI, WelcomeCode=made["code"],
    )  # fmt: skip


def welcomes(company: SimulatorClient) -> list[str]:
    return [one["text"] for one in company.transcript(f"customer:{LI}")]


def test_a_new_customer_is_welcomed_once(company: SimulatorClient) -> None:
    account = app(company.url, columns={"sentences": {"welcome": HELLO}})
    add_customer(company, account)
    work_off()
    assert welcomes(company) == [HELLO]
    said = Message.objects.get(direction="out")
    assert (said.conversation.peer_id, said.text, said.deliveries.get().state) == (LI, HELLO, State.DELIVERED)
    assert said.reply_to
    assert "WelcomeCode" not in said.reply_to.raw
    add_customer(company, account)
    work_off()
    assert welcomes(company) == [HELLO]
    assert not Delivery.objects.filter(state__in=[State.DEAD, State.PENDING], target="channel").exists()


def test_without_a_welcome_of_the_account_nothing_is_said(company: SimulatorClient) -> None:
    account = app(company.url)
    add_customer(company, account)
    assert not Message.objects.filter(direction="out").exists()


def test_a_welcome_that_comes_too_late_asks_the_platform_nothing(company: SimulatorClient) -> None:
    account = app(company.url, columns={"sentences": {"welcome": HELLO}})
    add_customer(company, account)
    Message.objects.filter(direction="in").update(reply_until=timezone.now() - timedelta(seconds=1))
    work_off()
    delivery = Delivery.objects.get(target="channel")
    assert (delivery.state, delivery.code) == (State.DEAD, "no_reply")
    assert company.calls("externalcontact/send_welcome_msg") == []


def test_a_welcome_whose_answer_is_lost_is_not_said_twice(company: SimulatorClient) -> None:
    account = app(company.url, columns={"sentences": {"welcome": HELLO}})
    add_customer(company, account)
    company.fault("externalcontact/send_welcome_msg", "reset_after")
    work_off()
    work_off()
    assert Delivery.objects.get(target="channel").state == State.UNCERTAIN
    assert welcomes(company) == [HELLO]


def test_to_a_customer_who_chats_already_no_welcome_is_repeated(company: SimulatorClient) -> None:
    account = app(company.url, columns={"sentences": {"welcome": HELLO}})
    add_customer(company, account)
    company.fault("externalcontact/send_welcome_msg", "errcode", errcode=41051, errmsg="already in chat")
    work_off()
    work_off()
    assert Delivery.objects.get(target="channel").state == State.DEAD
    assert len(company.calls("externalcontact/send_welcome_msg")) == 1
