"""Messages on their way in: stored by the callback (`bridge.pipeline.inbound.receive`), routed here, by the worker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.channels import build_channel
from accounts.reply_windows import WindowGrant
from bridge.explanations.own import internal
from bridge.models import Carrier, Conversation, Delivery, Message, Reason, Route, State, Target
from bridge.people import peers, sessions
from bridge.pipeline.agent import notices, prompt
from bridge.pipeline.agent.stop import stop_turns, unfinished_turns
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.lanes import lane_of_turns
from bridge.pipeline.inbound import batch
from bridge.pipeline.inbound.batch import RoutingContext
from bridge.pipeline.inbound.commands import command_of
from bridge.pipeline.inbound.pseudonyms import pseudonymise
from bridge.pipeline.outbound import moderation, outbox, reply_window
from bridge.pipeline.outbound.rights import rights_of
from bridge.pipeline.replies import paths, unread
from bridge.pipeline.routing import rules
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.security import logs
from bridge.webhooks import events
from channels_wechat.contract.capabilities import Forgets
from channels_wechat.contract.unreadable import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

log = logging.getLogger(__name__)


def route_waiting() -> int:
    """Route a batch of what is in the outbox. Returns how many messages were routed; 0: nothing is left, or another router has it."""
    try:
        routed = _route_together()
    except Exception as error:  # whatever it is: one by one, it is the matter of the message that brought it about
        log.warning("a batch could not be routed, its messages are routed one by one: %s", type(error).__name__)
        routed = _route_one_by_one()
    if routed:
        notify(Topic.ASK)
    return routed


def has_unrouted() -> bool:
    """For the sweep."""
    return Message.objects.filter(routed_at=None, direction="in").exists()


def route_again(message: Message) -> Delivery:
    """Decide and render anew, for a replay; the message's own row is locked and stays as it is. Return what it would be, not stored."""
    message.deliveries.select_for_update().get(target=Target.AGENT)
    case = RoutingContext(
        message,
        _conversation(message),
        routes=message.account.routes.all(),
        channel=build_channel(message.account),
        sender_name=peers.names_of(message.account_id, [message.sender]).get(message.sender, ""),
        files=list(message.attachments.order_by("position").values_list("pk", "kind", "name")),
        told=_facts_for_turn(message),
    )
    return _delivery_for(case, _decide(case))


def _facts_for_turn(message: Message) -> dict[str, Any]:
    """What the parser found that a turn needs each time; all else was done when the message came."""
    told = message.raw.get("_bridge", {})
    return {name: True for name in ("unread", "own") if told.get(name)}


@transaction.atomic
def _route_together() -> int:
    locked = batch.lock_peers()
    return _route(batch.load_batch(locked)) if locked else 0


@transaction.atomic
def _route_one_by_one() -> int:
    locked = batch.lock_peers()
    waiting = batch.unrouted_ids(locked)
    for account_id, pk in waiting:
        with logs.about(account=account_id, message=pk):
            _route_safely(locked, pk)
    return len(waiting)


def _route_safely(locked: batch.Peers, pk: int) -> None:
    """A message that breaks the router ends as `dead: internal_error`; it must not stop the ones behind it."""
    try:
        with transaction.atomic():
            _route(batch.load_batch(locked, only=pk))
    except Exception as error:  # whatever it is, staff see it at the delivery
        log.exception("a message could not be routed")
        with transaction.atomic():
            _mark_unroutable(Message.objects.select_related("account").get(pk=pk), error)


def _mark_unroutable(message: Message, error: Exception) -> None:
    conversation = _conversation(message)
    now = timezone.now()
    Conversation.objects.filter(pk=conversation.pk).update(last_inbound_at=now)
    message.conversation, message.routed_at = conversation, now
    message.save(update_fields=["conversation", "routed_at"])
    dead = settle.end_unstored(_delivery(message), State.DEAD, Reason.INTERNAL, internal(error))
    dead.save()
    events.queue_message_events([message])
    events.queue_failure_event(dead)
    notices.notify_failed(dead)


def _route(cases: list[RoutingContext]) -> int:
    cases = _stop_at_erasure(cases)
    _learn_names(cases)
    _learn_titles(cases)
    decided: list[tuple[RoutingContext, Delivery]] = []
    for case in cases:  # in their order: what one does, the next ones see
        decided.append((case, _create_delivery(case, decided)))
    batch.store_routed(decided)
    _wake_waiting_requests(decided)
    reply_window.open_windows([_opening(case) for case in cases if case.told.get("window")])
    events.queue_message_events([case.message for case in cases])
    _update_subscriptions(cases)
    return len(cases)


def _stop_at_erasure(cases: list[RoutingContext]) -> list[RoutingContext]:
    """What follows the event by which somebody must be forgotten waits for the next batch: it is said by somebody new."""
    left: set[int] = set()
    kept = []
    for case in cases:
        if case.conversation.pk not in left:
            kept.append(case)
        if case.told.get("erase"):
            left.add(case.conversation.pk)
    return kept


