"""One function for each model. What a row must have is filled in; every column can be given as a keyword."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount, ReplyWindow, Restriction, cleaned_credentials
from bridge.models import (
    AlertChannel,
    AlertDelivery,
    AlertMessage,
    AlertRule,
    Attachment,
    Attempt,
    Carrier,
    Contact,
    ContactRequest,
    Conversation,
    CustomerMessage,
    Delivery,
    Event,
    Incident,
    Message,
    Outcome,
    ReplayItem,
    ReplayRun,
    Route,
    State,
    Target,
    WebhookEndpoint,
)
from bridge.models.alerts import RULE_NUMBERS
from bridge.models.deliveries import ALERT_LANE
from channels_wechat import channel_class
from openclaw.device import Device
from openclaw.models import Gateway
from tests.support.factories.values import (
    APP_FIELDS,
    BOT_FIELDS,
    CANARIES,
    FAN,
    ILINK_FIELDS,
    KF_FIELDS,
    MINI_FIELDS,
    NOWHERE,
    OFFICIAL_FIELDS,
    OWN_FIELDS,
    ROBOT_FIELDS,
    WECHATY_FIELDS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "access_token",
    "account",
    "alert_channel",
    "alert_of_an_earlier_version",
    "alert_rule",
    "alert_told",
    "app",
    "attachment",
    "attempt",
    "bot",
    "customer_message",
    "connected_gateway",
    "contact",
    "contact_request",
    "conversation",
    "delivery",
    "endpoint",
    "endpoint_with_a_new_secret",
    "gateway",
    "ilink",
    "incident",
    "kf",
    "message",
    "mini",
    "mini_with_a_token",
    "official",
    "own_connection",
    "replay_run",
    "reply_window",
    "restriction",
    "robot",
    "route",
    "wechaty",
]
# Kind → the name that its account bears, and its credentials.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "wecom_app": ("Acme app", APP_FIELDS),
    "wecom_aibot": ("Acme bot", BOT_FIELDS),
    "wecom_robot": ("Acme robot", ROBOT_FIELDS),
    "wecom_kf": ("Acme service", KF_FIELDS),
    "official_account": ("Acme news", OFFICIAL_FIELDS),
    "mini_program": ("Acme shop", MINI_FIELDS),
    "wechaty": ("Acme phone", WECHATY_FIELDS),
    "webhook_account": ("Acme gateway", OWN_FIELDS),
    "ilink": ("Ann's agent", ILINK_FIELDS),
}
_numbers = itertools.count(1)


def account(kind: str = "wecom_app", /, fields: dict[str, Any] | None = None, **columns: Any) -> ChannelAccount:
    """`fields` of its credentials are checked by the kind's own form; `credentials` are stored as they are."""
    name, usual = KINDS.get(kind, (kind, {}))
    name = columns.pop("name", name)
    if twins := ChannelAccount.objects.filter(name__istartswith=name).count():
        name = f"{name} {twins + 1}"
    if "credentials" not in columns:
        columns["credentials"] = cleaned_credentials(kind, {**usual, **(fields or {})})
    if "external_id" not in columns:
        columns["external_id"] = channel_class(kind).external_id(columns["credentials"])
    columns = {"turns_per_minute": None, **columns}  # a test says more in a second than a person in a minute
    return ChannelAccount.objects.create(kind=kind, name=name, **columns)


def customer_message(account: ChannelAccount, **columns: Any) -> CustomerMessage:
    values = {"client": "staff:1", "key": "K1", "request_hash": "0" * 64, "peer_kind": "direct", "sender": "zhangsan"}
    values |= {"recipients": ["wmX"], "text": "hello", "state": "created", "remote_id": "msg1"}
    return CustomerMessage.objects.create(account=account, **{**values, **columns})


def contact_request(account: ChannelAccount, **columns: Any) -> ContactRequest:
    values = {"kind": "group", "remote_id": f"invitation-{account.contact_requests.count() + 1}", "sender": "lisi"}
    return ContactRequest.objects.create(account=account, **{**values, **columns})


