"""Accounts, gateways, mappings and webhooks: what their buttons find out and note, and what their pages say of a side."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as History
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from accounts.channels import build_channel
from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount, Connection
from bridge.models import Conversation, Delivery, Message, Reason, Route, State
from channels_wechat import channel_class
from channels_wechat.contract.sentences import SENTENCES
from channels_wechat.simulator import RunningSimulator
from openclaw.models import Gateway
from openclaw.stub import RunningStub
from tests.admin.test_facts import column
from tests.admin.test_words import words
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

NOWHERE = "http://127.0.0.1:9"


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def told(response: Any) -> list[tuple[str, str]]:
    return [(message.level_tag, str(message)) for message in get_messages(response.wsgi_request)]


def deeds(row: Any) -> list[str]:
    """What the audit log was told of a row, and the history says too."""
    entries = LogEntry.objects.get_for_object(row).order_by("id")
    noted = [entry.additional_data["action"] for entry in entries if entry.additional_data]
    kept = list(History.objects.filter(object_id=str(row.pk)).order_by("id").values_list("change_message", flat=True))
    assert [deed for deed in noted if deed not in kept] == []
    return noted


# --- accounts -----------------------------------------------------------------------------------------------------------------


def test_what_a_test_found_is_noted_in_the_words_that_were_shown(boss: Client, app: ChannelAccount) -> None:
    shown = told(boss.post(url("accounts_channelaccount_test", app.pk)))
    assert {level for level, _text in shown} == {"success"}
    assert deeds(app) == [f"Tested: {' '.join(text for _level, text in shown)}"]


def test_a_platform_that_is_not_there_makes_an_account_fail_and_does_not_stop_it(boss: Client) -> None:
    account = factories.account(api_base_url=NOWHERE)
    assert told(boss.post(url("accounts_channelaccount_test", account.pk)))[0][0] == "error"
    account.refresh_from_db()
    assert (account.state, bool(account.next_try_at)) == (Health.FAILING, True)
    assert deeds(account) == [f"Tested: {account.state_reason}"]


def test_a_refusal_that_passes_is_no_state_of_the_account(
    boss: Client, app: ChannelAccount, simulator: RunningSimulator
) -> None:
    """A limit of the platform says nothing of the account's settings."""
    simulator.client.fault("agent/get", "errcode", errcode=45009, times=1)
    [(level, text)] = told(boss.post(url("accounts_channelaccount_test", app.pk)))
    app.refresh_from_db()
    assert (level, app.state, app.state_reason) == ("error", Health.NEW, "")
    assert deeds(app) == [text]


def test_refreshing_a_token_tries_a_refused_secret_again(
    boss: Client, app: ChannelAccount, simulator: RunningSimulator
) -> None:
    app.credentials = {**factories.APP_FIELDS_WITH_SEATS, "secret": "wrong"}
    app.save(update_fields=["credentials"])
    [(level, refused)] = told(boss.post(url("accounts_channelaccount_refresh_token", app.pk)))
    assert (level, "40001" in refused) == ("error", True)
    ChannelAccount.objects.filter(pk=app.pk).update(state=Health.STOPPED, state_params={"text": "refused"})
    app.refresh_from_db()
    app.credentials = factories.APP_FIELDS_WITH_SEATS
    app.save(update_fields=["credentials"])
    assert told(boss.post(url("accounts_channelaccount_refresh_token", app.pk)))[-1] == (
        "success",
        "There is a new access token.",
    )
    app.refresh_from_db()
    assert (app.state, AccessToken.objects.get().generation) == (Health.NEW, 1)
    assert deeds(app) == [refused, "There is a new access token."]


@pytest.mark.parametrize(
    ("name", "made"),
    [("accounts_channelaccount", factories.account), ("openclaw_gateway", factories.connected_gateway)],
)
def test_what_is_switched_on_again_is_tried_again(boss: Client, name: str, made: Callable[..., Any]) -> None:
    row = made(state=Health.STOPPED, state_params={"text": "refused"}, enabled=False)
    label = {True: ">Disable</button>", False: ">Enable</button>"}
    for enabled, state, said in ((True, Health.NEW, "Enabled."), (False, Health.NEW, "Disabled.")):
        assert label[not enabled] in boss.get(url(f"{name}_change", row.pk)).content.decode()
        assert told(boss.post(url(f"{name}_switch", row.pk)))[-1] == ("success", said)
        row.refresh_from_db()
        assert (row.enabled, row.state) == (enabled, state)
    history = History.objects.filter(object_id=str(row.pk)).order_by("id").values_list("change_message", flat=True)
    assert list(history) == ["Enabled.", "Disabled."]