def _update_subscriptions(cases: list[RoutingContext]) -> None:
    for case in cases:
        if (follows := case.told.get("follows")) is not None:
            peers.set_subscribed(case.message.account_id, case.message.sender, follows=follows)
        if case.told.get("erase"):
            pseudonymise(case.message.account_id, case.message.sender)


def _learn_titles(cases: list[RoutingContext]) -> None:
    """Call a group as its platform does, until staff give it another title."""
    for case in cases:
        title, talk = case.told.get("title", ""), case.conversation
        if title and talk.peer_kind == "group" and not talk.title:
            Conversation.objects.filter(pk=talk.pk, title="").update(title=title)
            talk.title = title


def _learn_names(cases: list[RoutingContext]) -> None:
    """Keep the names that events tell, and use them."""
    told: dict[tuple[int, str], str] = {}
    for case in cases:
        if names := case.told.get("contacts"):
            peers.upsert_contacts(case.message.account, "", names)
            told |= {(case.message.account_id, who): name for who, name in names.items()}
    for case in cases if told else ():
        talk, account_id = case.conversation, case.message.account_id
        case.sender_name = told.get((account_id, case.message.sender), case.sender_name)
        if talk.peer_kind == "direct" and not talk.title:
            talk.title = told.get((account_id, talk.peer_id), "")


def _opening(case: RoutingContext) -> tuple[int, WindowGrant]:
    """Return the conversation's id, and the window that what this person did opens."""
    message, (count, seconds) = case.message, case.told["window"]
    began = message.occurred_at or message.created_at
    opening = WindowGrant(message.account_id, message.peer_id, count, seconds, began, message.created_at)
    return case.conversation.pk, opening


def _wake_waiting_requests(decided: list[tuple[RoutingContext, Delivery]]) -> None:
    """Whoever holds a request open for what gets no turn need not wait."""
    for case, delivery in decided:
        if delivery.state == State.SKIPPED and paths.holds_requests(case.message.account.kind):
            unread.wake_readers(case.message.account_id, case.message.peer_id)


def _create_delivery(case: RoutingContext, before: Sequence[tuple[RoutingContext, Delivery]]) -> Delivery:
    """What becomes of the message; a command is obeyed. before: of the same batch, whose rows are not written yet."""
    _link_feedback(case.message, case.told.get("refers_to", ""))
    if verdict := case.told.get("verdict"):
        moderation.apply_result(case.message.account_id, verdict)
    if case.told.get("greets"):
        _welcome(case)
    decision = _decide(case)
    asked = (turn for other, turn in before if other.conversation is case.conversation and turn.state == State.PENDING)
    delivery = _delivery_for(case, decision, asked)
    if delivery.reason == Reason.EMPTY:
        _reply(case, "not_understood", f"empty:{case.message.pk}")
    if delivery.reason == Reason.NO_ROUTE:
        notices.notify_unmapped(case.message, case.conversation, case.channel)
    if delivery.state != State.PENDING or decision.route is None:
        return delivery
    command = command_of(decision.text) if case.message.kind == "text" else ""
    if command:
        _run_command(command, case, decision.route)
        return _skipped(case.message, Reason.COMMAND)
    return delivery if _may_have_turn(case) else _skipped(case.message, Reason.TOO_MANY)


def _may_have_turn(case: RoutingContext) -> bool:
    """Count the turn. Whoever has had too many is told so, once until they were quiet for a minute."""
    now, message = timezone.now(), case.message
    if not message.sender or case.person.take_turn(message.account.turns_per_minute, now):
        return True
    if case.person.must_be_told(now):
        _reply(case, "too_many", f"too_many:{message.pk}")
    return False


def _conversation(message: Message) -> Conversation:
    return peers.conversation_with(message.account, message.peer_kind, message.peer_id)


def _link_feedback(message: Message, judged: str) -> None:
    """Keep feedback with the answer it judges: the one given to the message whose hex uuid it names."""
    if judged:
        answers = Message.objects.filter(reply_to__uuid=judged, account=message.account, source=Message.Source.AGENT)
        message.reply_to = answers.order_by("-id").first()


def _decide(case: RoutingContext) -> rules.Decision:
    message = case.message
    heard = rules.RoutingInput(
        message.peer_kind,
        message.peer_id,
        message.sender,
        message.text,
        message.kind,
        message.addressed,
        has_files=bool(case.files),
        has_sender=message.peer_id != SYSTEM and bool(message.sender),
        any_case=case.channel.ids_in_any_case,
    )
    return rules.decide(case.routes, heard)


def _delivery_for(case: RoutingContext, decision: rules.Decision, asked: Iterable[Delivery] = ()) -> Delivery:
    """asked: turns of the same conversation whose rows are not written yet."""
    if case.told.get("own"):
        return _skipped(case.message, Reason.OWN)
    if unread.is_continue_command(case.message) and case.path.is_continue_request(case.message, asked):
        return _skipped(case.message, Reason.READ_ON)
    route, reason = decision.route, _reason(decision, case.conversation)
    if reason or route is None:
        return _skipped(case.message, reason, route_id=route and route.pk)
    payload = _payload(case, decision)
    return _delivery(case.message, route_id=route.pk, gateway_id=route.gateway_id, payload=payload)


