"""Which agent gets a message. Pure: rows in, a decision with its reasons out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from accounts.person_ids import is_any_case, person_id
from bridge.models import Reason, Route
from openclaw.session import PeerKind, make_session_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accounts.models import ChannelAccount
    from bridge.models import Conversation


@dataclass(frozen=True, slots=True)
class RoutingInput:
    """What routing looks at. has_files: some came with the message; has_sender: a person or group that can be told apart said it.

    any_case: ids of people are the same in upper and lower case.
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


@dataclass(slots=True)
class Decision:
    """reason: a `Reason` why no agent gets it, or empty. text: without the trigger's prefix. steps: for the page that explains."""

    route: Route | None = None
    reason: str = ""
    text: str = ""
    steps: list[str] = field(default_factory=list)


def decide(routes: Iterable[Route], heard: RoutingInput) -> Decision:
    """The most specific mapping of this peer wins, and its own rules decide; there is no falling through to the next."""
    decision = Decision(text=heard.text)
    if reason := _no_turn(heard):
        decision.reason = reason
        return decision
    matching = sorted((route for route in routes if _matches(route, heard)), key=_specificity, reverse=True)
    if not matching:
        decision.reason = Reason.NO_ROUTE
        decision.steps.append(_("No mapping fits this group or person."))
        return decision
    decision.route = matching[0]
    decision.steps += _explain_choice(matching)
    _apply(decision, matching[0], heard)
    return decision


def _no_turn(heard: RoutingInput) -> str:
    """Why this is no turn for any agent, whatever is mapped."""
    if heard.kind == "event":
        return Reason.EVENT
    if heard.kind == "unsupported" and not heard.text:
        return Reason.UNSUPPORTED
    return "" if heard.has_sender else Reason.NO_SENDER


def explain(account: ChannelAccount, peer_kind: str, peer_id: str, sender: str, text: str, addressed: bool) -> Decision:
    """The answer to "which agent would get this?". Without a text: whatever it says."""
    heard = RoutingInput(
        peer_kind,
        person_id(account, peer_kind, peer_id),
        sender,
        text,
        addressed=addressed,
        has_files=not text.strip(),
        any_case=is_any_case(account),
    )
    return decide(account.routes.select_related("gateway"), heard)


def session_key_for(
    route: Route, conversation: Conversation, account_key: str, sender: str, *, by_row: bool = False, renewals: int = 0
) -> str:
    """The gateway's session: by conversation, by person in it, or one for everything mapped to the agent.

    by_row: of a channel that `Forgets` people. Who comes back has a new row, and so no memory of what they said before.
    renewals: how often this session was begun anew; a conversation's own is counted in its row.
    """
    if route.scope == Route.Scope.SHARED:
        return make_session_key(route.agent_id, account_key, "group", "shared", 0, renewals=renewals)
    who = sender if route.scope == Route.Scope.SENDER else ""
    kind: PeerKind = "group" if conversation.peer_kind == "group" else "direct"
    peer = f"#{conversation.pk}" if by_row else conversation.peer_id
    return make_session_key(route.agent_id, account_key, kind, peer, conversation.session_epoch, who, renewals)


def split_words(text: str) -> list[str]:
    """The non-empty lines of a field that holds one entry a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _matches(route: Route, heard: RoutingInput) -> bool:
    return route.peer_kind in ("", heard.peer_kind) and route.peer_id in ("", heard.peer_id)


def _specificity(route: Route) -> tuple[bool, bool]:
    return bool(route.peer_id), bool(route.peer_kind)


def _explain_choice(matching: Sequence[Route]) -> list[str]:
    chosen = matching[0]
    what = chosen.peer_id or (str(chosen.get_peer_kind_display()) if chosen.peer_kind else _("everyone"))
    steps = [_("Mapping for %(what)s: agent %(agent)s.") % {"what": what, "agent": chosen.agent_id}]
    if len(matching) > 1:
        steps.append(_("%(count)d less specific mapping(s) are not looked at.") % {"count": len(matching) - 1})
    return steps


def _apply(decision: Decision, route: Route, heard: RoutingInput) -> None:
    reason = _refusal(route, heard)
    if reason:
        decision.reason = reason
        decision.steps.append(str(Reason(reason).label))
        return
    if route.trigger == Route.Trigger.PREFIX:
        decision.text = _without_prefix(route, heard.text)
    if not (decision.text.strip() or heard.has_files):
        decision.reason = Reason.EMPTY
    decision.steps.append(str(Reason.EMPTY.label) if decision.reason else _("The agent gets it."))


def _refusal(route: Route, heard: RoutingInput) -> str:
    if not route.enabled:
        return Reason.ROUTE_DISABLED
    if not _is_allowed(route, heard):
        return Reason.SENDER
    return "" if _has_trigger(route, heard) else _without_trigger(route)


def _is_allowed(route: Route, heard: RoutingInput) -> bool:
    allowed = set(split_words(route.allowed_senders))
    if heard.any_case:
        return not allowed or heard.sender.casefold() in {sender.casefold() for sender in allowed}
    return not allowed or heard.sender in allowed


def _has_trigger(route: Route, heard: RoutingInput) -> bool:
    text = heard.text.casefold()
    if route.trigger == Route.Trigger.MENTION:
        return heard.addressed
    if route.trigger == Route.Trigger.PREFIX:
        return any(text.startswith(word.casefold()) for word in split_words(route.trigger_words))
    if route.trigger == Route.Trigger.KEYWORD:
        return any(word.casefold() in text for word in split_words(route.trigger_words))
    return True


def _without_trigger(route: Route) -> str:
    return Reason.NOT_ADDRESSED if route.trigger == Route.Trigger.MENTION else Reason.NO_TRIGGER


def _without_prefix(route: Route, text: str) -> str:
    fitting = [word for word in split_words(route.trigger_words) if text.casefold().startswith(word.casefold())]
    return text[len(max(fitting, key=len)) :].lstrip(" \t:：,，\n")
