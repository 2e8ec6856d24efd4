"""Routes inbound messages. The worker calls it; `bridge.pipeline.inbound.receive` stored them."""

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
from bridge.people import directory, entries, peers, sessions
from bridge.pipeline.agent import notices, prompt, takeover
from bridge.pipeline.agent.stop import stop_turns, unfinished_turns
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.lanes import lane_of_turns
from bridge.pipeline.inbound import batch
from bridge.pipeline.inbound.batch import RoutingContext
from bridge.pipeline.inbound.commands import asks_for_staff, command_of
from bridge.pipeline.inbound.pseudonyms import pseudonymise
from bridge.pipeline.inbound.quotes import fill_quotes
from bridge.pipeline.inbound.reports import apply_reports
from bridge.pipeline.outbound import moderation, outbox, window_holds
from bridge.pipeline.outbound.rights import rights_of
from bridge.pipeline.replies import paths, unread
from bridge.pipeline.routing import rules
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.security import logs
from bridge.webhooks import events
from channels_wechat.contract.capabilities import Forgets
from channels_wechat.contract.unreadable import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

log = logging.getLogger(__name__)


def route_waiting() -> int:
    """Route a batch of the messages that wait. Return how many were routed; 0: none is left, or another router works on them."""
    try:
        routed = _route_together()
    except Exception as error:  # an error of one message must not stop the others, so they are routed one by one
        log.warning("a batch could not be routed, its messages are routed one by one: %s", type(error).__name__)
        routed = _route_one_by_one()
    if routed:
        notify(Topic.ASK)
    return routed


def has_unrouted() -> bool:
    """Whether messages wait for their routing; the sweep calls it."""
    return Message.objects.filter(routed_at=None, direction="in").exists()


def route_again(message: Message, change: Callable[[list[Route]], list[Route]] = list) -> Delivery:
    """Decide and render again, for a replay. The message's own row is locked and not changed. Return the new delivery, not stored.

    change: returns the mappings to decide by, given those of the account.
    """
    message.deliveries.select_for_update().get(target=Target.AGENT)
    case = RoutingContext(
        message,
        _find_conversation(message),
        routes=change(list(message.account.routes.all())),
        channel=build_channel(message.account),
        sender_name=peers.load_names_of(message.account_id, [message.sender]).get(message.sender, ""),
        files=list(message.attachments.order_by("position").values_list("pk", "kind", "name")),
        facts=_read_facts(message),
    )
    return _build_decided_delivery(case, _decide(case))


def _read_facts(message: Message) -> dict[str, Any]:
    """Return the facts of the parser that a turn needs at a replay too; the others only matter when the message arrives."""
    facts = message.raw.get("_bridge", {})
    return {name: True for name in ("unread", "own") if facts.get(name)}


@transaction.atomic
def _route_together() -> int:
    locked = batch.lock_peers()
    return _route_contexts(batch.load_batch(locked)) if locked else 0


@transaction.atomic
def _route_one_by_one() -> int:
    locked = batch.lock_peers()
    waiting = batch.unrouted_ids(locked)
    for account_id, pk in waiting:
        with logs.about(account=account_id, message=pk):
            _route_safely(locked, pk)
    return len(waiting)


def _route_safely(locked: batch.Peers, pk: int) -> None:
    """Route one message. Where that fails it becomes `dead: internal_error`, so that it does not stop the messages behind it."""
    try:
        with transaction.atomic():
            _route_contexts(batch.load_batch(locked, only=pk))
    except Exception as error:  # staff see any error at the delivery
        log.exception("a message could not be routed")
        with transaction.atomic():
            _mark_unroutable(Message.objects.select_related("account").get(pk=pk), error)


def _mark_unroutable(message: Message, error: Exception) -> None:
    conversation = _find_conversation(message)
    now = timezone.now()
    Conversation.objects.filter(pk=conversation.pk).update(last_inbound_at=now)
    message.conversation, message.routed_at = conversation, now
    message.save(update_fields=["conversation", "routed_at"])
    dead = settle.set_final_state(_build_delivery(message), State.DEAD, Reason.INTERNAL, internal(error))
    dead.save()
    events.queue_message_events([message])
    events.queue_failure_event(dead)
    notices.notify_failed(dead)


