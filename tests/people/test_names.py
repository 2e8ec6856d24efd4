"""Names instead of ids: asked once, and never at the expense of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount, Restriction
from bridge.models import Contact, Conversation
from bridge.people import names, peers
from tests.support.factories import FAN, NOWHERE, OFFICIAL, WEIXIN_FIELDS, app, bot, official, turn

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db


def meet(account: ChannelAccount, *people: str) -> None:
    for person in people:
        peers.upsert_contacts(account, person, {})


def known(account: ChannelAccount) -> dict[str, str]:
    return peers.load_names_of(account.pk, account.contacts.values_list("external_id", flat=True))


def test_each_person_is_asked_for_once(company: SimulatorClient) -> None:
    account = app(company.url)
    meet(account, "zhangsan", "lisi", "nobody")
    assert names.fetch_names() == 2
    assert names.fetch_names() == 0
    assert known(account) == {"zhangsan": "张三", "lisi": "李四"}
    assert len(company.calls("user/get")) == 3
    assert not Contact.objects.filter(name_fetched_at=None).exists()


def test_who_has_a_name_already_is_not_asked_for(company: SimulatorClient) -> None:
    account = app(company.url)
    peers.upsert_contacts(account, "zhangsan", {"zhangsan": "老张"})
    assert names.fetch_names() == 0
    assert known(account) == {"zhangsan": "老张"}


def test_a_bot_asks_the_app_of_its_company(company: SimulatorClient) -> None:
    account = bot(company.url)
    meet(account, "zhangsan")
    app(company.url)
    assert names.fetch_names() == 1
    assert known(account) == {"zhangsan": "张三"}


@pytest.mark.parametrize("corp_id", ["", "wwother"])
def test_a_bot_without_a_colleague_has_only_ids(company: SimulatorClient, corp_id: str) -> None:
    account = bot(company.url, corp_id=corp_id)
    app(company.url)
    meet(account, "zhangsan")
    assert names.fetch_names() == 0
    assert company.calls("user/get") == []


def test_a_platform_that_does_not_answer_is_asked_later() -> None:
    account = app(NOWHERE)
    meet(account, "zhangsan", "lisi")
    assert names.fetch_names() == 0
    assert Contact.objects.filter(name_fetched_at=None).count() == 2


@pytest.mark.parametrize("columns", [{"state": Health.STOPPED}, {"enabled": False}])
def test_a_stopped_account_asks_nobody_and_forgets_nobody(company: SimulatorClient, columns: dict) -> None:
    account = app(company.url, columns=columns)
    meet(account, "zhangsan")
    assert names.fetch_names() == 0
    ChannelAccount.objects.update(state=Health.OK, enabled=True)
    assert names.fetch_names() == 1


def test_a_customer_is_not_asked_for_among_the_members(company: SimulatorClient) -> None:
    account = app(company.url)
    meet(account, "wmOgQhDgAAuXFJGwbve4g4iXknfOAAAA")
    assert (names.fetch_names(), company.calls("user/get")) == (0, [])


def test_an_unnamed_sender_is_met_once() -> None:
    account = app()
    peers.upsert_contacts(account, "", {})
    peers.upsert_contacts(account, "zhangsan", {})
    peers.upsert_contacts(account, "zhangsan", {})
    assert [contact.external_id for contact in Contact.objects.all()] == ["zhangsan"]


def test_a_one_to_one_conversation_is_called_by_its_person_until_staff_say_otherwise() -> None:
    account = app()
    early, group = (peers.get_conversation(account, kind, "zhangsan") for kind in ("direct", "group"))
    peers.upsert_contacts(account, "zhangsan", {})
    peers.upsert_contacts(account, "zhangsan", {"zhangsan": "张三", "lisi": "李四"})
    late = peers.get_conversation(account, "direct", "lisi")
    early.refresh_from_db()
    group.refresh_from_db()
    assert (early.title, group.title, late.title) == ("张三", "", "李四")
    peers.upsert_contacts(account, "", {"wangwu": "王五"})
    assert turn(account, sender="wangwu").message.conversation.title == "王五"

    type(late).objects.filter(pk=late.pk).update(title="老李")
    peers.upsert_contacts(account, "lisi", {"lisi": "李思"})
    late.refresh_from_db()
    assert late.title == "老李"


def test_people_of_the_same_id_at_two_accounts_are_two_people() -> None:
    one, two = app(), official()
    for account in (one, two):
        peers.upsert_contacts(account, "lisi", {})
        peers.get_conversation(account, "direct", "lisi")
        peers.set_subscribed(account.pk, "lisi", follows=True)
    peers.upsert_contacts(one, "lisi", {"lisi": "李四"})
    peers.set_subscribed(one.pk, "lisi", follows=False)
    told = Contact.objects.order_by("account_id").values_list("account_id", "name", "subscribed")
    assert list(told) == [(one.pk, "李四", False), (two.pk, "", True)]
    titles = Conversation.objects.order_by("account_id").values_list("account_id", "title")
    assert list(titles) == [(one.pk, "李四"), (two.pk, "")]
    assert [peers.load_names_of(account.pk, ["lisi"]) for account in (one, two)] == [{"lisi": "李四"}, {}]
    assert peers.load_names([(one.pk, "lisi"), (two.pk, "lisi")]) == {(one.pk, "lisi"): "李四"}


def test_a_failing_account_does_not_hold_up_the_others(company: SimulatorClient) -> None:
    meet(official(), "o1", "o2")
    account = app(company.url)
    meet(account, "zhangsan")
    assert names.fetch_names() == 1
    assert Contact.objects.filter(name_fetched_at=None).count() == 2


def test_the_remark_is_the_name_and_tells_who_follows(company: SimulatorClient) -> None:
    """WeChat tells no nickname any more."""
    account = official(company.url)
    company.official(OFFICIAL, secret=WEIXIN_FIELDS["app_secret"])
    company.person(OFFICIAL, "小红", FAN, remark="红姐")
    company.person(OFFICIAL, "小绿", "oNameless")
    meet(account, FAN, "oNameless", "oStranger")
    assert names.fetch_names() == 1
    assert known(account) == {FAN: "红姐"}
    assert dict(account.contacts.values_list("external_id", "subscribed")) == {
        FAN: True, "oNameless": True, "oStranger": None,
    }  # fmt: skip
    assert (names.fetch_names(), len(company.calls("user/info"))) == (0, 3)


def test_an_account_that_is_told_nothing_asks_once_a_day(company: SimulatorClient) -> None:
    account = official(company.url)
    company.official(OFFICIAL, secret=WEIXIN_FIELDS["app_secret"], verified=False)
    company.person(OFFICIAL, "小红", FAN, remark="红姐")
    meet(account, FAN, "oOther")
    assert (names.fetch_names(), names.fetch_names(), len(company.calls("user/info"))) == (0, 0, 1)
    company.official(OFFICIAL, verified=True)
    Restriction.objects.update(until=timezone.now())
    assert (names.fetch_names(), known(account)) == (1, {FAN: "红姐"})


def test_a_name_that_comes_too_late_is_nobodys(company: SimulatorClient) -> None:
    account = official(company.url)
    company.official(OFFICIAL, secret=WEIXIN_FIELDS["app_secret"])
    company.person(OFFICIAL, "小红", FAN, remark="红姐")
    meet(account, FAN)
    contact = Contact.objects.get()
    asked = names._ask(contact, names._name_source(account))  # type: ignore[arg-type]
    Contact.objects.update(external_id="erased-1")
    assert (asked, names._store(contact), Contact.objects.get().name) == (True, False, "")
