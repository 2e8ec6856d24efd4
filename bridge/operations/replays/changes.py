"""What a run changes before it queues: the mapping, gateway or agent of questions; the text of answers, or a sentence before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.channels import build_channel
from bridge.models import Delivery, Message, Route, State
from bridge.operations.obstacles import Obstacle
from bridge.pipeline.replies.paths import path_for
from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import Content
from channels_wechat.contract.text import sendable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The names of changes, by the kind of the replay.
OF_QUESTIONS, OF_ANSWERS = ("route", "gateway", "agent"), ("text", "before")


def change_routes(changes: Mapping[str, Any], routes: list[Route]) -> list[Route]:
    """Return the mappings to decide by: the chosen one for everybody, whatever triggers it; and another gateway or agent in each."""
    if "route" in changes:
        routes = [_for_everybody(route) for route in routes if route.pk == changes["route"]]
    for route in routes:
        route.gateway_id = changes.get("gateway", route.gateway_id)
        route.agent_id = changes.get("agent", route.agent_id)
    return routes


def _for_everybody(route: Route) -> Route:
    route.peer_kind, route.peer_id, route.allowed_senders, route.trigger = "", "", "", Route.Trigger.ALL
    return route


def change_text(changes: Mapping[str, Any], delivery: Delivery) -> str:
    """Render the changed text of the delivery's message and give each of its parts the new payload.

    Return why that cannot be; empty where it is done, or nothing is to be changed.
    """
    message = delivery.message
    if not changes or message is None:
        return "" if not changes else Obstacle.NOT_TEXT
    if message.kind != "text" or message.attachments.exists():
        return Obstacle.NOT_TEXT
    parts = list(message.deliveries.filter(target=delivery.target).order_by("part"))
    if any(part.state in (State.DELIVERED, State.SENDING, State.PENDING) for part in parts):
        return Obstacle.SENT_IN_PART
    return Obstacle.LATER_PART if delivery.part else _render(changes, message, delivery, parts)


def _render(changes: Mapping[str, Any], message: Message, delivery: Delivery, parts: Sequence[Delivery]) -> str:
    """Store the payloads. The text may need no more parts than the message has; what is left over of them is not sent."""
    path = path_for(build_channel(message.account), message.account_id)
    text = sendable("\n\n".join(filter(None, (changes.get("before", ""), changes.get("text") or message.text))))
    content = Content(text=text, ai=message.source == Message.Source.AGENT)
    try:
        payloads = path.channel.render(path.adapt_content(content))
    except ContentRefused:
        return Obstacle.TOO_LONG
    if len(payloads) != len(parts):
        return Obstacle.TOO_LONG
    for part, payload in zip(parts, payloads, strict=True):
        values = payload.as_json()
        fingerprint = Delivery.fingerprint_of(values)
        Delivery.objects.filter(pk=part.pk).update(payload=values, fingerprint=fingerprint)
        if part.pk == delivery.pk:
            delivery.payload, delivery.fingerprint = values, fingerprint
    return ""