@pytest.mark.parametrize(
    ("name", "made", "query"),
    [
        ("accounts_channelaccount", factories.account, "?kind=wecom_app"),
        ("openclaw_gateway", factories.connected_gateway, ""),
    ],
)
def test_after_adding_the_next_step_is_said(boss: Client, name: str, made: Callable[..., Any], query: str) -> None:
    new = {
        "accounts_channelaccount": {**factories.APP_FIELDS_WITH_SEATS, "name": "New", "enabled": "on", "retention_days": 90},
        "openclaw_gateway": {
            "name": "Home", "base_url": NOWHERE, "transport": "ws", "timeout_seconds": 60, "max_in_flight": 2,
        },
    }[name]  # fmt: skip
    said = told(boss.post(url(f"{name}_add") + query, new))
    assert [text for _level, text in said if text.startswith("Next: ")] == [said[-1][1]]
    assert "press Test" in said[-1][1]


def test_refused_callbacks_with_one_cause_are_counted_together(boss: Client) -> None:
    account = factories.account()
    for code, count in (("length", 1), ("padding", 2), ("signature", 1)):
        for _time in range(count):
            factories.note_callback(account, code, refused=True)
    panels = boss.get(url("accounts_channelaccount_change", account.pk)).context["panels"]
    (refusals,) = (panel["facts"]["refusals"] for panel in panels.above_form if "refusals" in panel["facts"])
    assert list(refusals.items()) == [("not readable with the EncodingAESKey", 3), ("wrong signature (Token)", 1)]


def test_only_what_a_kind_can_do_is_offered(boss: Client, staff: Callable[..., Client]) -> None:
    """Button → kinds that have it."""
    made = {
        "app": factories.account(),
        "bot": factories.account("wecom_aibot", name="bot"),
        "mini": factories.mini_with_a_token(),
    }
    pages = {
        kind: boss.get(url("accounts_channelaccount_change", row.pk)).content.decode() for kind, row in made.items()
    }
    offered = {
        word: {kind for kind, page in pages.items() if f">{word}</" in page}
        for word in ("Test", "Refresh token", "Groups", "Calls left", "Subscribe messages", "Open the conversation")
    }
    assert offered == {
        "Test": {"app", "bot", "mini"},
        "Refresh token": {"app", "mini"},
        "Groups": {"app"},
        "Calls left": {"mini"},
        "Subscribe messages": {"mini"},
        "Open the conversation": {"app", "mini"},
    }
    reader = staff("accounts.view_channelaccount")
    pages = {
        kind: reader.get(url("accounts_channelaccount_change", row.pk)).content.decode() for kind, row in made.items()
    }
    assert [word for word in offered for page in pages.values() if f">{word}</" in page] == []


@pytest.mark.parametrize(
    "kind",
    [
        "wecom_app",
        "wecom_aibot",
        "wecom_robot",
        "wecom_kf",
        "mini_program",
        "official_account",
        "wechaty",
        "webhook_account",
        "ilink",
    ],
)
def test_a_form_offers_each_setting_of_its_kind_once(boss: Client, kind: str) -> None:
    page = boss.get(url("accounts_channelaccount_add") + f"?kind={kind}")
    offered = [str(name) for _title, options in page.context["adminform"].fieldsets for name in options["fields"]]
    ours = {
        "name",
        "enabled",
        "retention_days",
        "gateway_share",
        "turns_per_minute",
        "staff_minutes",
        "language",
        "api_base_url",
    }
    wanted = ours | {*channel_class(kind).Credentials.base_fields} | {f"sentence_{name}" for name in SENTENCES}
    assert sorted(offered) == sorted(wanted | ({"moderation_scope"} if kind == "mini_program" else set()))


def test_a_limit_says_for_whom_it_counts(boss: Client, app: ChannelAccount) -> None:
    shown = words(boss, "accounts_channelaccount_change", app.pk)
    scopes = [limit.scope for limit in build_channel(app).limits]
    assert {"account", "direct"} <= set(scopes)
    assert shown.count("counted for each person") == scopes.count("direct")
    assert shown.count("counted for each group") == scopes.count("group")


def test_a_reason_is_hidden_only_where_there_is_one(staff: Callable[..., Client], world: factories.World) -> None:
    client = staff("accounts.view_channelaccount", "openclaw.view_gateway")
    assert column(client, "accounts_channelaccount", "hidden_reason") == {
        world.app.pk: "hidden: you may not read messages",
        world.bot.pk: "–",
    }
    assert column(client, "openclaw_gateway", "hidden_reason") == {world.gateway.pk: "–"}