def _route_contexts(cases: list[RoutingContext]) -> int:
    cases = _stop_at_erasure(cases)
    _learn_names(cases)
    _learn_titles(cases)
    _note_changes(cases)
    fill_quotes(cases)
    decided: list[tuple[RoutingContext, Delivery]] = []
    for case in cases:  # in their order, because a message may change the conversation for the next ones
        decided.append((case, _handle_message(case, decided)))
    batch.store_routed(decided)
    _wake_waiting_requests(decided)
    window_holds.open_windows([_build_window_grant(case) for case in cases if case.facts.get("window")])
    events.queue_message_events([case.message for case in cases])
    _update_subscriptions(cases)
    return len(cases)


def _stop_at_erasure(cases: list[RoutingContext]) -> list[RoutingContext]:
    """Leave messages after an erasure event for the next batch, because after the erasure the person counts as somebody new."""
    erased: set[int] = set()
    routed_now = []
    for case in cases:
        if case.conversation.pk not in erased:
            routed_now.append(case)
        if case.facts.get("erase"):
            erased.add(case.conversation.pk)
    return routed_now


def _update_subscriptions(cases: list[RoutingContext]) -> None:
    for case in cases:
        if (follows := case.facts.get("follows")) is not None:
            peers.set_subscribed(case.message.account_id, case.message.sender, follows=follows)
        if case.facts.get("erase"):
            pseudonymise(case.message.account_id, case.message.sender)


def _note_changes(cases: list[RoutingContext]) -> None:
    """Note entries of a company's directory that events named; the clock has them read soon."""
    for case in cases:
        if changes := case.facts.get("changes"):
            directory.queue_changes(case.message.account, changes)


def _learn_titles(cases: list[RoutingContext]) -> None:
    """Store the title that the platform gives a group, and a later one where it is renamed, unless staff gave it another."""
    for case in cases:
        title, talk = case.facts.get("title", ""), case.conversation
        if not title or talk.peer_kind != "group" or title == talk.told_title:
            continue
        rows = Conversation.objects.filter(pk=talk.pk)
        rows.filter(title__in=("", talk.told_title)).update(title=title)
        rows.update(told_title=title)
        if talk.title in ("", talk.told_title):
            talk.title = title
        talk.told_title = title


def _learn_names(cases: list[RoutingContext]) -> None:
    """Store the names that come with events, and use them for the messages of this batch."""
    new_names: dict[tuple[int, str], str] = {}
    for case in cases:
        if names := case.facts.get("contacts"):
            peers.upsert_contacts(case.message.account, "", names)
            new_names |= {(case.message.account_id, person_id): name for person_id, name in names.items()}
    for case in cases if new_names else ():
        talk, account_id = case.conversation, case.message.account_id
        case.sender_name = new_names.get((account_id, case.message.sender), case.sender_name)
        if talk.peer_kind == "direct" and not talk.title:
            talk.title = new_names.get((account_id, talk.peer_id), "")


def _build_window_grant(case: RoutingContext) -> tuple[int, WindowGrant]:
    """Return the conversation's id, and the reply window that this message opens."""
    message, (count, seconds) = case.message, case.facts["window"]
    began = message.occurred_at or message.created_at
    grant = WindowGrant(message.account_id, message.peer_id, count, seconds, began, message.created_at)
    return case.conversation.pk, grant


def _wake_waiting_requests(decided: list[tuple[RoutingContext, Delivery]]) -> None:
    """Wake the requests that wait for an answer to messages that get no turn."""
    for case, delivery in decided:
        if delivery.state == State.SKIPPED and paths.holds_requests(case.message.account.kind):
            unread.wake_readers(case.message.account_id, case.message.peer_id)


