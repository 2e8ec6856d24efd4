"""Messages on their way in: stored by the callback (`bridge.arrivals`), routed here, by the worker."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.channels import channel_for
from bridge import events, logs, outbound, peers, prompt, routing
from bridge.doorbell import Bell, announce, ring
from bridge.models import Conversation, Delivery, Message, Reason, State, Target, Wire

log = logging.getLogger(__name__)
# How many peers one look at the outbox takes; each is routed in a transaction of its own.
PEERS_AT_ONCE = 200


def route_waiting() -> int:
    """Route what is in the outbox, peer by peer. Returns how many messages were routed."""
    routed = 0
    for account_id, peer_kind, peer_id in _waiting_peers():
        routed += _route_peer(account_id, peer_kind, peer_id)
    if routed:
        ring(Bell.ASK, Bell.SEND)
    return routed


def waiting() -> bool:
    """For the sweep."""
    return Message.objects.filter(routed_at=None, direction="in").exists()


def route_again(message: Message) -> Delivery:
    """Decide and render anew, for a replay. The delivery is the message's own row, updated but not saved."""
    delivery = message.deliveries.select_for_update().get(target=Target.AGENT)
    fresh = _decided(message, _conversation(message), _decide(message))
    for name in ("gateway", "route", "payload", "state", "reason", "error", "finished_at"):
        setattr(delivery, name, getattr(fresh, name))
    return delivery


def _waiting_peers() -> list[tuple[int, str, str]]:
    rows = Message.objects.filter(routed_at=None, direction="in").order_by("account_id", "peer_kind", "peer_id")
    return list(rows.values_list("account_id", "peer_kind", "peer_id").distinct()[:PEERS_AT_ONCE])


@transaction.atomic
def _route_peer(account_id: int, peer_kind: str, peer_id: str) -> int:
    peers.lock(account_id, peer_kind, peer_id)
    waiting = Message.objects.filter(
        account_id=account_id, peer_kind=peer_kind, peer_id=peer_id, routed_at=None, direction="in"
    )
    messages = list(waiting.select_related("account").order_by("id"))
    for message in messages:
        _route_safely(message)
    return len(messages)


def _route_safely(message: Message) -> None:
    """A message that breaks the router ends as `dead: internal_error`; it must not stop the ones behind it."""
    with logs.about(account=message.account_id, message=message.pk):
        try:
            with transaction.atomic():
                _route(message)
        except Exception as error:  # whatever it is, staff see it at the delivery
            log.exception("a message could not be routed")
            with transaction.atomic():
                conversation = _join(message)
                text = f"{type(error).__name__}: {error}"
                dead = _delivery(message, conversation, State.DEAD, reason=Reason.INTERNAL, error=text)
                dead.save()
                events.received(message)
                events.died(dead)


def _route(message: Message) -> None:
    conversation = _join(message)
    told = message.raw.get("_bridge", {})
    peers.meet(message.account, message.sender, told.get("contacts", {}))
    _judge(message, told.get("refers_to", ""))
    decision = _decide(message)
    delivery = _decided(message, conversation, decision)
    command = routing.COMMANDS.get(decision.text.strip().casefold()) if message.kind == "text" else None
    if command and delivery.state == State.PENDING:
        _obey(command, message, conversation)
        delivery = _delivery(message, conversation, State.SKIPPED, reason=Reason.COMMAND)
    delivery.save()
    events.received(message)


def _join(message: Message) -> Conversation:
    """The message's conversation, made on the first word."""
    conversation = _conversation(message)
    now = timezone.now()
    Conversation.objects.filter(pk=conversation.pk).update(last_inbound_at=now)
    message.conversation, message.routed_at = conversation, now
    message.save(update_fields=["conversation", "routed_at"])
    return conversation


def _conversation(message: Message) -> Conversation:
    return peers.conversation_with(message.account, message.peer_kind, message.peer_id)


def _judge(message: Message, judged: str) -> None:
    """Keep feedback with the answer it judges: the one given to the message whose hex uuid it names."""
    if not judged:
        return
    answers = Message.objects.filter(reply_to__uuid=judged, account=message.account, source=Message.Source.AGENT)
    message.reply_to = answers.order_by("-id").first()
    message.save(update_fields=["reply_to"])


def _decide(message: Message) -> routing.Decision:
    heard = routing.Heard(
        message.peer_kind, message.peer_id, message.sender, message.text, message.kind, message.addressed
    )
    return routing.decide(message.account.routes.select_related("gateway"), heard)


def _decided(message: Message, conversation: Conversation, decision: routing.Decision) -> Delivery:
    reason = decision.reason or _mode_reason(conversation)
    if reason or decision.route is None:
        return _delivery(message, conversation, State.SKIPPED, reason=reason, route=decision.route)
    payload = _payload(message, conversation, decision)
    delivery = _delivery(message, conversation, State.PENDING, route=decision.route, payload=payload)
    delivery.gateway = decision.route.gateway
    return delivery


def _mode_reason(conversation: Conversation) -> str:
    modes = {Conversation.Mode.PAUSED: Reason.PAUSED, Conversation.Mode.HUMAN: Reason.HUMAN}
    return modes.get(Conversation.Mode(conversation.mode), "")


def _delivery(message: Message, conversation: Conversation, state: State, **fields: Any) -> Delivery:
    final = state in (State.SKIPPED, State.DEAD)
    return Delivery(
        target=Target.AGENT,
        wire=Wire.CONNECTOR,
        message=message,
        account=message.account,
        lane=f"in:{conversation.pk}",
        state=state,
        finished_at=timezone.now() if final else None,
        **fields,
    )


def _payload(message: Message, conversation: Conversation, decision: routing.Decision) -> dict[str, Any]:
    """The turn: everything the connector needs, and what the delivery's page shows."""
    route = decision.route
    if route is None:
        raise ValueError("a payload needs a route")
    said = _said(message, conversation, decision.text)
    return {
        "agent_id": route.agent_id,
        "session_key": routing.session_key_for(route, conversation, str(message.account.key), message.sender),
        "message": prompt.message_text(said),
        "extra_system_prompt": prompt.system_text(said),
        "attachments": list(message.attachments.order_by("position").values_list("pk", flat=True)),
    }


def _said(message: Message, conversation: Conversation, text: str) -> prompt.Said:
    peer = peers.peer_of(message.peer_kind, message.peer_id)
    return prompt.Said(
        text=text,
        sender=message.sender,
        sender_name=peers.names_of(message.account_id, [message.sender]).get(message.sender, ""),
        group=message.peer_kind == "group",
        title=conversation.title,
        surface=channel_for(message.account).surface(peer),
        files=[f"{item.kind}: {item.name}" if item.name else item.kind for item in message.attachments.all()],
    )


def _obey(command: str, message: Message, conversation: Conversation) -> None:
    """`/new` and `/stop`, typed by somebody the agent may talk to."""
    if command == "new":
        outbound.new_session(conversation)
        said = _("A new session has begun.")
    else:
        Conversation.objects.filter(pk=conversation.pk).update(stopped_at=timezone.now())
        transaction.on_commit(lambda: announce("stop", str(conversation.pk)))
        said = _("Stopped.")
    outbound.answer(message, said, source=Message.Source.BRIDGE, key=f"command:{message.pk}")
