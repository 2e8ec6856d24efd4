"""Names instead of ids: asked once, and never at the expense of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounts.models import ChannelAccount, Health
from bridge import names, peers
from bridge.models import Contact
from tests.factories import NOWHERE, app, bot

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db


def meet(account: ChannelAccount, *people: str) -> None:
    for person in people:
        peers.meet(account, person, {})


def known(account: ChannelAccount) -> dict[str, str]:
    return peers.names_of(account.pk, account.contacts.values_list("external_id", flat=True))


def test_each_person_is_asked_for_once(company: SimulatorClient) -> None:
    account = app(company.url)
    meet(account, "zhangsan", "lisi", "nobody")
    assert names.look_up() == 2
    assert names.look_up() == 0
    assert known(account) == {"zhangsan": "张三", "lisi": "李四"}
    assert len(company.calls("user/get")) == 3
    assert not Contact.objects.filter(looked_up_at=None).exists()


def test_who_has_a_name_already_is_not_asked_for(company: SimulatorClient) -> None:
    account = app(company.url)
    peers.meet(account, "zhangsan", {"zhangsan": "老张"})
    assert names.look_up() == 0
    assert known(account) == {"zhangsan": "老张"}


def test_a_bot_asks_the_app_of_its_company(company: SimulatorClient) -> None:
    account = bot(company.url)
    meet(account, "zhangsan")
    app(company.url)
    assert names.look_up() == 1
    assert known(account) == {"zhangsan": "张三"}


@pytest.mark.parametrize("corp_id", ["", "wwother"])
def test_a_bot_without_a_colleague_has_only_ids(company: SimulatorClient, corp_id: str) -> None:
    account = bot(company.url, corp_id=corp_id)
    app(company.url)
    meet(account, "zhangsan")
    assert names.look_up() == 0
    assert company.calls("user/get") == []


def test_a_platform_that_does_not_answer_is_asked_later() -> None:
    account = app(NOWHERE)
    meet(account, "zhangsan", "lisi")
    assert names.look_up() == 0
    assert Contact.objects.filter(looked_up_at=None).count() == 2


@pytest.mark.parametrize("columns", [{"state": Health.STOPPED}, {"enabled": False}])
def test_a_stopped_account_asks_nobody_and_forgets_nobody(company: SimulatorClient, columns: dict) -> None:
    account = app(company.url, columns=columns)
    meet(account, "zhangsan")
    assert names.look_up() == 0
    ChannelAccount.objects.update(state=Health.OK, enabled=True)
    assert names.look_up() == 1


def test_an_unnamed_sender_is_met_once() -> None:
    account = app()
    peers.meet(account, "", {})
    peers.meet(account, "zhangsan", {})
    peers.meet(account, "zhangsan", {})
    assert [contact.external_id for contact in Contact.objects.all()] == ["zhangsan"]


def test_a_one_to_one_conversation_is_called_by_its_person_until_staff_say_otherwise() -> None:
    account = app()
    early, group = (peers.conversation_with(account, kind, "zhangsan") for kind in ("direct", "group"))
    peers.meet(account, "zhangsan", {})
    peers.meet(account, "zhangsan", {"zhangsan": "张三", "lisi": "李四"})
    late = peers.conversation_with(account, "direct", "lisi")
    early.refresh_from_db()
    group.refresh_from_db()
    assert (early.title, group.title, late.title) == ("张三", "", "李四")

    type(late).objects.filter(pk=late.pk).update(title="老李")
    peers.meet(account, "lisi", {"lisi": "李思"})
    late.refresh_from_db()
    assert late.title == "老李"
