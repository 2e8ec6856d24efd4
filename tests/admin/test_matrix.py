"""Every page and button of the admin for every role: who may open it, who may press it, and that a refusal changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry as AuditEntry
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import Client
from django.urls import URLResolver, reverse
from django.utils import timezone
from knox.models import AuthToken

from accounts.models import ChannelAccount
from accounts.state_changes import StateChange
from bridge.models import Contact, Route, SavedFilter
from channels_wechat import KINDS
from tests.support import factories, fake_phone

if TYPE_CHECKING:
    from collections.abc import Iterator

# A letter for each role. Anonymous people come nowhere but to the login.
ROLES = {"N": "no role", "V": "Viewers", "O": "Operators", "A": "Admins", "S": "superuser"}
ALL, VIEW, WORK, RULE, NOBODY = "NVOAS", "VOAS", "OAS", "AS", ""
PASSWORD = "correct horse battery"


@dataclass
class Page:
    """open: who may GET it; press: who may POST it; at: the arguments of its address; with_: what is posted; ask: what is asked."""

    open: str = NOBODY
    press: str = NOBODY
    at: str = ""
    with_: dict[str, Any] | None = None
    ask: str = ""


NEW_USER = {"username": "new", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
CANNED = {"shortcut": "bye", "text": "Goodbye"}
ROUTE = {"account": "{bot}", "gateway": "{gateway}", "agent_id": "main", "scope": "conversation", "trigger": "all"}
GATEWAY = {
    "name": "Other",
    "base_url": "http://127.0.0.1:18789",
    "transport": "ws",
    "timeout_seconds": 60,
    "max_in_flight": 2,
}
ALERTS = {"kind": "email", "name": "Other", "emails": "a@example.com", "language": "en", "max_per_hour": 5}
ALERT_RULE = {"kind": "backlog", "name": "Other", "minutes": 7, "least_severity": 2}
WEBHOOK = {"name": "Other", "url": "http://127.0.0.1:9/", "events": ["message.received"]}
USER = {"username": "renamed", "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
OVERVIEW = {
    "index": Page(ALL),
    "search": Page(ALL),
    "app_list": Page(VIEW, at="bridge"),
    "jsi18n": Page(ALL),
    "view_on_site": Page(at="1 1"),
    "autocomplete": Page(VIEW, ask="?app_label=bridge&model_name=route&field_name=account"),
    "password_change": Page(
        ALL, ALL, with_={"old_password": PASSWORD, "new_password1": "staple-new-1", "new_password2": "staple-new-1"}
    ),
    "password_change_done": Page(ALL),
}


def standard(model: str, at: str, see: str, write: str = NOBODY, add: str = NOBODY, **data: Any) -> dict[str, Page]:
    """The five pages Django makes for a model, and what is beside its list. at: the row to look at; spare: the row to delete; new, changed:
    what is posted."""
    delete = data.get("delete", write if "spare" in data else NOBODY)
    return {
        f"{model}_changelist": Page(see),
        f"{model}_add": Page(add, add, with_=data.get("new"), ask=data.get("ask", "")),
        f"{model}_history": Page(see, at=at),
        f"{model}_change": Page(see, write, at=at, with_=data.get("changed")),
        f"{model}_delete": Page(delete, delete, at=data.get("spare", at), with_={"post": "yes"}),
        **beside_list(model, f"{model}_changelist", see),
    }


def beside_list(prefix: str, page: str, see: str) -> dict[str, Page]:
    """The download of a list and its saved filters; page: the name of the list. Those that are there are a colleague's, who shares them."""
    return {
        f"{prefix}_export": Page(press=both(see, RULE)),
        f"{prefix}_save_filter": Page(press=see, with_={"name": "Mine"}, ask="?q=x"),
        f"{prefix}_remove_filter": Page(press=both(see, WORK), at=f"{{saved_{page}}}"),
    }