# --- gateways -----------------------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_not_there_fails_and_is_tried_again(boss: Client) -> None:
    gateway = factories.connected_gateway(base_url=NOWHERE, device_key="")
    boss.post(url("openclaw_gateway_test", gateway.pk))
    gateway.refresh_from_db()
    assert (gateway.state, gateway.state_code) == (Health.FAILING, "unreachable")
    assert deeds(gateway) == [f"Tested: {gateway.state_reason}"]


def test_a_gateway_that_waits_for_approval_names_the_command(boss: Client) -> None:
    gateway = factories.connected_gateway(base_url=NOWHERE)
    waits, anyway = "The gateway waits for approval. Run on its host:", "To approve it, run on the gateway's host:"
    for code, sentence in (
        ("pairing_required", waits),
        ("missing_scope", waits),
        ("unreachable", anyway),
        ("", anyway),
    ):
        Gateway.objects.update(state_code=code)
        assert sentence in words(boss, "openclaw_gateway_change", gateway.pk).replace("&#x27;", "'"), code
    with RunningStub() as stub:
        stub.faults.pairing = True
        Gateway.objects.update(base_url=stub.base_url, token="", device_token="")
        gateway = Gateway.objects.get()
        gateway.token = stub.token
        gateway.save(update_fields=["token"])
        (_level, found), (level, failed) = told(boss.post(url("openclaw_gateway_test", gateway.pk)))
    assert (level, "Run “openclaw devices approve " in failed) == ("warning", True)
    assert deeds(gateway) == [f"Tested: {found} {failed}"]


def test_a_new_key_lets_a_stopped_gateway_try_again(boss: Client) -> None:
    gateway = factories.connected_gateway(
        state=Health.STOPPED, state_code="pairing_required", state_params={"text": "not approved"}
    )
    before = gateway.device_key
    boss.post(url("openclaw_gateway_make_key", gateway.pk))
    gateway.refresh_from_db()
    assert (gateway.state, gateway.device_key != before) == (Health.NEW, True)
    assert len(deeds(gateway)) == 1


@pytest.mark.parametrize(("seconds", "connected"), [(60, True), (-1, False)])
def test_a_connection_whose_lease_is_over_is_none(
    boss: Client, world: factories.World, seconds: int, connected: bool
) -> None:
    until = timezone.now() + timedelta(seconds=seconds)
    Connection.objects.create(gateway=world.gateway, owner="vm:42:cafe", owner_until=until, state="connected")
    shown = words(boss, "openclaw_gateway_change", world.gateway.pk)
    found = ("held by connector vm, process 42" in shown, "Just now no connector holds it" in shown)
    assert found == (connected, not connected)


def test_a_gateway_is_not_its_own_double(boss: Client, world: factories.World) -> None:
    new = {
        "name": "Other",
        "base_url": world.gateway.base_url,
        "transport": "ws",
        "timeout_seconds": 60,
        "max_in_flight": 2,
    }
    said = told(boss.post(url("openclaw_gateway_change", world.gateway.pk), new))
    assert [text for _level, text in said if "same address" in text] == []
    assert Gateway.objects.get().name == "Other"


def test_a_gateway_that_was_used_is_not_deleted(boss: Client, world: factories.World) -> None:
    spare = factories.connected_gateway(name="Spare")
    Route.objects.all().delete()
    statuses = [
        boss.post(url("openclaw_gateway_delete", row.pk), {"post": "yes"}).status_code for row in (world.gateway, spare)
    ]
    assert statuses == [403, 302]
    assert list(Gateway.objects.all()) == [world.gateway]


def test_agents_are_counted_where_the_gateway_told_them(boss: Client) -> None:
    known, silent = factories.connected_gateway(), factories.connected_gateway(name="Silent", agents=[])
    assert column(boss, "openclaw_gateway", "agent_count") == {known.pk: "2", silent.pk: "–"}


# --- mappings -----------------------------------------------------------------------------------------------------------------


def test_a_mapping_of_many_says_of_whom(boss: Client, world: factories.World) -> None:
    Route.objects.all().delete()
    where = {"account": world.bot, "gateway": world.gateway, "agent_id": "main"}
    made = [Route.objects.create(peer_kind=kind, **where) for kind in ("", "group", "direct")]
    assert column(boss, "bridge_route", "who") == dict(
        zip([route.pk for route in made], ["everyone", "all groups", "all persons"], strict=True)
    )


