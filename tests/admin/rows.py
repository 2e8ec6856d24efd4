"""Rows for the pages: one account of each kind, a gateway, and a conversation in which everything happened."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from datetime import timedelta

from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount
from bridge.models import (
    Attachment,
    Attempt,
    Contact,
    Conversation,
    Delivery,
    Incident,
    Message,
    Outcome,
    Reason,
    Route,
    State,
    Target,
    WebhookEndpoint,
)
from openclaw.device import Device
from openclaw.models import Gateway

AES_KEY = "CANARYkey0123456789012345678901234567890abA"
CANARIES = {
    "secret": "CANARY-corp-secret",
    "callback token": "CANARYtoken",
    "aes key": AES_KEY,
    "access token": "CANARY-access-token",
    "gateway token": "CANARY-gateway-token",
    "device token": "CANARY-device-token",
    "reply address": "CANARY-reply-address",
    "webhook address": "CANARY-webhook-address",
    "webhook secret": "whsec_Q0FOQVJZLXdlYmhvb2stc2VjcmV0",
    "webhook secret before": "whsec_Q0FOQVJZLXdlYmhvb2stYmVmb3Jl",
}
APP = {
    "corp_id": "ww1234567890abcdef",
    "agent_id": 1000002,
    "secret": CANARIES["secret"],
    "token": CANARIES["callback token"],
    "encoding_aes_key": AES_KEY,
    "seats": 20,
    "format": "text",
}


@dataclass
class World:
    app: ChannelAccount
    bot: ChannelAccount
    gateway: Gateway
    route: Route
    group: Conversation
    person: Conversation
    question: Message
    answer: Message
    picture: Attachment
    dead: Delivery
    uncertain: Delivery
    delivered: Delivery
    incident: Incident
    webhook: WebhookEndpoint
    told: Delivery


def account(kind: str = "wecom_app", name: str = "Acme app", **fields: object) -> ChannelAccount:
    stored = APP if kind == "wecom_app" else {"token": APP["token"], "encoding_aes_key": AES_KEY}
    values = {"external_id": f"{kind}/1", "credentials": stored, **fields}
    if twins := ChannelAccount.objects.filter(name__istartswith=name).count():
        name = f"{name} {twins + 1}"
    return ChannelAccount.objects.create(kind=kind, name=name, **values)


MINI = {
    "app_id": "wx1234567890abcdef",
    "app_secret": CANARIES["secret"],
    "token": CANARIES["callback token"],
    "encoding_aes_key": AES_KEY,
    "mode": "safe",
}


def mini_program(api_base_url: str = "http://127.0.0.1:9", **fields: object) -> ChannelAccount:
    """With an access token that nobody has to fetch."""
    values = {"name": "小程序", "external_id": MINI["app_id"], "credentials": MINI, "api_base_url": api_base_url}
    mini = account("mini_program", **{**values, **fields})
    until = timezone.now() + timedelta(hours=2)
    AccessToken.objects.create(account=mini, value=CANARIES["access token"], generation=1, expires_at=until)
    return mini


def gateway(name: str = "OpenClaw at home", **fields: object) -> Gateway:
    values = {
        "base_url": "http://127.0.0.1:18789",
        "token": CANARIES["gateway token"],
        "device_key": Device.generate().pem,
        "device_token": CANARIES["device token"],
        "version": "2026.9.6",
        "agents": [{"id": "main", "name": "Main", "model": "mock/one"}, {"id": "support", "name": "客服", "model": ""}],
        "state": Health.OK,
        **fields,
    }
    return Gateway.objects.create(name=name, **values)


def webhook(**fields: object) -> WebhookEndpoint:
    stored = {
        "name": "Ticket desk",
        "url": f"https://hooks.example.com/in/{CANARIES['webhook address']}",
        "events": ["message.received", "delivery.dead"],
        "secret": CANARIES["webhook secret"],
        "previous_secret": CANARIES["webhook secret before"],
        "previous_until": timezone.now() + timedelta(hours=5),
        **fields,
    }
    return WebhookEndpoint.objects.create(**stored)


def told_in_vain(endpoint: WebhookEndpoint) -> Delivery:
    """A message that an endpoint refused."""
    data = {"text": "told to a webhook 世界", "peer": {"kind": "group", "id": "wrGROUP"}}
    told = Delivery.objects.create(
        target=Target.WEBHOOK,
        carrier="webhook",
        endpoint=endpoint,
        lane=endpoint.lane,
        payload={"id": "msg_1", "body": {"type": "message.received", "data": data}},
        state=State.DEAD,
        reason=Reason.PERMANENT,
        error="The webhook refuses this. Check its address, and what its own log says. (http_404)",
        finished_at=timezone.now(),
    )
    attempt(told, 1, Outcome.ERROR, code="http_404")
    return told


def message(conversation: Conversation, text: str, key: str, **fields: object) -> Message:
    values = {
        "direction": "in",
        "source": "channel",
        "sender": "zhangsan",
        "conversation": conversation,
        "routed_at": timezone.now(),
        **fields,
    }
    where = {"account": conversation.account, "peer_kind": conversation.peer_kind, "peer_id": conversation.peer_id}
    return Message.objects.create(**where, text=text, idempotency_key=key, **values)


def delivery(said: Message, state: str = State.DELIVERED, reason: str = "", **fields: object) -> Delivery:
    to_agent = said.direction == "in"
    final = state in (State.DELIVERED, State.DEAD, State.SKIPPED, State.UNCERTAIN)
    values = {
        "target": Target.AGENT if to_agent else Target.CHANNEL,
        "carrier": "connector" if to_agent else "worker",
        "lane": f"{'in' if to_agent else 'out'}:{said.conversation_id}",
        "account": said.account,
        "payload": {"body": {"msgtype": "text", "text": {"content": said.text}}},
        "finished_at": timezone.now() if final else None,
        **fields,
    }
    return Delivery.objects.create(message=said, state=state, reason=reason, **values)


def attempt(of: Delivery, number: int, outcome: str, **fields: object) -> Attempt:
    started = timezone.now() - timedelta(seconds=90 - number)
    values = {"finished_at": started + timedelta(seconds=0.4) if outcome else None, **fields}
    return Attempt.objects.create(delivery=of, number=number, started_at=started, outcome=outcome, **values)


def png() -> bytes:
    """A picture of 96 × 72 pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    lines = b"".join(b"\0" + bytes([40 + y, 120, 200 - y] * 96) for y in range(72))
    head = struct.pack(">IIBBBBB", 96, 72, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def attachment(of: Message, position: int, kind: str, name: str, mime: str, content: bytes = b"") -> Attachment:
    row = Attachment(message=of, position=position, kind=kind, name=name, mime=mime, size=len(content))
    if content:
        row.file.save(name, ContentFile(content), save=False)
        row.state = Attachment.State.READY
    else:
        row.state, row.error = Attachment.State.FAILED, "The address was no longer good."
    row.save()
    return row


def build() -> World:
    """Everything at once."""
    app, bot = account(), account("wecom_aibot", "群机器人")
    ChannelAccount.objects.filter(pk=app.pk).update(
        state=Health.STOPPED, state_reason="WeCom refused the secret. Enter the secret of the app. (40001)"
    )
    app.refresh_from_db()
    AccessToken.objects.create(
        account=app,
        value=CANARIES["access token"],
        generation=7,
        refreshed_at=timezone.now(),
        failure="WeCom refused the secret.",
        failed_at=timezone.now(),
    )
    home = gateway()
    route = Route.objects.create(account=bot, peer_kind="group", peer_id="wrGROUP", gateway=home, agent_id="main")
    group = Conversation.objects.create(
        account=bot, peer_kind="group", peer_id="wrGROUP", title="市场部 · 周报讨论群", last_inbound_at=timezone.now()
    )
    person = Conversation.objects.create(account=app, peer_kind="direct", peer_id="zhangsan")
    Contact.objects.create(account=bot, external_id="zhangsan", name="张三")
    Contact.objects.create(account=app, external_id="zhangsan", name="张三")
    question, answer, picture, delivered = _talk(group, home, route)
    dead, uncertain = _failures(person)
    incident = Incident.objects.create(cause=f"account:{app.pk}", title="The account “Acme app” has stopped")
    rows = (question, answer, picture, dead, uncertain, delivered, incident)
    one = webhook()
    return World(app, bot, home, route, group, person, *rows, one, told_in_vain(one))


def _talk(group: Conversation, home: Gateway, route: Route) -> tuple[Message, Message, Attachment, Delivery]:
    secret = {"reply_address": CANARIES["reply address"], "reply_until": timezone.now() + timedelta(hours=1)}
    question = message(group, "@助手 本周的数据怎么样？", "MSG1", raw={"msgid": "MSG1", "msgtype": "text"}, **secret)
    asked = delivery(question, gateway=home, route=route)
    attempt(asked, 1, Outcome.OK, request={"sessionKey": "agent:main"}, response={"status": "ok"})
    picture = attachment(question, 0, "image", "chart.png", "image/png", png())
    attachment(question, 1, "file", "报表.html", "text/html", b"<script>alert(1)</script>")
    attachment(question, 2, "file", "lost.pdf", "application/pdf")
    answer = message(
        group, "本周新增用户 **1,284** 人，环比上升 12%。\n\n- 上海 412\n- 北京 388", "ANSWER1",
        direction="out", source="agent", sender="", reply_to=question,
    )  # fmt: skip
    delivered = delivery(answer, remote_id="REMOTE1", tries=1)
    attempt(delivered, 1, Outcome.OK, request={"msgtype": "text"}, response={"errcode": 0, "msgid": "REMOTE1"})
    message(group, "👍", "EVENT1", kind="event", reply_to=answer)
    skipped = message(group, "闲聊一句", "MSG2", sender="lisi")
    delivery(skipped, State.SKIPPED, Reason.NOT_ADDRESSED)
    message(group, "", "EVENT2", kind="unsupported", raw={"msgtype": "hologram"})
    delivery(message(group, "现在呢？", "MSG3"), State.PENDING, gateway=home, route=route)
    return question, answer, picture, delivered


def _failures(person: Conversation) -> tuple[Delivery, Delivery]:
    gone = message(person, "您的报表好了 <b>请查收</b>", "OUT1", direction="out", source="agent", sender="")
    dead = delivery(
        gone, State.DEAD, Reason.PERMANENT, tries=1, error="The member is not in the visible scope. (81013)"
    )
    text = "The member is not in the app's visible scope."
    attempt(dead, 1, Outcome.ERROR, code="81013", error=text, response={"errcode": 81013})
    attempt(dead, 2, "", request={"touser": "zhangsan"})
    lost = message(person, "第二条", "OUT2", direction="out", source="staff", sender="")
    uncertain = delivery(lost, State.UNCERTAIN, Reason.UNKNOWN, tries=1)
    attempt(uncertain, 1, Outcome.UNKNOWN, code="timeout", error="The request left and no answer came.")
    return dead, uncertain