def _handle_message(case: RoutingContext, before: Sequence[tuple[RoutingContext, Delivery]]) -> Delivery:
    """Do what the message asks for and return its delivery. before: those of the same batch, whose rows are not written yet."""
    _link_feedback(case.message, case.facts.get("refers_to", ""))
    if verdict := case.facts.get("verdict"):
        moderation.apply_verdict(case.message.account_id, verdict)
    apply_reports(case, before)
    if case.facts.get("greets"):
        _send_welcome(case)
    decision = _decide(case)
    asked = (turn for other, turn in before if other.conversation is case.conversation and turn.state == State.PENDING)
    delivery = _build_decided_delivery(case, decision, asked)
    if delivery.reason == Reason.EMPTY:
        _send_notice(case, "not_understood", f"empty:{case.message.pk}")
    if delivery.reason == Reason.NO_ROUTE:
        notices.notify_unmapped(case.message, case.conversation, case.channel)
    if delivery.state != State.PENDING or decision.route is None:
        return delivery
    command = command_of(decision.text) if case.message.kind == "text" else ""
    if command:
        _run_command(command, case, decision.route)
        return _build_skipped(case.message, Reason.COMMAND)
    if asks_for_staff(decision.text, decision.route.handover_words) and case.message.kind == "text":
        return _call_staff(case, decision.route)
    return delivery if _count_turn(case) else _build_skipped(case.message, Reason.TOO_MANY)


def _call_staff(case: RoutingContext, route: Route) -> Delivery:
    """Hand the conversation to staff for a person who asks for them, and say so. The message itself is their question."""
    takeover.call_staff(case.conversation, by_agent=False)
    _send_notice(case, "handed_over", f"handed_over:{case.message.pk}")
    return _build_skipped(case.message, Reason.HUMAN, route_id=route.pk)


def _count_turn(case: RoutingContext) -> bool:
    """Count the turn. Return False where this person has had too many; they are told once, until a minute passes without any."""
    now, message = timezone.now(), case.message
    if not message.sender or case.person.take_turn(message.account.turns_per_minute, now):
        return True
    if case.person.must_be_notified(now):
        _send_notice(case, "too_many", f"too_many:{message.pk}")
    return False


def _find_conversation(message: Message) -> Conversation:
    return peers.get_conversation(message.account, message.peer_kind, message.peer_id)


def _link_feedback(message: Message, question_uuid: str) -> None:
    """Link feedback to the answer that it is about: the answer to the message with this hex uuid."""
    if question_uuid:
        answers = Message.objects.filter(
            reply_to__uuid=question_uuid, account=message.account, source=Message.Source.AGENT
        )
        message.reply_to = answers.order_by("-id").first()


def _decide(case: RoutingContext) -> rules.Decision:
    message = case.message
    routing_input = rules.RoutingInput(
        message.peer_kind,
        message.peer_id,
        message.sender,
        message.text,
        message.kind,
        message.addressed,
        has_files=bool(case.files),
        has_sender=message.peer_id != SYSTEM and bool(message.sender),
        any_case=case.channel.ids_in_any_case,
        is_admitted=case.channel.admits(message.sender),
    )
    return rules.decide(case.routes, routing_input)


def _build_decided_delivery(case: RoutingContext, decision: rules.Decision, asked: Iterable[Delivery] = ()) -> Delivery:
    """Return the delivery that follows from the decision. asked: turns of the same conversation whose rows are not written yet."""
    if case.facts.get("own"):
        return _build_skipped(case.message, Reason.OWN)
    if case.facts.get("past"):
        return _build_skipped(case.message, Reason.PAST)
    if unread.is_continue_command(case.message) and case.path.is_continue_request(case.message, asked):
        return _build_skipped(case.message, Reason.READ_ON)
    route, reason = decision.route, _reason_to_skip(decision, case.conversation)
    if reason or route is None:
        return _build_skipped(case.message, reason, route_id=route and route.pk)
    payload = _build_payload(case, decision)
    return _build_delivery(case.message, route_id=route.pk, gateway_id=route.gateway_id, payload=payload)


def _reason_to_skip(decision: rules.Decision, conversation: Conversation) -> str:
    """Return why the message gets no turn. The conversation's mode comes before the reason "empty", which would be answered."""
    if decision.reason in ("", Reason.EMPTY):
        return _reason_of_mode(conversation) or decision.reason
    return decision.reason


def _reason_of_mode(conversation: Conversation) -> str:
    modes = {Conversation.Mode.PAUSED: Reason.PAUSED, Conversation.Mode.HUMAN: Reason.HUMAN}
    return modes.get(Conversation.Mode(conversation.mode), "")


def _build_skipped(message: Message, reason: str, **fields: Any) -> Delivery:
    return settle.set_final_state(_build_delivery(message, **fields), State.SKIPPED, reason)


