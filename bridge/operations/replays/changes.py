"""What a run changes before it queues: the mapping, gateway or agent of questions; the text of answers, or a sentence before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.channels import build_channel
from bridge.models import Delivery, Message, Reason, Route, State
from bridge.operations import replay
from bridge.operations.obstacles import Obstacle
from bridge.pipeline.outbound import window_holds
from bridge.pipeline.replies.paths import path_for
from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import Content
from channels_wechat.contract.text import sendable
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The names of changes, by the kind of the replay.
OF_QUESTIONS, OF_ANSWERS = ("route", "gateway", "agent"), ("text", "before")
# A part in such a state was sent, or may have been.
SENT = (State.DELIVERED, State.SENDING, State.PENDING, State.UNCERTAIN)


def change_texts(changes: Mapping[str, Any]) -> bool:
    """Whether these changes concern what people read."""
    return any(name in changes for name in OF_ANSWERS)


def is_of_other_account(route_id: int, account_id: int | None) -> bool:
    """Whether this mapping belongs to another account than the one that a replay is about; None: it is about several."""
    return account_id is not None and Route.objects.filter(pk=route_id).exclude(account=account_id).exists()


def lacks_gateway(changes: Mapping[str, Any]) -> bool:
    """Whether the gateway that was chosen was deleted since."""
    return "gateway" in changes and not Gateway.objects.filter(pk=changes["gateway"]).exists()


def lacks_route(changes: Mapping[str, Any]) -> bool:
    """Whether the mapping that was chosen was deleted since."""
    return "route" in changes and not Route.objects.filter(pk=changes["route"]).exists()


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


def lock_parts(delivery: Delivery) -> list[Delivery]:
    """Lock and return all parts of the delivery's message, in their order; none for a webhook."""
    if delivery.message is None:
        return []
    parts = delivery.message.deliveries.select_for_update(of=("self",)).filter(target=delivery.target)
    return list(parts.select_related("account", "message__account", "message__reply_to").order_by("part"))


def find_obstacle(delivery: Delivery, parts: Sequence[Delivery]) -> str:
    """Return why the text of this delivery cannot be changed; empty where it can. `plan_sql` asks the same, but of the other parts.

    parts: all of its message.
    """
    message = delivery.message
    if message is None or message.kind != "text" or message.attachments.exists():
        return Obstacle.NOT_TEXT
    others = [part for part in parts if part.pk != delivery.pk]
    if any(part.state in SENT for part in others):
        return Obstacle.SENT_IN_PART
    if delivery.part:
        return Obstacle.LATER_PART
    if any(part.reason == Reason.MERGED for part in others) or any(map(window_holds.carries_others, parts)):
        return Obstacle.CARRIES_OTHERS
    found = (replay.find_obstacle(part) for part in others if part.state != State.HELD)
    return next((str(obstacle) for obstacle in found if obstacle), "")


def render(changes: Mapping[str, Any], message: Message, parts: Sequence[Delivery]) -> bool:
    """Give the parts the payloads of the changed text, without saving them. Return False where it has another number of parts."""
    path = path_for(build_channel(message.account), message.account_id)
    text = sendable("\n\n".join(filter(None, (changes.get("before", ""), changes.get("text") or message.text))))
    content = Content(text=text, ai=message.source == Message.Source.AGENT)
    try:
        payloads = path.channel.render(path.adapt_content(content))
    except ContentRefused:
        return False
    if len(payloads) != len(parts):
        return False
    for part, payload in zip(parts, payloads, strict=True):
        part.payload = payload.as_json()
        part.fingerprint = Delivery.fingerprint_of(part.payload)
    return True
