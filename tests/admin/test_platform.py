"""What a platform grants an account: the content check's choice, counters, restrictions and templates, against the simulator."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from accounts import capabilities
from bridge.models import Message
from channels_wechat.contract.messages import Template
from channels_wechat.simulator import RunningSimulator
from tests.support import factories
from tests.support.factories import work_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

    from accounts.models import ChannelAccount

TEMPLATE = {"priTmplId": "T1", "title": "报名成功", "content": "会议:{{thing1.DATA}}\n时间：{{time2.DATA}}", "type": 2}


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator() as running:
        keys = {"token": factories.TOKEN, "aes_key": factories.KEY}
        running.client.mini(factories.MINI, secret=factories.SECRET, templates=[TEMPLATE], **keys)
        running.client.person(factories.MINI, "小明", "oUSER")
        yield running


@pytest.fixture
def account(simulator: RunningSimulator) -> ChannelAccount:
    account = factories.mini_with_a_token(simulator.url)
    account.token.delete()
    return account


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=args)


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


# --- the content check --------------------------------------------------------------------------------------------------------


def test_the_check_is_offered_only_where_the_platform_has_one(boss: Client, account: ChannelAccount) -> None:
    assert 'name="moderation_scope"' in boss.get(url("change", account.pk)).content.decode()
    other = factories.account()
    assert 'name="moderation_scope"' not in boss.get(url("change", other.pk)).content.decode()


def test_the_check_is_chosen(boss: Client, account: ChannelAccount) -> None:
    stored = {name: value for name, value in factories.MINI_FIELDS.items() if name in ("app_id", "mode")}
    fields = {"name": "Shop", "enabled": "on", "moderation_scope": "both", "api_base_url": account.api_base_url}
    boss.post(url("change", account.pk), {**fields, **stored})
    account.refresh_from_db()
    assert (account.moderation_scope, account.name) == ("both", "Shop")


# --- counters -----------------------------------------------------------------------------------------------------------------


def test_the_counters_are_asked_once(boss: Client, account: ChannelAccount, simulator: RunningSimulator) -> None:
    answer = boss.post(url("quotas", account.pk))
    html = answer.content.decode()
    assert "cgi-bin/message/custom/send" in html
    cells = html.replace(",", "").replace("\xa0", "")
    quotas = [row["quota"] for row in answer.context["rows"]]
    assert [f"<td>{quota.limit}</td><td>{quota.used}</td><td>{quota.left}</td>" in cells for quota in quotas] == [
        True
    ] * len(quotas)
    assert all(quota.used < quota.left for quota in quotas)
    asked = simulator.client.calls("openapi/quota/get")
    boss.get(url("change", account.pk))
    assert len(simulator.client.calls("openapi/quota/get")) == len(asked)


def test_a_platform_that_does_not_answer_is_asked_no_further(boss: Client, account: ChannelAccount) -> None:
    account.api_base_url = "http://127.0.0.1:9"
    account.save()
    answer = boss.post(url("quotas", account.pk))
    assert (answer.context["rows"], bool(answer.context["error"])) == ([], True)


@pytest.mark.parametrize(("errcode", "goes_on"), [(48001, False), (76021, True)])
def test_a_right_that_is_missing_is_asked_for_once_and_a_refused_interface_stops_no_other(
    boss: Client, account: ChannelAccount, simulator: RunningSimulator, errcode: int, goes_on: bool
) -> None:
    simulator.client.fault("openapi/quota/get", "errcode", errcode=errcode, times=1)
    answer = boss.post(url("quotas", account.pk))
    assert (len(simulator.client.calls("openapi/quota/get")) > 1, bool(answer.context["error"])) == (
        goes_on,
        not goes_on,
    )
    assert ["error" in row for row in answer.context["rows"]][:2] == ([True, False] if goes_on else [])


def test_clearing_says_ten_times_a_month_before_it_does(
    boss: Client, account: ChannelAccount, simulator: RunningSimulator
) -> None:
    assert "ten times a month" in boss.post(url("reset_quotas", account.pk)).content.decode()
    assert simulator.client.calls("clear_quota") == []
    assert told(boss.post(url("reset_quotas", account.pk), {"sure": "1"})) == ["All call counters are reset."]
    assert len(simulator.client.calls("clear_quota")) == 1
    simulator.client.fault("clear_quota", "errcode", errcode=48006)
    assert "48006" in told(boss.post(url("reset_quotas", account.pk), {"sure": "1"}))[-1]


def test_kinds_without_counters_have_no_such_page(boss: Client) -> None:
    other = factories.account()
    for name in ("quotas", "reset_quotas"):
        assert boss.post(url(name, other.pk)).status_code == 404
    assert boss.get(url("templates", other.pk)).status_code == 404
    assert "Calls left" not in boss.get(url("change", other.pk)).content.decode()


# --- restrictions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rights", [(), ("bridge.read_content",)])
def test_the_words_of_a_refusal_are_hidden_from_those_who_may_not_read(
    staff: Callable[..., Client], account: ChannelAccount, rights: tuple[str, ...]
) -> None:
    until = timezone.now() + timedelta(hours=5)
    factories.restriction(account, "typing", code="48001", code_params={"detail": "canary"}, until=until)
    page = staff("accounts.view_channelaccount", *rights).get(url("change", account.pk)).content.decode()
    assert ("the typing indicator" in page, "canary" in page) == (True, bool(rights))


def test_what_the_platform_refuses_is_shown_and_tried_again(boss: Client, account: ChannelAccount) -> None:
    until = timezone.now() + timedelta(hours=5)
    factories.restriction(account, "typing", code="48001", until=until)
    assert not capabilities.is_allowed(account.pk, "typing")
    html = boss.get(url("change", account.pk)).content.decode()
    assert "does not grant" in html
    assert "Try again now" in html
    boss.post(url("try_again", account.pk), {"capability": "typing"})
    assert capabilities.is_allowed(account.pk, "typing")
    assert "Try again now" not in boss.get(url("change", account.pk)).content.decode()


# --- templates ----------------------------------------------------------------------------------------------------------------


def test_the_lines_of_a_template() -> None:
    found = Template("T1", "t", "会议:{{thing1.DATA}}\n时间： {{ time2.DATA }}\nno line\n{{x.DATA}}")
    assert found.lines == (("会议", "thing1"), ("时间", "time2"), ("", "x"))


def test_a_subscribe_message_is_sent_from_its_template(
    boss: Client, account: ChannelAccount, simulator: RunningSimulator
) -> None:
    simulator.client.accept(factories.MINI, "oUSER", "T1")
    page = boss.get(url("templates", account.pk)).content.decode()
    assert "报名成功" in page
    assert "?template=T1" in page
    address = url("templates", account.pk) + "?template=T1"
    assert "OpenID" in boss.get(address).content.decode()
    form = {"peer_id": "oUSER", "page": "", "line_thing1": "周会", "line_time2": "15:00"}
    sent = boss.post(address, form)
    message = Message.objects.get()
    assert sent.headers["Location"] == reverse("admin:bridge_conversation_change", args=[message.conversation_id])
    assert (message.kind, message.source) == ("subscribe", "staff")
    work_off()
    assert message.deliveries.get().state == "delivered"
    assert "周会" in simulator.client.sent_to("oUSER")[0]["text"]


def test_a_line_that_is_missing_is_named(boss: Client, account: ChannelAccount) -> None:
    address = url("templates", account.pk) + "?template=T1"
    answer = boss.post(address, {"peer_id": "oUSER", "line_thing1": "周会"})
    assert list(answer.context["form"].errors) == ["line_time2"]
    assert not Message.objects.exists()


def test_templates_need_the_right_to_send(staff: Callable[..., Client], account: ChannelAccount) -> None:
    client = staff("accounts.view_channelaccount")
    assert client.get(url("templates", account.pk)).status_code == 403
    assert "Subscribe messages" not in client.get(url("change", account.pk)).content.decode()


def test_a_platform_that_refuses_the_list_says_why(
    boss: Client, account: ChannelAccount, simulator: RunningSimulator
) -> None:
    simulator.client.fault("wxaapi/newtmpl/gettemplate", "errcode", errcode=48001)
    assert "48001" in boss.get(url("templates", account.pk)).context["error"]