def app(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wecom_app", fields, **{"api_base_url": api_base_url, **(columns or {})})


def bot(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wecom_aibot", fields, **{"api_base_url": api_base_url, **(columns or {})})


def robot(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wecom_robot", fields, **{"api_base_url": api_base_url, **(columns or {})})


def kf(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wecom_kf", fields, **{"api_base_url": api_base_url, **(columns or {})})


def official(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("official_account", fields, **{"api_base_url": api_base_url, **(columns or {})})


def mini(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("mini_program", fields, **{"api_base_url": api_base_url, **(columns or {})})


def wechaty(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("wechaty", fields, **{"api_base_url": api_base_url, **(columns or {})})


def own_connection(
    address: str = f"{NOWHERE}/deliveries", /, columns: dict[str, Any] | None = None, **fields: Any
) -> ChannelAccount:
    """Its receiver's address is one of its credentials."""
    return account("webhook_account", {"address": address, **fields}, **(columns or {}))


def ilink(api_base_url: str = NOWHERE, /, columns: dict[str, Any] | None = None, **fields: Any) -> ChannelAccount:
    return account("ilink", fields, **{"api_base_url": api_base_url, **(columns or {})})


def mini_with_a_token(api_base_url: str = NOWHERE, /, **columns: Any) -> ChannelAccount:
    """A Mini Program with an access token that nobody has to fetch."""
    made = mini(api_base_url, columns)
    access_token(made, value=CANARIES["access token"], generation=1, expires_at=timezone.now() + timedelta(hours=2))
    return made


def access_token(account: ChannelAccount, **columns: Any) -> AccessToken:
    return AccessToken.objects.create(account=account, **columns)


def gateway(base_url: str = NOWHERE, token: str = "stub-token", **columns: Any) -> Gateway:
    """A gateway that nobody has connected to yet."""
    name = columns.pop("name", f"gateway {next(_numbers)}")
    return Gateway.objects.create(name=name, base_url=base_url, token=token, **columns)


def connected_gateway(**columns: Any) -> Gateway:
    """A gateway with what a connection leaves in its row."""
    values = {
        "name": "OpenClaw at home",
        "base_url": "http://127.0.0.1:18789",
        "token": CANARIES["gateway token"],
        "device_key": Device.generate().pem,
        "device_token": CANARIES["device token"],
        "version": "2026.9.6",
        "agents": [{"id": "main", "name": "Main", "model": "mock/one"}, {"id": "support", "name": "客服", "model": ""}],
        "state": Health.OK,
    }
    return gateway(**{**values, **columns})


def route(account: ChannelAccount, gateway: Gateway | None = None, **columns: Any) -> Route:
    values = {"agent_id": "main", **columns}
    return Route.objects.create(account=account, gateway=gateway or globals()["gateway"](), **values)


def endpoint(url: str = NOWHERE, events: Iterable[str] = tuple(Event), **columns: Any) -> WebhookEndpoint:
    name = columns.pop("name", f"webhook {next(_numbers)}")
    return WebhookEndpoint.objects.create(name=name, url=url, events=list(events), **columns)


def endpoint_with_a_new_secret(**columns: Any) -> WebhookEndpoint:
    """An endpoint whose secret was changed an hour ago, so that the one before is still signed with."""
    values = {
        "name": "Ticket desk",
        "url": f"https://hooks.example.com/in/{CANARIES['webhook address']}",
        "events": ["message.received", "delivery.dead"],
        "secret": CANARIES["webhook secret"],
        "previous_secret": CANARIES["webhook secret before"],
        "previous_until": timezone.now() + timedelta(hours=5),
    }
    return endpoint(**{**values, **columns})


def conversation(
    account: ChannelAccount, peer_id: str = "zhangsan", peer_kind: str = "direct", **columns: Any
) -> Conversation:
    return Conversation.objects.create(account=account, peer_kind=peer_kind, peer_id=peer_id, **columns)


def contact(account: ChannelAccount, external_id: str = "zhangsan", **columns: Any) -> Contact:
    return Contact.objects.create(account=account, external_id=external_id, **columns)


def message(conversation: Conversation, text: str, key: str, **columns: Any) -> Message:
    """From a person, if nothing else is given."""
    values = {
        "account": conversation.account,
        "peer_kind": conversation.peer_kind,
        "peer_id": conversation.peer_id,
        "direction": "in",
        "source": "channel",
        "sender": "zhangsan",
        "routed_at": timezone.now(),
    }
    columns = {**values, **columns}
    return Message.objects.create(conversation=conversation, text=text, idempotency_key=key, **columns)


def delivery(of: Message, state: str = State.DELIVERED, reason: str = "", **columns: Any) -> Delivery:
    """A question goes to an agent, everything else to the platform."""
    to_agent = of.direction == "in"
    is_over = state in (State.DELIVERED, State.DEAD, State.SKIPPED, State.UNCERTAIN)
    values = {
        "target": Target.AGENT if to_agent else Target.CHANNEL,
        "carrier": "connector" if to_agent else "worker",
        "lane": f"{'in' if to_agent else 'out'}:{of.conversation_id}",
        "account": of.account,
        "payload": {"body": {"msgtype": "text", "text": {"content": of.text}}},
        "finished_at": timezone.now() if is_over else None,
    }
    return Delivery.objects.create(message=of, state=state, reason=reason, **{**values, **columns})


def attempt(of: Delivery, number: int = 1, outcome: str = Outcome.OK, **columns: Any) -> Attempt:
    """Over after 0.4 seconds, if it has an outcome."""
    started = timezone.now() - timedelta(seconds=90 - number)
    values = {"started_at": started, "finished_at": started + timedelta(seconds=0.4) if outcome else None}
    return Attempt.objects.create(delivery=of, number=number, outcome=outcome, **{**values, **columns})


def attachment(of: Message, content: bytes = b"", **columns: Any) -> Attachment:
    """Fetched, if there is content, and lost otherwise."""
    lost = {} if content else {"state": Attachment.State.FAILED, "code": "no_downloads"}
    row = Attachment(message=of, size=len(content), **{**lost, **columns})
    if content:
        row.file.save(row.name, ContentFile(content), save=False)
        row.state = Attachment.State.READY
    row.save()
    return row


def incident(cause: str = "x", code: str = "It", **columns: Any) -> Incident:
    """code: where it names no incident, it is shown itself."""
    return Incident.objects.create(cause=cause, code=code, **columns)


def alert_channel(kind: str = "email", **columns: Any) -> AlertChannel:
    """To boss@example.com, if it is none of another kind."""
    values = {"name": f"Alerts by {kind}", "emails": ["boss@example.com"] if kind == "email" else []}
    return AlertChannel.objects.create(kind=kind, **{**values, **columns})


def alert_told(trouble: Incident) -> AlertDelivery:
    """An alert of it that a signed webhook accepted, which is disabled by now."""
    channel = alert_channel(
        "webhook",
        enabled=False,
        url=f"https://alerts.example.com/{CANARIES['alert address']}",
        secret=CANARIES["alert secret"],
    )
    told = AlertMessage.objects.create(
        channel=channel,
        target=channel.shown_target,
        title=trouble.title,
        text=trouble.title,
        state="accepted",
        finished_at=timezone.now(),
    )
    return AlertDelivery.objects.create(
        incident=trouble, channel=channel, occasion="opened", state="sent", message=told, finished_at=told.finished_at
    )


def alert_rule(kind: str, **columns: Any) -> AlertRule:
    """The rule of this kind that every installation begins with, enabled and with these columns."""
    rule, _new = AlertRule.objects.get_or_create(kind=kind, defaults=RULE_NUMBERS.get(kind, {}))
    for name, value in {"enabled": True, **columns}.items():
        setattr(rule, name, value)
    rule.save()
    return rule


def alert_of_an_earlier_version(text: str) -> Delivery:
    """An alert that was queued for the address of the settings."""
    return Delivery.objects.create(
        target=Target.WEBHOOK,
        carrier=Carrier.WEBHOOK,
        lane=ALERT_LANE,
        payload={"body": {"msgtype": "text", "text": {"content": text}}},
    )


def reply_window(account: ChannelAccount, peer_id: str = FAN, **columns: Any) -> ReplyWindow:
    values = {"until": timezone.now() + timedelta(hours=1)}
    return ReplyWindow.objects.create(account=account, peer_id=peer_id, **{**values, **columns})


def replay_run(of: Delivery, state: str = "planned", **columns: Any) -> ReplayRun:
    """A replay of one delivery, which can go."""
    began = {} if state == "planned" else {"started_at": timezone.now()}
    group = {"planned": "go", "detail": "", "count": 1, "oldest": of.created_at.isoformat(), "example": of.pk}
    values = {
        "name": "the night",
        "kind": "again",
        "groups": [{**group, "newest": group["oldest"]}],
        "total": 1,
        "chosen": 1,
    }
    run = ReplayRun.objects.create(state=state, **{**values, **began, **columns})
    ReplayItem.objects.create(run=run, delivery=of, planned="go", chosen=True)
    return run


def restriction(account: ChannelAccount, capability: str = "custom_send", **columns: Any) -> Restriction:
    values = {"code": "48001", "until": timezone.now() + timedelta(days=1)}
    return Restriction.objects.create(account=account, capability=capability, **{**values, **columns})