@pytest.mark.parametrize(
    ("state", "reason", "right", "offered"),
    [
        (State.SKIPPED, Reason.NO_ROUTE, True, True),
        (State.SKIPPED, Reason.NO_ROUTE, False, False),
        (State.SKIPPED, Reason.NOT_ADDRESSED, True, False),
        (State.DEAD, Reason.NO_ROUTE, True, False),
    ],
)
def test_only_what_had_no_mapping_is_offered_to_who_may_replay(
    staff: Callable[..., Client], world: factories.World, state: str, reason: str, right: bool, offered: bool
) -> None:
    Delivery.objects.filter(state=State.SKIPPED).delete()
    factories.delivery(factories.message(world.group, "hello?", "UNMAPPED"), state, reason)
    client = staff("bridge.view_route", "bridge.change_route", *(["bridge.replay_delivery"] if right else []))
    form = {
        "account": world.bot.pk, "peer_kind": "group", "peer_id": "wrGROUP", "gateway": world.gateway.pk,
        "agent_id": "main", "scope": "conversation", "trigger": "all", "enabled": "on",
    }  # fmt: skip
    said = told(client.post(url("bridge_route_change", world.route.pk), form))
    assert [("can now be replayed" in text) for _level, text in said if "unanswered" in text] == [True] * offered


def test_chats_are_offered_by_what_they_are_called(boss: Client, world: factories.World) -> None:
    page = boss.get(url("bridge_route_add")).content.decode()
    assert f'<option value="wrGROUP" data-owner="{world.bot.pk}">{world.group.title}, {world.bot}</option>' in page
    assert f'<option value="zhangsan" data-owner="{world.app.pk}">张三, {world.app}</option>' in page


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"sender": "zhangsan", "addressed": "on"}, "This agent gets it: main"),
        ({"sender": "zhangsan"}, "No agent gets it"),
        ({"sender": "lisi", "addressed": "on"}, "No agent gets it"),
    ],
)
def test_the_box_asks_with_everything_that_was_given(
    boss: Client, world: factories.World, asked: dict[str, str], answer: str
) -> None:
    Route.objects.update(trigger="mention", allowed_senders="zhangsan")
    peer = {"account": str(world.bot.pk), "peer_kind": "group", "peer_id": "wrGROUP", "text": "hi"}
    shown = words(boss, "bridge_route_explain", **peer, **asked)
    assert answer in shown
    assert "Open the mapping" in shown


def test_the_box_offers_a_mapping_to_who_may_add_one(
    boss: Client, staff: Callable[..., Client], world: factories.World
) -> None:
    peer = {"account": str(world.bot.pk), "peer_kind": "group", "peer_id": "wrOTHER"}
    assert "Map this group" in words(boss, "bridge_route_explain", **peer)
    assert "Map this group" not in words(staff("bridge.view_route"), "bridge_route_explain", **peer)


# --- subscribe messages -------------------------------------------------------------------------------------------------------


def test_a_subscribe_message_goes_to_whom_and_opens_what_was_typed(boss: Client) -> None:
    template = {"priTmplId": "T1", "title": "报名", "content": "会议:{{thing1.DATA}}", "type": 2}
    second = {"priTmplId": "T2", "title": "取消", "content": "会议:{{thing1.DATA}}", "type": 2}
    with RunningSimulator() as running:
        keys = {"token": factories.TOKEN, "aes_key": factories.KEY}
        running.client.mini(
            factories.MINI,
            secret=factories.SECRET,
            templates=[template, second],
            **keys,
        )
        mini = factories.mini_with_a_token(running.url)
        mini.token.delete()
        address = url("accounts_channelaccount_templates", mini.pk) + "?template=T2"
        form = {"peer_id": " oUSER ", "page": "pages/index?id=1", "line_thing1": "周会"}
        sent = boss.post(address, form)
        message = Message.objects.get()
        assert sent.status_code == 302
        assert (message.peer_kind, message.peer_id) == ("direct", "oUSER")
        assert message.data == {
            "template_id": "T2", "page": "pages/index?id=1", "data": {"thing1": {"value": "周会"}},
        }  # fmt: skip
        assert deeds_of(message.conversation) == ["sent a message"]
        refused = boss.post(address, {**form, "peer_id": "a|b"})
        assert (refused.status_code, Message.objects.count()) == (200, 1)
        assert refused.context["form"].non_field_errors()
        boss.post(address, {**form, "page": ""})
        assert "page" not in Message.objects.latest("id").data


def deeds_of(conversation: Conversation | None) -> list[str]:
    entries = LogEntry.objects.get_for_object(conversation).order_by("id")
    return [entry.additional_data["action"] for entry in entries if entry.additional_data]
