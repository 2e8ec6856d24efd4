"""Rows for the pages: one account of each kind, a gateway, and a conversation in which everything happened."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from accounts.health import Health
from bridge.models import CannedAnswer, Delivery, FallbackSender, Outcome, Reason, State, Target
from tests.support.factories.models import (
    access_token,
    alert_told,
    app,
    attachment,
    attempt,
    bot,
    connected_gateway,
    contact,
    contact_request,
    conversation,
    customer_message,
    delivery,
    endpoint_with_a_new_secret,
    incident,
    message,
    route,
)
from tests.support.factories.values import CANARIES

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import (
        AlertDelivery,
        Attachment,
        ContactRequest,
        Conversation,
        CustomerMessage,
        Incident,
        Message,
        Route,
        WebhookEndpoint,
    )
    from openclaw.models import Gateway

__all__ = ["World", "build_world", "png", "refused_event"]
# What the rows say of what went wrong.
STOPPED_ACCOUNT = {
    "state": Health.STOPPED,
    "state_code": "40001",
    "state_params": {"detail": "invalid credential"},
}
REFUSED_BY_ENDPOINT = {"code": "http_404"}
OUT_OF_SCOPE = {"code": "81013"}
OUT_OF_SCOPE_ATTEMPT = {"code": "81013", "code_params": {"detail": "user not in scope"}}
TIMED_OUT_ATTEMPT = {"code": "timeout"}


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
    refused_event: Delivery
    fallback: FallbackSender
    customer_message: CustomerMessage
    contact_request: ContactRequest
    canned: CannedAnswer
    alert: AlertDelivery


def refused_event(endpoint: WebhookEndpoint) -> Delivery:
    """A message that an endpoint refused."""
    data = {"text": "told to a webhook 世界", "peer": {"kind": "group", "id": "wrGROUP"}}
    refused = Delivery.objects.create(
        target=Target.WEBHOOK,
        carrier="webhook",
        endpoint=endpoint,
        lane=endpoint.lane,
        payload={"id": "msg_1", "body": {"type": "message.received", "data": data}},
        state=State.DEAD,
        reason=Reason.PERMANENT,
        finished_at=timezone.now(),
        **REFUSED_BY_ENDPOINT,
    )
    attempt(refused, 1, Outcome.ERROR, code="http_404")
    return refused


def png() -> bytes:
    """A picture of 96 × 72 pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    lines = b"".join(b"\0" + bytes([40 + y, 120, 200 - y] * 96) for y in range(72))
    head = struct.pack(">IIBBBBB", 96, 72, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def build_world() -> World:
    """Everything at once."""
    first = app("", columns=STOPPED_ACCOUNT, seats=20)
    robot = bot("", columns={"name": "群机器人"})
    now = timezone.now()
    access_token(
        first, value=CANARIES["access token"], generation=7, refreshed_at=now, failure_code="40001", failed_at=now
    )
    home = connected_gateway()
    mapping = route(robot, home, peer_kind="group", peer_id="wrGROUP")
    group = conversation(robot, "wrGROUP", "group", title="市场部 · 周报讨论群", last_inbound_at=now)
    person = conversation(first)
    contact(robot, name="张三")
    contact(first, name="张三")
    question, answer, picture, delivered = _talk(group, home, mapping)
    dead, uncertain = _failures(person)
    trouble = incident(f"account:{first.pk}", "The account “Acme app” has stopped")
    rows = (question, answer, picture, dead, uncertain, delivered, trouble)
    webhook = endpoint_with_a_new_secret()
    fallback = FallbackSender.objects.create(
        conversation=person, position=0, account=robot, peer_kind="group", peer_id="wrGROUP"
    )
    return World(
        first,
        robot,
        home,
        mapping,
        group,
        person,
        *rows,
        webhook,
        refused_event(webhook),
        fallback,
        customer_message(first),
        contact_request(first, title="产品组", text="invited with these words 世界"),
        CannedAnswer.objects.create(shortcut="hello", text="您好，请问有什么可以帮您？"),
        alert_told(trouble),
    )


def _talk(group: Conversation, home: Gateway, route: Route) -> tuple[Message, Message, Attachment, Delivery]:
    secret = {"reply_address": CANARIES["reply address"], "reply_until": timezone.now() + timedelta(hours=1)}
    question = message(group, "@助手 本周的数据怎么样？", "MSG1", raw={"msgid": "MSG1", "msgtype": "text"}, **secret)
    asked = delivery(question, gateway=home, route=route)
    attempt(asked, 1, Outcome.OK, request={"sessionKey": "agent:main"}, response={"status": "ok"})
    picture = attachment(question, png(), position=0, kind="image", name="chart.png", mime="image/png")
    attachment(question, b"<script>alert(1)</script>", position=1, kind="file", name="报表.html", mime="text/html")
    attachment(question, position=2, kind="file", name="lost.pdf", mime="application/pdf")
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
    dead = delivery(gone, State.DEAD, Reason.PERMANENT, tries=1, **OUT_OF_SCOPE)
    attempt(dead, 1, Outcome.ERROR, response={"errcode": 81013}, **OUT_OF_SCOPE_ATTEMPT)
    attempt(dead, 2, "", request={"touser": "zhangsan"})
    lost = message(person, "第二条", "OUT2", direction="out", source="staff", sender="")
    uncertain = delivery(lost, State.UNCERTAIN, Reason.UNKNOWN, tries=1, code="timeout")
    attempt(uncertain, 1, Outcome.UNKNOWN, **TIMED_OUT_ATTEMPT)
    return dead, uncertain