def both(one: str, other: str) -> str:
    return "".join(letter for letter in one if letter in other)


CONFIGURATION = {
    **standard(
        "accounts_channelaccount", "{app}", VIEW, RULE, RULE, spare="{spare_account}", ask="?kind=wecom_app",
        new={**factories.APP_FIELDS_WITH_SEATS, "name": "Other", "agent_id": 7, "enabled": "on", "retention_days": 90},
        changed={**factories.APP_FIELDS_WITH_SEATS, "name": "Renamed", "retention_days": 90},
    ),
    "accounts_channelaccount_groups": Page(RULE, at="{app}"),
    "accounts_channelaccount_scan": Page(RULE, at="wecom_aibot"),
    "accounts_channelaccount_scan_code": Page(RULE, RULE, at="wecom_aibot"),
    "accounts_channelaccount_scan_state": Page(press=RULE, at="wecom_aibot"),
    "accounts_channelaccount_scan_again": Page(press=RULE, at="{scanned}"),
    "accounts_channelaccount_scan_another": Page(press=RULE, at="{scanned}"),
    "accounts_channelaccount_group": Page(RULE, at="{app} {app_group}"),
    "accounts_channelaccount_test": Page(press=RULE, at="{app}"),
    "accounts_channelaccount_setup": Page(VIEW, at="{app}"),
    "accounts_channelaccount_login_state": Page(RULE, at="{phone}"),
    "accounts_channelaccount_log_out": Page(RULE, RULE, at="{phone}"),
    "accounts_channelaccount_stop_sending": Page(press=RULE, at="{app}"),
    "accounts_channelaccount_allow_sending": Page(press=RULE, at="{silent}"),
    "accounts_channelaccount_refresh_token": Page(press=RULE, at="{app}"),
    "accounts_channelaccount_switch": Page(press=RULE, at="{app}"),
    "accounts_channelaccount_write": Page(press=WORK, at="{app}", with_={"peer_id": "lisi"}),
    "accounts_channelaccount_quotas": Page(press=RULE, at="{mini}"),
    "accounts_channelaccount_reset_quotas": Page(press=RULE, at="{mini}", with_={"sure": "1"}),
    "accounts_channelaccount_read_directory": Page(press=RULE, at="{app}"),
    "accounts_channelaccount_customer_groups": Page(VIEW, at="{app}"),
    "accounts_channelaccount_customer_messages": Page(RULE, at="{app}"),
    "accounts_channelaccount_try_again": Page(press=RULE, at="{mini}", with_={"capability": "moderation"}),
    "accounts_channelaccount_templates": Page(WORK, at="{mini}"),
    **standard(
        "openclaw_gateway", "{gateway}", VIEW, RULE, RULE, spare="{spare_gateway}", new=GATEWAY, changed=GATEWAY
    ),
    "openclaw_gateway_test": Page(press=RULE, at="{gateway}"),
    "openclaw_gateway_make_key": Page(press=RULE, at="{gateway}"),
    "openclaw_gateway_switch": Page(press=RULE, at="{gateway}"),
    **standard(
        "bridge_route", "{route}", VIEW, RULE, RULE, spare="{route}", new=ROUTE, changed={**ROUTE, "note": "changed"}
    ),
    "bridge_route_explain": Page(VIEW),
    **standard("bridge_webhookendpoint", "{hook}", VIEW, RULE, RULE, spare="{hook}", new=WEBHOOK, changed=WEBHOOK),
    "bridge_webhookendpoint_test": Page(press=RULE, at="{hook}"),
    "bridge_webhookendpoint_switch": Page(press=RULE, at="{hook}"),
    "bridge_webhookendpoint_rotate": Page(press=RULE, at="{hook}", with_={"hours": 1}),
    **standard("bridge_alertchannel", "{alert_channel}", VIEW, RULE, RULE, spare="{alert_channel}", new=ALERTS, changed=ALERTS),
    "bridge_alertchannel_test": Page(press=RULE, at="{alert_channel}"),
    "bridge_alertchannel_switch": Page(press=RULE, at="{alert_channel}"),
    "bridge_alertchannel_rotate": Page(press=RULE, at="{alert_channel}"),
    **standard("bridge_alertrule", "{alert_rule}", VIEW, RULE, RULE, spare="{alert_rule}", new=ALERT_RULE, changed=ALERT_RULE),
    "bridge_alertrule_switch": Page(press=RULE, at="{alert_rule}"),
}  # fmt: skip
TALK = {
    **standard("bridge_contact", "{contact}", VIEW, WORK, spare="{contact}", delete=RULE, changed={"name": "Li Si"}),
    **standard("bridge_contactrequest", "{contact_request}", VIEW),
    "bridge_contactrequest_accept": Page(press=WORK, at="{contact_request}"),
    "bridge_contactrequest_dismiss": Page(press=WORK, at="{contact_request}"),
    **standard("bridge_conversation", "{group}", VIEW),
    "bridge_conversation_transcript": Page(WORK, at="{group}"),
    "bridge_conversation_rename": Page(press=WORK, at="{group}", with_={"title": "Renamed"}),
    "bridge_conversation_mode": Page(press=WORK, at="{group}", with_={"mode": "human"}),
    "bridge_conversation_new_session": Page(press=WORK, at="{group}"),
    "bridge_conversation_assign": Page(press=WORK, at="{group}", with_={"colleague": "{colleague}"}),
    "bridge_conversation_note": Page(press=WORK, at="{group}", with_={"text": "call them"}),
    **standard("bridge_cannedanswer", "{canned}", WORK, WORK, WORK, spare="{canned}", new=CANNED, changed=CANNED),
    "bridge_conversation_servicers": Page(press=WORK, at="{customer}"),
    "bridge_conversation_hand_over": Page(press=WORK, at="{customer}", with_={"servicer": "wangwu"}),
    "bridge_conversation_end_service": Page(press=WORK, at="{customer}"),
    "bridge_conversation_add_fallback": Page(
        press=WORK,
        at="{group}",
        with_={"account": "{app}", "peer_kind": "direct", "peer_id": "lisi", "on_down": "on"},
    ),
    "bridge_conversation_remove_fallback": Page(press=WORK, at="{person}", with_={"fallback": "{fallback}"}),
    "bridge_conversation_send": Page(press=WORK, at="{person}", with_={"text": "hello"}),
    "bridge_conversation_move": Page(RULE, RULE, at="{group}", with_={"account": "{own}", "peer_id": "room-7"}),
    **standard("bridge_message", "{question}", VIEW),
    "bridge_message_attachment": Page(WORK, at="{picture}"),
    **standard("bridge_delivery", "{dead}", VIEW),
    "bridge_delivery_dead_letters": Page(VIEW),
    **beside_list("bridge_delivery_dead_letters", "bridge_delivery_dead_letters", VIEW),
    "bridge_delivery_replayed": Page(WORK),
    "bridge_delivery_confirm": Page(press=WORK, with_={"verb": "dismiss", "ids": "{dead}", "sure": "1"}),
    "bridge_delivery_recall": Page(press=WORK, at="{delivered}"),
    **standard("bridge_replayrun", "{replay}", VIEW, add=WORK, new={"kind": "again"}),
    "bridge_replayrun_live": Page(VIEW, at="{replay}"),
    "bridge_replayrun_report": Page(VIEW, at="{replay}"),
    "bridge_replayrun_run": Page(press=WORK, at="{replay}", with_={"outlook": "go"}),
    "bridge_replayrun_look_again": Page(press=WORK, at="{replay}"),
    "bridge_replayrun_change_before": Page(press=WORK, at="{replay}"),
    "bridge_replayrun_pause": Page(press=WORK, at="{replay_running}"),
    "bridge_replayrun_resume": Page(press=WORK, at="{replay_paused}"),
    "bridge_replayrun_cancel": Page(press=WORK, at="{replay_running}"),
    "bridge_replayrun_undo": Page(press=WORK, at="{replay_running}"),
    **standard("bridge_incident", "{incident}", VIEW),
    "bridge_incident_test_alert": Page(press=RULE),
    "bridge_incident_attention": Page(VIEW),
    "bridge_incident_acknowledge": Page(press=WORK, at="{incident}"),
    "bridge_incident_mute": Page(press=WORK, at="{incident}", with_={"how_long": "1h"}),
    "bridge_incident_take": Page(press=WORK, at="{incident}"),
    "bridge_incident_note": Page(press=WORK, at="{incident}", with_={"note": "I look at it"}),
}
PEOPLE = {
    **standard("auth_user", "{colleague}", RULE, RULE, RULE, spare="{colleague}", new=NEW_USER, changed=USER),
    "auth_user_password_change": Page(RULE, RULE, at="{colleague}", with_=NEW_USER),
    **standard("auth_group", "{spare_group}", RULE, RULE, RULE, spare="{spare_group}", new={"name": "New"}, changed={"name": "Renamed"}),
    **standard("knox_authtoken", "{token}", RULE, spare="{token}", delete=RULE),
    **standard("auditlog_logentry", "{entry}", RULE),
}  # fmt: skip
TABLE = {**OVERVIEW, **CONFIGURATION, **TALK, **PEOPLE}
# Not in the table: who is out may log in, who is in may log out.
DOORS = {"login", "logout"}
# Refused by the platform, or nothing that is kept in these tables.
CHANGES_NOTHING = {
    "accounts_channelaccount_scan_again",
    "accounts_channelaccount_scan_another",
    "accounts_channelaccount_scan_code",
    "accounts_channelaccount_scan_state",
    "accounts_channelaccount_quotas",
    "bridge_conversation_servicers",
    "bridge_delivery_recall",
    "bridge_replayrun_look_again",
}


