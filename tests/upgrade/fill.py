"""Rows of every table, for a dump: those that the pages of the admin are tested with, and what they leave out."""

from __future__ import annotations

from datetime import timedelta

from auditlog.models import LogEntry as AuditEntry
from axes.models import AccessAttempt, AccessAttemptExpiration, AccessFailureLog, AccessLog
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone
from knox.models import AuthToken

from accounts.health import Health
from accounts.models import ChannelAccount, Connection, ConnectionGap
from bridge.models import (
    Conversation,
    ConversationEntry,
    CustomerGroup,
    Department,
    DirectoryChange,
    DirectoryRead,
    Incident,
    SavedFilter,
    SessionEpoch,
    StaffLanguage,
)
from bridge.operations.figures import counting
from channels_wechat import KINDS
from tests.support import factories

# Of the kinds that the world of the factories leaves out.
CREDENTIALS = {
    "official_account": {**factories.MINI_FIELDS, "answers": "messages"},
    "ilink": {"user_id": "ann@im.wechat", "bot_id": "b1@im.bot", "bot_token": "CANARY-bot-token"},
    "wecom_robot": {"robot_key": "CANARY-robot-key"},
    "wecom_kf": {
        "corp_id": factories.CORP,
        "secret": "CANARY-kf-secret",
        "open_kfid": "wkCANARY",
        "token": "t",
        "encoding_aes_key": "k",
    },
    "wechaty": {"token": "CANARY_puppet", "endpoint": "puppet.example:8788", "tls": "on", "knows_risk": True},
    "webhook_account": {
        "connection": "shop",
        "address": "https://gateway.example/in",
        "inbound_secret": "CANARY-inbound",
        "outbound_secret": "CANARY-outbound",
    },
}
ADMIN = "admin"  # without a password: the tests log in as this user


def fill() -> None:
    """Raises where a row does not fit its table."""
    world = factories.build_world()
    factories.mini_with_a_token()
    for kind in sorted(set(KINDS) - set(ChannelAccount.objects.values_list("kind", flat=True))):
        factories.account(kind, name=kind, credentials=CREDENTIALS[kind])
    now = timezone.now()
    factories.reply_window(world.app, "zhangsan", left=3, until=now + timedelta(days=2))
    factories.restriction(world.app, "custom_send", code="48001", until=now + timedelta(days=1))
    SessionEpoch.objects.create(key="agent:main:one", conversation=world.person, epoch=2)
    ConversationEntry.objects.create(conversation=world.person, kind="note", by_name="Ann", text="calls back on Monday")
    waiting = {"mode": "human", "waiting_since": now, "waiting_count": 2, "staff_active_at": now}
    Conversation.objects.filter(pk=world.person.pk).update(**waiting)
    Connection.objects.create(gateway=world.gateway, owner="vm:42:cafe", owner_until=now, state="connected")
    Connection.objects.create(account=world.bot, state="kicked", code="kicked", cursor="7", login_code="CANARY-login")
    phone = ChannelAccount.objects.get(kind="wechaty")
    ChannelAccount.objects.filter(pk=phone.pk).update(sending_stopped_at=now)
    Connection.objects.create(account=phone, state="connected", own_id="wxid_me", own_name="小桥")
    room = factories.conversation(phone, "20000000001@chatroom", "group", title="周末徒步群", told_title="周末徒步群")
    Conversation.objects.filter(pk=room.pk).update(moved_to=world.group, moved_at=now)
    ConnectionGap.objects.create(account=world.bot, since=now - timedelta(minutes=1), until=now)
    Department.objects.create(account=world.app, external_id="2", name="研发部", parent="1")
    CustomerGroup.objects.create(
        account=world.app, external_id="wrCUSTOMERS", name="销售客服群", owner="zhangsan",
        members=[{"id": "zhangsan", "name": "张三", "kind": "member"}],
    )  # fmt: skip
    _alerts(world)
    DirectoryRead.objects.create(account=world.app, part="members", cursor='{"left": ["2"]}', started_at=now)
    DirectoryChange.objects.create(account=world.app, part="members", external_id="lisi")
    world.gateway.set_state(Health.FAILING, "down")
    counting.count_due_periods(60)
    _staff(world)


def _alerts(world: factories.World) -> None:
    """A rule that is the channel's own, with an account."""
    rule = factories.alert_rule("silence", minutes=60)
    rule.accounts.add(world.app)
    world.alert.channel.rules.add(rule)


def _staff(world: factories.World) -> None:
    boss = User.objects.create_superuser(ADMIN, "admin@bridge.example", None)
    StaffLanguage.objects.create(user=boss, language="zh-hans")
    SavedFilter.objects.create(
        owner=boss, list="bridge_delivery_changelist", name="Failed", query="state__exact=dead", shared=True
    )
    boss.groups.add(Group.objects.first())
    boss.user_permissions.add(Permission.objects.first())
    AuthToken.objects.create(boss)
    now = timezone.now()
    about = {
        "account": world.app,
        "conversation": world.person,
        "severity": 3,
        "reason": "permanent",
        "error_code": "40001",
    }
    handled = {"acknowledged_at": now, "acknowledged_by": boss, "owner": boss, "muted_until": now, "note": "asked IT"}
    Incident.objects.filter(pk=world.incident.pk).update(
        count=3, first_seen_at=now, last_seen_at=now, **about, **handled
    )
    kind = ContentType.objects.get_for_model(world.app)
    LogEntry.objects.create(
        user=boss, content_type=kind, object_id=str(world.app.pk), object_repr=world.app.name, action_flag=CHANGE
    )
    AuditEntry.objects.log_create(world.app, action=AuditEntry.Action.UPDATE, changes={"name": ["before", "after"]})
    seen = {
        "username": ADMIN,
        "ip_address": "192.0.2.1",
        "user_agent": "Browser",
        "http_accept": "*/*",
        "path_info": "/admin/login/",
    }
    failed = AccessAttempt.objects.create(**seen, get_data="", post_data="", failures_since_start=1)
    AccessAttemptExpiration.objects.create(access_attempt=failed, expires_at=timezone.now())
    AccessFailureLog.objects.create(**seen)
    AccessLog.objects.create(**seen)
    session = SessionStore()
    session["seen"] = True
    session.create()
