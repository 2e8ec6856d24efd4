"""Which agent gets a message. Pure: rows in, a decision with its reasons out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from accounts.channels import build_channel
from accounts.person_ids import is_any_case, person_id
from bridge.models import Reason, Route
from openclaw.session import PeerKind, make_session_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accounts.models import ChannelAccount
    from bridge.models import Conversation


@dataclass(frozen=True, slots=True)
class RoutingInput:
    """What routing depends on. has_files: whether files came with the message; has_sender: whether it has a known sender.

    any_case: ids of people are the same in upper and lower case. is_admitted: whether the account lets this person talk to agents.
    """

    peer_kind: str
    peer_id: str
    sender: str
    text: str
    kind: str = "text"
    addressed: bool = True
    has_files: bool = False
    has_sender: bool = True
    any_case: bool = True
    is_admitted: bool = True


@dataclass(slots=True)
class Decision:
    """The result of routing. reason: a `Reason` why no agent gets it, or empty. text: without the trigger's prefix. steps: for the page."""

    route: Route | None = None
    reason: str = ""
    text: str = ""
    steps: list[str] = field(default_factory=list)


def decide(routes: Iterable[Route], message: RoutingInput) -> Decision:
    """Decide which agent gets a message: the most specific mapping of this peer, if its own rules accept it; no other is tried."""
    decision = Decision(text=message.text)
    if reason := _reason_against_turn(message):
        decision.reason = reason
        return decision
    matching = sorted((route for route in routes if _matches(route, message)), key=_specificity, reverse=True)
    if not matching:
        decision.reason = Reason.NO_ROUTE
        decision.steps.append(_("No mapping fits this group or person."))
        return decision
    decision.route = matching[0]
    decision.steps += _explain_choice(matching)
    _apply_route(decision, matching[0], message)
    return decision


def _reason_against_turn(message: RoutingInput) -> str:
    """Return why no agent can get this message, whatever is mapped; empty where one can."""
    if message.kind == "event":
        return Reason.EVENT
    if message.kind == "unsupported" and not message.text:
        return Reason.UNSUPPORTED
    if not message.has_sender:
        return Reason.NO_SENDER
    return "" if message.is_admitted else Reason.SENDER


def explain(account: ChannelAccount, peer_kind: str, peer_id: str, sender: str, text: str, addressed: bool) -> Decision:
    """Return the answer to "which agent would get this?". Without a text: for any text."""
    message = RoutingInput(
        peer_kind,
        person_id(account, peer_kind, peer_id),
        sender,
        text,
        addressed=addressed,
        has_files=not text.strip(),
        any_case=is_any_case(account),
        is_admitted=not sender or build_channel(account).admits(sender),
    )
    return decide(account.routes.select_related("gateway"), message)


def session_key_for(
    route: Route, conversation: Conversation, account_key: str, sender: str, *, by_row: bool = False, renewals: int = 0
) -> str:
    """Return the key of the gateway's session: of the conversation, of a person in it, or one for everything mapped to the agent.

    by_row: for a channel that `Forgets` people: a person who comes back has a new row, and so a new session.
    renewals: how often this session was renewed; a conversation's own session is counted in its row.
    """
    if route.scope == Route.Scope.SHARED:
        return make_session_key(route.agent_id, account_key, "group", "shared", 0, renewals=renewals)
    who = sender if route.scope == Route.Scope.SENDER else ""
    kind: PeerKind = "group" if conversation.peer_kind == "group" else "direct"
    peer = f"#{conversation.pk}" if by_row else conversation.peer_id
    return make_session_key(route.agent_id, account_key, kind, peer, conversation.session_epoch, who, renewals)


def split_entries(text: str) -> list[str]:
    """Return the non-empty lines of a field that has one entry on each line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _matches(route: Route, message: RoutingInput) -> bool:
    return route.peer_kind in ("", message.peer_kind) and route.peer_id in ("", message.peer_id)


def _specificity(route: Route) -> tuple[bool, bool]:
    return bool(route.peer_id), bool(route.peer_kind)


def _explain_choice(matching: Sequence[Route]) -> list[str]:
    chosen = matching[0]
    what = chosen.peer_id or (str(chosen.get_peer_kind_display()) if chosen.peer_kind else _("everyone"))
    steps = [_("Mapping for %(what)s: agent %(agent)s.") % {"what": what, "agent": chosen.agent_id}]
    if len(matching) > 1:
        steps.append(_("%(count)d less specific mapping(s) are not looked at.") % {"count": len(matching) - 1})
    return steps


def _apply_route(decision: Decision, route: Route, message: RoutingInput) -> None:
    reason = _reason_to_refuse(route, message)
    if reason:
        decision.reason = reason
        decision.steps.append(str(Reason(reason).label))
        return
    if route.trigger == Route.Trigger.PREFIX:
        decision.text = _remove_prefix(route, message.text)
    if not (decision.text.strip() or message.has_files):
        decision.reason = Reason.EMPTY
    decision.steps.append(str(Reason.EMPTY.label) if decision.reason else _("The agent gets it."))


def _reason_to_refuse(route: Route, message: RoutingInput) -> str:
    if not route.enabled:
        return Reason.ROUTE_DISABLED
    if not _is_allowed(route, message):
        return Reason.SENDER
    return "" if _has_trigger(route, message) else _reason_for_missing_trigger(route)


def _is_allowed(route: Route, message: RoutingInput) -> bool:
    allowed = set(split_entries(route.allowed_senders))
    if message.any_case:
        return not allowed or message.sender.casefold() in {sender.casefold() for sender in allowed}
    return not allowed or message.sender in allowed


def _has_trigger(route: Route, message: RoutingInput) -> bool:
    text = message.text.casefold()
    if route.trigger == Route.Trigger.MENTION:
        return message.addressed
    if route.trigger == Route.Trigger.PREFIX:
        return any(text.startswith(word.casefold()) for word in split_entries(route.trigger_words))
    if route.trigger == Route.Trigger.KEYWORD:
        return any(word.casefold() in text for word in split_entries(route.trigger_words))
    return True


def _reason_for_missing_trigger(route: Route) -> str:
    return Reason.NOT_ADDRESSED if route.trigger == Route.Trigger.MENTION else Reason.NO_TRIGGER


def _remove_prefix(route: Route, text: str) -> str:
    fitting = [word for word in split_entries(route.trigger_words) if text.casefold().startswith(word.casefold())]
    return text[len(max(fitting, key=len)) :].lstrip(" \t:：,，\n")