def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, path)
        else:
            yield pattern.name or path, path


def test_every_page_is_in_the_table() -> None:
    found = {name for name, _path in walk(admin.site.get_urls())}
    redirects = {name for name in found if name.endswith("<path:object_id>/")} | {"(?P<url>.*)$"}
    assert found - redirects == set(TABLE) | DOORS


@dataclass
class Stage:
    """A world in which every page has its row; `names` fills the {…} of the table."""

    names: dict[str, Any]

    def path(self, name: str) -> str:
        page = TABLE[name]
        return reverse(f"admin:{name}", args=page.at.format(**self.names).split()) + page.ask

    def body(self, name: str) -> dict[str, Any]:
        given = TABLE[name].with_ or {}
        return {key: value.format(**self.names) if isinstance(value, str) else value for key, value in given.items()}


@pytest.fixture
def stage(world: factories.World, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setitem(KINDS, fake_phone.KIND, f"{fake_phone.__name__}.FakePhone")
    monkeypatch.setattr(fake_phone.FakePhone, "address", ("127.0.0.1", 9))
    ChannelAccount.objects.update(api_base_url="http://127.0.0.1:9")  # nobody listens there
    spare = factories.account(
        name="Spare", external_id="spare", credentials={**factories.APP_FIELDS_WITH_SEATS, "agent_id": 3}
    )
    colleague = User.objects.create_user("colleague", is_staff=True)
    token, _secret = AuthToken.objects.create(colleague)
    made = factories.conversation(world.app, "made", "group")
    mini = factories.mini_with_a_token()
    factories.restriction(mini, "moderation", code="48001", until=timezone.now() + timedelta(days=1))
    hook = factories.endpoint("http://127.0.0.1:9/hook", ["message.received"])
    service = factories.kf()
    factories.access_token(
        service, value="x", address=service.api_base_url, expires_at=timezone.now() + timedelta(hours=2)
    )
    kept = {name: row.pk for name, row in vars(world).items()}
    for name in TABLE:
        if name.endswith("_changelist") or name == "bridge_delivery_dead_letters":
            saved = SavedFilter.objects.create(owner=colleague, list=name, name="Ours", query="q=y", shared=True)
            kept[f"saved_{name}"] = saved.pk
    return Stage(
        kept
        | {
            "picture": world.picture.uuid,
            "spare_account": spare.pk,
            "spare_gateway": factories.connected_gateway(name="Spare").pk,
            "app_group": made.pk,
            "mini": mini.pk,
            "scanned": factories.account(fake_phone.KIND, {"phone": "ann", "token": "x"}).pk,
            "phone": factories.wechaty().pk,
            "replay": factories.replay_run(world.dead).pk,
            "replay_running": factories.replay_run(world.dead, "running").pk,
            "replay_paused": factories.replay_run(world.dead, "paused").pk,
            "silent": factories.robot(columns={"sending_stopped_at": timezone.now()}).pk,
            "customer": factories.conversation(service, factories.CUSTOMER).pk,
            "hook": hook.pk,
            "alert_channel": factories.alert_channel("webhook", url="http://127.0.0.1:9/alerts").pk,
            "alert_rule": factories.alert_rule("backlog").pk,
            "own": factories.own_connection().pk,
            "contact": Contact.objects.first().pk,
            "colleague": colleague.pk,
            "spare_group": Group.objects.create(name="Spare").pk,
            "token": token.pk,
            "entry": AuditEntry.objects.first().pk,
        }
    )


def client_of(letter: str) -> Client:
    user = User.objects.create_user(f"role-{letter}", password=PASSWORD, is_staff=True, is_superuser=letter == "S")
    if letter in "VOA":
        user.groups.add(Group.objects.get(name=ROLES[letter]))
    client = Client()
    client.force_login(user)
    return client


def everything() -> dict[str, list[Any]]:
    """All rows of the tables that a page could change; who was logged in when is no change, nor is what a platform answered."""
    labels = ("accounts", "openclaw", "bridge", "auth", "knox", "auditlog", "admin")
    models = [model for label in labels for model in apps.get_app_config(label).get_models(include_auto_created=True)]
    rows = {
        model._meta.label: list(model.objects.order_by("pk").values())
        for model in models
        if model not in (ContentType, StateChange)
    }
    for account in rows["accounts.ChannelAccount"]:
        for name in ("state", "state_code", "state_params", "state_since", "next_try_at", "probes"):
            del account[name]
    for token in rows["accounts.AccessToken"]:
        del token["fence"]  # counts how often the platform was asked
    return rows


def read(answer: Any) -> tuple[Any, bytes]:
    """The answer and its bytes: a file that is read to the end is closed."""
    return answer, answer.getvalue()


def is_closed(answer: Any) -> bool:
    to_login = answer.status_code == 302 and "/login/" in answer["Location"]
    return to_login or answer.status_code in (403, 404, 405)


@pytest.mark.parametrize("letter", ["", *ROLES], ids=["anonymous", *ROLES.values()])
def test_a_role_opens_its_pages_and_no_other(stage: Stage, letter: str) -> None:
    client = client_of(letter) if letter else Client()
    before = everything()
    answers = {name: read(client.get(stage.path(name))) for name in TABLE}
    opened = {name for name, (answer, _content) in answers.items() if not is_closed(answer)}
    assert opened == {name for name, page in TABLE.items() if letter and letter in page.open}
    assert everything() == before
    shown = b"".join(content for _answer, content in answers.values())
    assert [name for name, secret in factories.CANARIES.items() if secret.encode() in shown] == []


@pytest.mark.parametrize("letter", ["", *ROLES], ids=["anonymous", *ROLES.values()])
def test_a_role_presses_its_buttons_and_a_refusal_changes_nothing(stage: Stage, letter: str) -> None:
    client = client_of(letter) if letter else Client()
    may = {name for name, page in TABLE.items() if letter and letter in page.press}
    before = everything()
    for name in set(TABLE) - may:
        answer, _content = read(client.post(stage.path(name), stage.body(name)))
        assert is_closed(answer) or letter in TABLE[name].open, (name, answer.status_code)
    assert everything() == before
    session = client.cookies.get("sessionid")
    for name in may:
        with transaction.atomic():
            client.cookies["sessionid"] = session.value  # a new password changes it
            answer = client.post(stage.path(name), stage.body(name))
            assert answer.status_code in (200, 302), name
            assert not is_closed(answer), name
            assert (everything() != before) == (name not in CHANGES_NOTHING), name
            transaction.set_rollback(True)


BULK = [
    ("bridge_delivery_changelist", "replay_selected", "dead", WORK),
    ("bridge_delivery_changelist", "release_selected", "dead", WORK),
    ("bridge_delivery_dead_letters", "dismiss_selected", "dead", WORK),
    ("bridge_message_changelist", "delete_selected", "question", NOBODY),
    ("bridge_conversation_changelist", "delete_selected", "group", NOBODY),
    ("bridge_route_changelist", "delete_selected", "route", RULE),
    ("openclaw_gateway_changelist", "delete_selected", "spare_gateway", RULE),
    ("bridge_contact_changelist", "delete_selected", "contact", RULE),
    ("auth_user_changelist", "delete_selected", "colleague", NOBODY),
    ("auditlog_logentry_changelist", "delete_selected", "entry", NOBODY),
]


@pytest.mark.parametrize("letter", ["", *ROLES], ids=["anonymous", *ROLES.values()])
def test_a_role_gets_its_actions_on_many_rows(stage: Stage, letter: str) -> None:
    """What a role may do asks first (200, with how many); what it may not do is no choice, and changes nothing even when it is sure."""
    client = client_of(letter) if letter else Client()
    before = everything()
    for name, action, row, who in BULK:
        chosen = {"action": action, "_selected_action": [stage.names[row]]}
        may = bool(letter) and letter in who
        answer = client.post(stage.path(name), chosen if may else {**chosen, "post": "yes", "sure": "1"})
        assert (answer.status_code == 200 and "cl" not in (answer.context or {})) == may, (name, action)
    assert everything() == before


def test_an_admin_cannot_become_a_superuser(stage: Stage) -> None:
    client = client_of("A")
    me = User.objects.get(username="role-A")
    groups = list(me.groups.values_list("pk", flat=True))
    answer = client.post(
        reverse("admin:auth_user_change", args=[me.pk]),
        {**USER, "is_superuser": "on", "is_staff": "on", "groups": groups},
    )
    assert answer.status_code == 302
    assert User.objects.filter(pk=me.pk, username="renamed", is_superuser=False).exists()
    assert (
        client.get(reverse("admin:auth_user_changelist")).status_code == 200
    )  # the groups are kept, the rights with them


@pytest.mark.parametrize("name", ["change", "password_change", "delete"])
def test_an_admin_takes_over_a_colleague_but_no_superuser(stage: Stage, admin_user: User, name: str) -> None:
    """The colleague proves that it is not the request that is refused."""
    client, said = client_of("A"), {**NEW_USER, **USER, "post": "yes"}
    before = everything()
    answer = client.post(reverse(f"admin:auth_user_{name}", args=[admin_user.pk]), said)
    assert (answer.status_code, everything() == before) == (403, True)
    assert client.post(reverse(f"admin:auth_user_{name}", args=[stage.names["colleague"]]), said).status_code == 302
    assert everything() != before


def test_a_route_can_be_made(stage: Stage) -> None:
    """The table's data is good: otherwise a refusal would prove nothing."""
    client_of("A").post(stage.path("bridge_route_add"), stage.body("bridge_route_add"))
    assert Route.objects.count() == 2


ACCOUNT, GATEWAY_RIGHT, HOOK = "change_channelaccount", "change_gateway", "change_webhookendpoint"
BUTTONS = {
    **{f"accounts_channelaccount_{name}": ACCOUNT for name in ("test", "refresh_token", "switch", "quotas", "reset_quotas", "try_again")},
    **{f"accounts_channelaccount_{name}": ACCOUNT for name in ("read_directory", "stop_sending", "allow_sending")},
    "accounts_channelaccount_scan_state": "add_channelaccount",
    "accounts_channelaccount_scan_again": ACCOUNT,
    "accounts_channelaccount_scan_another": "add_channelaccount",
    "accounts_channelaccount_write": "send_message",
    **{f"openclaw_gateway_{name}": GATEWAY_RIGHT for name in ("test", "make_key", "switch")},
    **{f"bridge_webhookendpoint_{name}": HOOK for name in ("test", "switch", "rotate")},
    **{f"bridge_alertchannel_{name}": "change_alertchannel" for name in ("test", "switch", "rotate")},
    "bridge_alertrule_switch": "change_alertrule",
    "bridge_contactrequest_accept": "change_contact",
    "bridge_contactrequest_dismiss": "change_contact",
    "bridge_conversation_rename": "change_conversation",
    "bridge_conversation_mode": "pause_conversation",
    "bridge_conversation_new_session": "pause_conversation",
    "bridge_conversation_assign": "pause_conversation",
    **{f"bridge_conversation_{name}": "pause_conversation" for name in ("servicers", "hand_over", "end_service")},
    "bridge_conversation_add_fallback": "change_conversation",
    "bridge_conversation_remove_fallback": "change_conversation",
    "bridge_conversation_send": "send_message",
    "bridge_delivery_confirm": "dismiss_delivery",
    "bridge_delivery_recall": "send_message",
    **{
        f"bridge_replayrun_{name}": "replay_delivery"
        for name in ("run", "look_again", "pause", "resume", "cancel", "undo", "change_before")
    },
    "bridge_incident_test_alert": ACCOUNT,
    **{f"bridge_incident_{name}": "handle_incident" for name in ("acknowledge", "mute", "take", "note")},
    # Canned answers are seen with another right than that of seeing, so they take two.
    **{name: "export_list" for name in TABLE if name.endswith("_export") and name != "bridge_cannedanswer_export"},
    **{name: "share_filter" for name in TABLE if name.endswith("_remove_filter") and name != "bridge_cannedanswer_remove_filter"},
}  # fmt: skip


def test_each_button_takes_its_own_right_and_no_other(stage: Stage) -> None:
    """A role has many rights, so that one in the place of another would let the same roles press it."""
    # A note takes two rights, and so a test of its own; whoever sees a list saves filters of it.
    others = {name for name in TABLE if name.endswith("_save_filter")}
    others |= {"bridge_conversation_note", "bridge_cannedanswer_export", "bridge_cannedanswer_remove_filter"}
    assert set(BUTTONS) | others == {name for name, page in TABLE.items() if page.press and not page.open}
    user = User.objects.create_user("one-right", is_staff=True)
    client, everybody, wrong = Client(), set(Permission.objects.values_list("codename", flat=True)), {}
    client.force_login(user)
    seen = {codename for codename in everybody if codename.startswith("view_")}
    for name, right in BUTTONS.items():
        for given, refused in ((seen | {right}, False), (everybody - {right}, True)):
            with transaction.atomic():
                user.user_permissions.set(Permission.objects.filter(codename__in=given))
                status = client.post(stage.path(name), stage.body(name)).status_code
                transaction.set_rollback(True)
            if (status == 403) != refused:
                wrong[name, right] = (status, refused)
    assert wrong == {}