def _build_delivery(message: Message, **fields: Any) -> Delivery:
    return Delivery(
        target=Target.AGENT,
        carrier=Carrier.CONNECTOR,
        message_id=message.pk,
        account_id=message.account_id,
        lane=lane_of_turns(message.conversation_id),
        **fields,
    )


def _build_payload(case: RoutingContext, decision: rules.Decision) -> dict[str, Any]:
    """Return the payload of a turn: all that the connector needs, and what the delivery's page shows."""
    route, message = decision.route, case.message
    if route is None:
        raise ValueError("a payload needs a route")
    prompt_input = _build_prompt_input(case, decision.text, route.allow_handover)
    forgets = isinstance(case.channel, Forgets)
    allowed = rights_of(route)
    return {
        **({"allowed": allowed} if allowed else {}),
        **({"unread": True} if _must_mention_unread_content(case) else {}),
        "agent_id": route.agent_id,
        "session_key": sessions.build_session_key(route, message, case.conversation, by_row=forgets),
        "message": prompt.build_user_message(prompt_input),
        "extra_system_prompt": prompt.build_system_prompt(prompt_input),
        "attachments": [pk for pk, _kind, _name in case.files],
    }


def _must_mention_unread_content(case: RoutingContext) -> bool:
    """Whether the answer must say that something could not be read. Not in a group, where it concerns only one of the readers."""
    return bool(case.facts.get("unread")) and case.message.peer_kind == "direct"


def _build_prompt_input(case: RoutingContext, text: str, may_hand_over: bool) -> prompt.PromptInput:
    message = case.message
    return prompt.PromptInput(
        text=text,
        sender=message.sender,
        sender_name=case.sender_name,
        group=message.peer_kind == "group",
        title=case.conversation.title,
        surface=case.channel.surface(peers.peer_of(message.peer_kind, message.peer_id)),
        files=[f"{kind}: {name}" if name else kind for _pk, kind, name in case.files],
        may_hand_over=may_hand_over,
        mark=salted_hmac("bridge.pipeline.agent.prompt", message.uuid.hex, algorithm="sha256").hexdigest()[:12],
    )


def _send_welcome(case: RoutingContext) -> None:
    """Send the welcome as a message where the reply to the callback could not hold it; at most once a day to each person."""
    message, channel = case.message, case.channel
    text = message.account.sentence("welcome")
    if not text or paths.welcomes_in_reply(channel, message):
        return
    if case.path.sends_messages:
        key = f"welcome:{case.conversation.pk}:{timezone.localdate():%Y-%m-%d}"
        outbox.send_answer(message, text, source=Message.Source.BRIDGE, key=key)


def _send_notice(case: RoutingContext, sentence: str, key: str) -> None:
    """Send a sentence of the bridge, unless this message cannot be answered: then it would only become a dead letter."""
    message = case.message
    if message.kind == "action" or not case.path.can_answer(message):
        return
    outbox.send_answer(message, message.account.sentence(sentence), source=Message.Source.BRIDGE, key=key)


def _run_command(command: str, case: RoutingContext, route: Route) -> None:
    """Run `/new` or `/stop` for a person who may talk to the agent."""
    message = case.message
    name = _start_new_session(case, route) if command == "new" else _stop_turns(case, route)
    text = message.account.sentence(name)
    outbox.send_answer(message, text, source=Message.Source.BRIDGE, key=f"command:{message.pk}")


def _start_new_session(case: RoutingContext, route: Route) -> str:
    """Renew the session of the person who typed /new. Return the name of the sentence that answers them."""
    if route.scope == Route.Scope.SHARED and not route.commands_for_all:
        return "new_session_shared"
    sessions.renew_session(route, case.message, case.conversation, by_row=isinstance(case.channel, Forgets))
    entries.add_entry(case.conversation, entries.Kind.NEW_SESSION, text=case.sender_name or case.message.sender)
    return "new_session"


def _stop_turns(case: RoutingContext, route: Route) -> str:
    """Stop the person's own turn, or anybody's where the mapping allows it. Return the name of the sentence that answers them."""
    running = unfinished_turns(case.conversation.pk)
    may_stop_all = case.message.peer_kind == "direct" or route.commands_for_all
    stoppable = running if may_stop_all else running.filter(message__sender__iexact=case.message.sender)
    return "stopped" if stop_turns(stoppable) or may_stop_all or not running.exists() else "stop_not_yours"