def _reason(decision: rules.Decision, conversation: Conversation) -> str:
    """Nothing is told of an empty message where staff answer, or nobody does."""
    if decision.reason in ("", Reason.EMPTY):
        return _mode_reason(conversation) or decision.reason
    return decision.reason


def _mode_reason(conversation: Conversation) -> str:
    modes = {Conversation.Mode.PAUSED: Reason.PAUSED, Conversation.Mode.HUMAN: Reason.HUMAN}
    return modes.get(Conversation.Mode(conversation.mode), "")


def _skipped(message: Message, reason: str, **fields: Any) -> Delivery:
    return settle.end_unstored(_delivery(message, **fields), State.SKIPPED, reason)


def _delivery(message: Message, **fields: Any) -> Delivery:
    return Delivery(
        target=Target.AGENT,
        carrier=Carrier.CONNECTOR,
        message_id=message.pk,
        account_id=message.account_id,
        lane=lane_of_turns(message.conversation_id),
        **fields,
    )


def _payload(case: RoutingContext, decision: rules.Decision) -> dict[str, Any]:
    """The turn: everything the connector needs, and what the delivery's page shows."""
    route, message = decision.route, case.message
    if route is None:
        raise ValueError("a payload needs a route")
    said, forgets = _prompt_input(case, decision.text), isinstance(case.channel, Forgets)
    allowed = rights_of(route)
    return {
        **({"allowed": allowed} if allowed else {}),
        **({"unread": True} if _must_be_told_of_marks(case) else {}),
        "agent_id": route.agent_id,
        "session_key": sessions.key_for(route, message, case.conversation, by_row=forgets),
        "message": prompt.user_message(said),
        "extra_system_prompt": prompt.system_prompt(said),
        "attachments": [pk for pk, _kind, _name in case.files],
    }


def _must_be_told_of_marks(case: RoutingContext) -> bool:
    """Whether the answer says that something could not be read. Not in a group: all would read what concerns one."""
    return bool(case.told.get("unread")) and case.message.peer_kind == "direct"


def _prompt_input(case: RoutingContext, text: str) -> prompt.PromptInput:
    message = case.message
    return prompt.PromptInput(
        text=text,
        sender=message.sender,
        sender_name=case.sender_name,
        group=message.peer_kind == "group",
        title=case.conversation.title,
        surface=case.channel.surface(peers.peer_of(message.peer_kind, message.peer_id)),
        files=[f"{kind}: {name}" if name else kind for _pk, kind, name in case.files],
        mark=salted_hmac("bridge.pipeline.agent.prompt", message.uuid.hex, algorithm="sha256").hexdigest()[:12],
    )


def _welcome(case: RoutingContext) -> None:
    """By a message, where the reply to the callback could not say it; to who opens the chat again and again, once a day."""
    message, channel = case.message, case.channel
    text = message.account.sentence("welcome")
    if not text or paths.welcomes_in_reply(channel, message):
        return
    if case.path.sends_messages:
        key = f"welcome:{case.conversation.pk}:{timezone.localdate():%Y-%m-%d}"
        outbox.answer(message, text, source=Message.Source.BRIDGE, key=key)


def _reply(case: RoutingContext, sentence: str, key: str) -> None:
    """Not where the only way is a reply that this callback cannot have: what cannot be said would be a dead letter."""
    message = case.message
    if message.kind == "action" or not case.path.can_answer(message):
        return
    outbox.answer(message, message.account.sentence(sentence), source=Message.Source.BRIDGE, key=key)


def _run_command(command: str, case: RoutingContext, route: Route) -> None:
    """`/new` and `/stop`, typed by somebody the agent may talk to."""
    message = case.message
    name = _start_new_session(case, route) if command == "new" else _stop(case, route)
    text = message.account.sentence(name)
    outbox.answer(message, text, source=Message.Source.BRIDGE, key=f"command:{message.pk}")


def _start_new_session(case: RoutingContext, route: Route) -> str:
    """Begin the session of whoever typed it anew. Return the name of what they are told."""
    if route.scope == Route.Scope.SHARED and not route.commands_for_all:
        return "new_session_shared"
    sessions.renew(route, case.message, case.conversation, by_row=isinstance(case.channel, Forgets))
    return "new_session"


def _stop(case: RoutingContext, route: Route) -> str:
    """Stop one's own turn, or anybody's where the mapping allows it. Return the name of what they are told."""
    running = unfinished_turns(case.conversation.pk)
    everybody = case.message.peer_kind == "direct" or route.commands_for_all
    mine = running if everybody else running.filter(message__sender__iexact=case.message.sender)
    return "stopped" if stop_turns(mine) or everybody or not running.exists() else "stop_not_yours"
