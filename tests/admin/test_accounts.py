"""Accounts: the form of each kind, what a blank keeps, and the buttons against the simulator."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.messages import get_messages
from django.db import IntegrityError, transaction
from django.urls import reverse

from accounts.channels import build_channel
from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount
from bridge.models import Conversation
from channels_wechat import channel_class
from channels_wechat.contract.messages import Content, Outgoing, Peer
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from channels_wechat.simulator import RunningSimulator

ADD = "/admin/accounts/channelaccount/add/?kind=wecom_app"
NEW = {"name": "New app", "enabled": "on", "api_base_url": "", **factories.APP_FIELDS_WITH_SEATS}


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=args)


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors.items())


def test_the_kinds_are_shown_before_the_fields(boss: Client) -> None:
    page = boss.get(url("add")).content.decode()
    assert "?kind=wecom_app" in page
    assert "?kind=wecom_aibot" in page
    assert "Receive group messages" in page


def test_an_account_is_added(boss: Client) -> None:
    response = boss.post(ADD, NEW)
    assert response.status_code == 302, errors(response)
    account = ChannelAccount.objects.get()
    assert (account.kind, account.external_id) == ("wecom_app", "ww1234567890abcdef/1000002")
    assert account.credentials == {**factories.APP_FIELDS_WITH_SEATS, "agent_id": 1000002, "seats": 20}


def shares(account: ChannelAccount) -> tuple[int, int | None]:
    account.refresh_from_db()
    return account.gateway_share, account.turns_per_minute


def test_shares_are_set_and_shown(boss: Client) -> None:
    account = factories.account()
    for given, stored in ((("40", "5"), (40, 5)), (("", ""), (40, None))):
        boss.post(url("change", account.pk), {**NEW, "gateway_share": given[0], "turns_per_minute": given[1]})
        assert shares(account) == stored
    page = boss.get(url("change", account.pk)).content.decode()
    assert re.search(
        r'<input[^>]* name="gateway_share"[^>]* value="40"|<input[^>]* value="40"[^>]* name="gateway_share"', page
    )
    assert re.search(r'<input[^>]* name="turns_per_minute"', page)
    assert "share of a gateway, percent" in page.lower()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("gateway_share", value) for value in ("0", "101", "-1", "1.5", "much")),
        *(("turns_per_minute", value) for value in ("0", "1001", "-1", "1.5", "many")),
    ],
)
def test_shares_that_make_no_sense_are_refused_at_their_field(boss: Client, name: str, value: str) -> None:
    account = factories.account()
    before = shares(account)
    response = boss.post(
        url("change", account.pk), {**NEW, "gateway_share": "50", "turns_per_minute": "9", name: value}
    )
    assert list(errors(response)) == [name]
    assert shares(account) == before


def test_a_blank_secret_keeps_the_stored_one(boss: Client) -> None:
    account = factories.account()
    boss.post(url("change", account.pk), {**NEW, "secret": "", "token": "", "encoding_aes_key": "", "seats": "30"})
    account.refresh_from_db()
    assert account.credentials == {**factories.APP_FIELDS_WITH_SEATS, "seats": 30}


def test_a_blank_field_that_is_no_secret_is_emptied(boss: Client) -> None:
    account = factories.account(fields={"seats": 20})
    boss.post(url("change", account.pk), {**NEW, "seats": "30"})
    boss.post(url("change", account.pk), {**NEW, "seats": ""})
    account.refresh_from_db()
    assert account.credentials == {**factories.APP_FIELDS_WITH_SEATS, "seats": None}


def test_a_new_secret_replaces_the_stored_one_and_revives(boss: Client) -> None:
    account = factories.account(state=Health.STOPPED, state_params={"text": "refused"})
    factories.access_token(account, failure_code="40001")
    boss.post(url("change", account.pk), {**NEW, "secret": "another"})
    account.refresh_from_db()
    assert account.credentials["secret"] == "another"
    assert (account.state, account.state_reason) == (Health.NEW, "")
    assert AccessToken.objects.get().failure == ""


def test_saving_keeps_what_others_found_out_meanwhile(boss: Client) -> None:
    account = factories.account()
    ChannelAccount.objects.filter(pk=account.pk).update(state=Health.OK)
    boss.post(url("change", account.pk), NEW)
    account.refresh_from_db()
    assert account.state == Health.OK


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("corp_id", "", "required"),
        ("corp_id", "not an id", "Character 4 is a blank"),
        ("corp_id", "hello", "begins with ww"),
        ("corp_id", "1234567890abcdef", "begins with ww"),
        ("agent_id", "x", "whole number"),
        ("secret", "", "required"),
        ("encoding_aes_key", "short", "43 characters"),
        ("encoding_aes_key", "!" * 43, "43 characters"),
        ("token", "with blanks in it", "Character 5 is a blank"),
        ("name", "", "required"),
        ("api_base_url", "http://10.1.2.3", "private network"),
        ("api_base_url", "http://169.254.169.254/latest", "never called"),
        ("api_base_url", "ftp://example.com", "http://"),
    ],
)
def test_what_is_wrong_is_said_at_the_field(boss: Client, field: str, value: str, says: str) -> None:
    response = boss.post(ADD, {**NEW, field: value})
    assert says in " ".join(errors(response)[field])
    assert not ChannelAccount.objects.exists()


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("wecom_app", "我的企业"),
        ("wecom_app", "应用管理"),
        ("wecom_app", "接收消息"),
        ("wecom_aibot", "智能机器人"),
        ("wecom_aibot", "我的企业"),
        ("wecom_robot", "消息推送"),
        ("wecom_kf", "可调用接口的应用"),
        ("official_account", "设置与开发) → Basic configuration (基本配置"),
        ("mini_program", "开发管理) → Development settings (开发设置"),
    ],
)
def test_a_form_names_the_menu_in_the_consoles_own_words(boss: Client, kind: str, place: str) -> None:
    page = boss.get(f"{url('add')}?kind={kind}").content.decode()
    assert place in page
    others = {"official_account": "开发管理", "mini_program": "基本配置"}
    assert others.get(kind, "未知") not in page


def test_two_accounts_cannot_have_one_name(boss: Client) -> None:
    first = factories.account(name="Demo App", external_id="first")
    response = boss.post(ADD, {**NEW, "name": "demo  app"})
    assert "There is an account with this name already: “Demo App”" in errors(response)["name"][0]
    assert url("change", first.pk) in response.content.decode()
    assert ChannelAccount.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        ChannelAccount.objects.filter(pk=factories.account(name="Other", external_id="second").pk).update(
            name="DEMO APP"
        )


@pytest.mark.parametrize(
    ("first", "name"),
    [("DemoApp", "Demo\u200bApp"), ("Demo App", "Ｄｅｍｏ\u3000App"), ("Demo App", "DEMO\u00a0APP\ufeff")],
)
def test_names_that_look_alike_are_one_name(boss: Client, first: str, name: str) -> None:
    factories.account(name=first, external_id="first")
    assert "There is an account with this name already" in errors(boss.post(ADD, {**NEW, "name": name}))["name"][0]


def test_a_name_that_nobody_sees_is_none(boss: Client) -> None:
    assert list(errors(boss.post(ADD, {**NEW, "name": "\u200b\u2060"}))) == ["name"]
    assert not ChannelAccount.objects.exists()


def test_saving_leads_to_the_callback_address_and_the_test(boss: Client) -> None:
    response = boss.post(ADD, NEW, follow=True)
    account = ChannelAccount.objects.get()
    assert response.redirect_chain == [(url("change", account.pk), 302)]
    page = response.content.decode()
    assert f"https://bridge.example/callbacks/{account.key}" in page
    assert ">Test</button>" in page
    assert "Next: enter the callback address below" in page


@pytest.mark.parametrize(
    "kind",
    [
        "wecom_app",
        "wecom_aibot",
        "wecom_robot",
        "wecom_kf",
        "official_account",
        "mini_program",
        "wechaty",
        "webhook_account",
        "ilink",
    ],
)
def test_a_page_to_add_says_what_is_added(boss: Client, kind: str) -> None:
    page = boss.get(f"{url('add')}?kind={kind}").content.decode()
    label = html.escape(str(channel_class(kind).label))
    assert f'<h2 class="b-title">Add: {label}</h2>' in page


def test_the_same_identity_twice_is_refused_at_its_field(boss: Client) -> None:
    factories.account(external_id="ww1234567890abcdef/1000002", name="First")
    response = boss.post(ADD, NEW)
    assert errors(response) == {"corp_id": ["The account “First” has this identity already."]}
    assert "Open “First”, which has it already" in response.content.decode()
    assert ChannelAccount.objects.count() == 1


def test_an_identity_counts_within_its_kind_only(boss: Client) -> None:
    factories.account("wecom_aibot", external_id="ww1234567890abcdef/1000002", name="First")
    assert boss.post(ADD, NEW).status_code == 302
    assert sorted(ChannelAccount.objects.values_list("kind", "external_id")) == [
        ("wecom_aibot", "ww1234567890abcdef/1000002"),
        ("wecom_app", "ww1234567890abcdef/1000002"),
    ]


def test_an_address_that_the_settings_name_is_taken(boss: Client) -> None:
    assert boss.post(ADD, {**NEW, "api_base_url": "http://127.0.0.1:9"}).status_code == 302


def test_the_page_shows_the_callback_address_and_the_last_callback(boss: Client, settings: Any) -> None:
    account = factories.account()
    page = boss.get(url("change", account.pk)).content.decode()
    assert f"https://bridge.example/callbacks/{account.key}" in page
    assert "none yet" in page
    factories.note_callback(account, "signature", refused=True)
    page = boss.get(url("change", account.pk)).content.decode()
    assert "wrong signature (Token) × 1" in page
    assert re.search(r"refused</span>\s*wrong signature", page)
    for result in ("verified", "ok"):
        factories.note_callback(account, result, refused=False)
        page = boss.get(url("change", account.pk)).content.decode()
        assert re.search(r"Last callback:.*?>accepted</span>", page)
    settings.PUBLIC_URL = ""
    page = boss.get(url("change", account.pk)).content.decode()
    assert "Set PUBLIC_URL" in page
    assert "/callbacks/" not in page


def test_test_says_what_works(boss: Client, app: ChannelAccount) -> None:
    response = boss.post(url("test", app.pk), follow=True)
    app.refresh_from_db()
    assert app.state == Health.OK
    assert response.redirect_chain == [(url("change", app.pk), 302)]


def test_test_with_a_wrong_secret_stops_the_account_with_the_reason(boss: Client, app: ChannelAccount) -> None:
    app.credentials = {**factories.APP_FIELDS_WITH_SEATS, "secret": "wrong"}
    app.save(update_fields=["credentials"])
    response = boss.post(url("test", app.pk))
    app.refresh_from_db()
    assert app.state == Health.STOPPED
    assert "40001" in app.state_reason
    assert told(response) == ["The test failed. The reason is shown beside the state."]
    page = boss.get(url("change", app.pk)).content.decode()
    assert page.count(html.escape(app.state_reason)) == 1


def test_refresh_token_fetches_another_one(boss: Client, app: ChannelAccount) -> None:
    boss.post(url("refresh_token", app.pk))
    first = AccessToken.objects.get()
    boss.post(url("refresh_token", app.pk))
    assert (first.generation, AccessToken.objects.get().generation) == (1, 2)


def test_an_account_is_switched_off_and_on(boss: Client) -> None:
    account = factories.account()
    for expected in (False, True):
        boss.post(url("switch", account.pk))
        account.refresh_from_db()
        assert account.enabled is expected


@pytest.mark.parametrize("name", ["test", "refresh_token", "switch"])
def test_a_button_wants_post_and_the_right(boss: Client, staff: Callable[..., Client], name: str) -> None:
    account = factories.account()
    assert boss.get(url(name, account.pk)).status_code == 405
    assert staff("accounts.view_channelaccount").post(url(name, account.pk)).status_code == 403
    account.refresh_from_db()
    assert (account.enabled, account.state) == (True, Health.NEW)
    assert not AccessToken.objects.exists()


def test_an_account_that_spoke_is_not_deleted(boss: Client, world: factories.World) -> None:
    assert boss.post(url("delete", world.app.pk), {"post": "yes"}).status_code == 403
    assert ChannelAccount.objects.filter(pk=world.app.pk).exists()


def test_a_group_is_made_shown_and_changed(boss: Client, app: ChannelAccount) -> None:
    form = {"name": "Launch", "members": "zhangsan, lisi\nzhangsan", "owner": "lisi", "group_id": "launch1"}
    response = boss.post(url("groups", app.pk), form)
    conversation = Conversation.objects.get()
    assert response.headers["Location"] == url("group", app.pk, conversation.pk)
    assert (conversation.peer_kind, conversation.peer_id, conversation.title) == ("group", "launch1", "Launch")
    page = boss.get(url("group", app.pk, conversation.pk)).content.decode()
    assert "does not receive" in page
    assert "lisi" in page
    boss.post(url("group", app.pk, conversation.pk), {"name": "Launch 2", "add": "wangwu", "remove": "", "owner": ""})
    conversation.refresh_from_db()
    assert conversation.title == "Launch 2"
    assert "wangwu" in boss.get(url("group", app.pk, conversation.pk)).content.decode()


def test_a_sent_message_is_recalled(boss: Client, app: ChannelAccount) -> None:
    channel = build_channel(app)
    receipt = channel.send(Outgoing(Peer("direct", "zhangsan"), channel.render(Content(text="oops"))[0]))
    person = factories.conversation(app, "zhangsan")
    sent = factories.message(person, "oops", "OOPS", direction="out", source="staff")
    delivery = factories.delivery(sent, remote_id=receipt.remote_id)
    page = reverse("admin:bridge_delivery_change", args=[delivery.pk])
    assert ">Recall</button>" in boss.get(page).content.decode()
    boss.post(reverse("admin:bridge_delivery_recall", args=[delivery.pk]))
    delivery.refresh_from_db()
    assert delivery.recalled_at is not None
    assert ">Recall</button>" not in boss.get(page).content.decode()


@pytest.mark.parametrize(
    ("field", "value"), [("name", ""), ("members", "zhangsan"), ("members", ""), ("group_id", "no-hyphens")]
)
def test_a_group_form_says_what_is_wrong(boss: Client, app: ChannelAccount, field: str, value: str) -> None:
    form = {"name": "Launch", "members": "zhangsan lisi", "owner": "", "group_id": "", field: value}
    response = boss.post(url("groups", app.pk), form)
    assert list(response.context["form"].errors) == [field]
    assert not Conversation.objects.exists()


def test_what_the_platform_refuses_is_said_at_the_form(
    boss: Client, app: ChannelAccount, simulator: RunningSimulator
) -> None:
    simulator.client.fault("appchat/create", "errcode", errcode=86216, errmsg="no")
    response = boss.post(url("groups", app.pk), {"name": "X", "members": "a b", "owner": "", "group_id": ""})
    assert "86216" in str(response.context["form"].non_field_errors())
    assert not Conversation.objects.exists()


def test_a_kind_without_groups_has_no_such_page(boss: Client) -> None:
    bot = factories.account("wecom_aibot", name="bot")
    assert boss.get(url("groups", bot.pk)).status_code == 404


def test_the_groups_page_wants_the_right_to_change(staff: Callable[..., Client]) -> None:
    account = factories.account()
    assert staff("accounts.view_channelaccount").get(url("groups", account.pk)).status_code == 403


def test_an_account_whose_kind_is_gone_can_be_renamed_and_switched_off_and_no_more(boss: Client) -> None:
    gone = factories.account("wecom_fax", name="Old fax", credentials=factories.APP_FIELDS, external_id="fax")
    page = boss.get(url("change", gone.pk))
    assert "does not know the kind “wecom_fax”" in page.content.decode()
    assert ">Test</button>" not in page.content.decode()
    boss.post(url("change", gone.pk), {"name": "Older fax", "retention_days": 90})
    kept = ChannelAccount.objects.get(pk=gone.pk)
    assert (kept.name, kept.enabled, kept.credentials) == ("Older fax", False, gone.credentials)
    assert [boss.post(url(name, gone.pk)).status_code for name in ("test", "refresh_token")] == [400, 400]
