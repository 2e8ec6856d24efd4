"""Handing a conversation of customer service over to a servicer, and taking it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from tests.support import factories
from tests.support.factories import AGENT, CORP, CUSTOMER, KF, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from bridge.models import Conversation
    from channels_wechat.simulator import RunningSimulator, SimulatorClient


@pytest.fixture
def client(simulator: RunningSimulator) -> SimulatorClient:
    found = simulator.client
    found.app(AGENT, corpid=CORP, secret=SECRET)
    found.kf_account(KF, AGENT, servicers=["wangwu"])
    found.kf_customer(CUSTOMER, "小红")
    found.say("你好", kf=KF, from_=CUSTOMER)
    return found


@pytest.fixture
def talk(client: SimulatorClient) -> Conversation:
    return factories.conversation(factories.kf(client.url), CUSTOMER)


def press(staff: Client, name: str, talk: Conversation, **data: Any) -> str:
    url = reverse(f"admin:bridge_conversation_{name}", args=[talk.pk])
    page = staff.post(url, data, follow=True).content.decode()
    talk.refresh_from_db()
    return page


def test_a_conversation_is_handed_over_and_taken_back(
    boss: Client, client: SimulatorClient, talk: Conversation
) -> None:
    page = press(boss, "servicers", talk)
    assert "new: this account answers" in page
    assert '<option value="wangwu">' in page
    page = press(boss, "hand_over", talk, servicer="wangwu")
    assert "In the WeCom client wangwu answers." in page
    assert (talk.mode, talk.servicer) == ("human", "wangwu")
    assert client.kf_session(KF, CUSTOMER)["state"] == 3
    assert "a servicer answers: <b>wangwu</b>" in press(boss, "servicers", talk)
    page = press(boss, "end_service", talk)
    assert "Taken back" in page
    assert (talk.mode, talk.servicer) == ("bot", "")
    assert client.kf_session(KF, CUSTOMER)["state"] == 4
    assert "An ended conversation cannot be handed over" in press(boss, "servicers", talk)


def test_handing_back_to_the_agent_takes_it_from_the_servicer_too(
    boss: Client, client: SimulatorClient, talk: Conversation
) -> None:
    press(boss, "hand_over", talk, servicer="wangwu")
    press(boss, "mode", talk, mode="bot")
    assert (talk.mode, talk.servicer, client.kf_session(KF, CUSTOMER)["state"]) == ("bot", "", 4)


@pytest.mark.parametrize(("servicer", "words"), [("nobody", "95014"), ("wangwu", "95016")])
def test_what_the_platform_refuses_is_shown_and_changes_nothing(
    boss: Client, client: SimulatorClient, talk: Conversation, servicer: str, words: str
) -> None:
    if words == "95016":
        client.take_conversation(KF, CUSTOMER, change_type=3)
    assert words in press(boss, "hand_over", talk, servicer=servicer)
    assert (talk.mode, talk.servicer) == ("bot", "")


def test_only_who_may_take_over_may_hand_over(
    staff: Callable[..., Client], client: SimulatorClient, talk: Conversation
) -> None:
    other = staff("bridge.view_conversation", "bridge.view_message")
    for name in ("servicers", "hand_over", "end_service"):
        url = reverse(f"admin:bridge_conversation_{name}", args=[talk.pk])
        assert other.post(url, {"servicer": "wangwu"}).status_code == 403
        assert other.get(url).status_code == 405
    assert client.kf_session(KF, CUSTOMER)["state"] == 0
    page = other.get(reverse("admin:bridge_conversation_change", args=[talk.pk])).content.decode()
    assert "Servicers…" not in page


def test_the_account_says_when_its_messages_were_fetched_and_why_not(
    boss: Client, client: SimulatorClient, talk: Conversation
) -> None:
    address = reverse("admin:accounts_channelaccount_change", args=[talk.account_id])
    assert "not fetched yet" in boss.get(address).content.decode()
    factories.pull(talk.account)
    assert "last fetched" in boss.get(address).content.decode()
    client.fault("kf/sync_msg", "errcode", errcode=-1, errmsg="system busy")
    factories.pull(talk.account)
    page = boss.get(address).content.decode()
    assert "The last attempt failed:" in page
    assert "system busy" in page


def test_other_kinds_have_no_servicers(boss: Client) -> None:
    talk = factories.conversation(factories.app())
    page = boss.get(reverse("admin:bridge_conversation_change", args=[talk.pk])).content.decode()
    assert "Servicers…" not in page
    assert boss.post(reverse("admin:bridge_conversation_servicers", args=[talk.pk])).status_code == 400
