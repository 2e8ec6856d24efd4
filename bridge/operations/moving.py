"""Moves a conversation to another account: the same people go on there, with the same agent, title and fallback senders.

What was said stays where it was said, and so do deliveries that wait there. The old conversation is paused, so that nobody is answered
twice; that questions wait for staff is counted in the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from accounts.person_ids import person_id
from bridge.models import Conversation, Delivery, FallbackSender, Message, Route, State
from bridge.models.routes import why_not_mappable
from bridge.people import open_questions, peers
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.recipients import why_unconfirmed
from bridge.pipeline.routing import rules
from bridge.security import audit
from channels_wechat import KINDS
from channels_wechat.contract.messages import Content
from channels_wechat.contract.pasted import without_invisible

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

MOST_ID = 200
WAITING = (State.PENDING, State.SENDING, State.HELD)
# The columns of a mapping that say how its agent answers, and not to whom.
RULES = (
    "gateway_id", "agent_id", "scope", "trigger", "trigger_words", "allowed_senders", "commands_for_all", "allow_mention_all",
    "allow_cards", "allow_links", "enabled", "note",
)  # fmt: skip


class CannotMove(Exception):
    """Nothing was changed. field: of `Destination`, or "farewell"; the text says why, so that a person can act on it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a conversation goes on: an account, and the id of the group or person there.

    replaces_mapping: a mapping of that group's own may be deleted. allowed_senders: who may talk to the agent there, one id a line; where
    the mapping names people, either this is given or `everybody`, because the ids of one account mean nobody at another.
    """

    account: ChannelAccount
    peer_id: str
    replaces_mapping: bool = False
    allowed_senders: str = ""
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """target: where it goes on. notes: sentences about what was not carried over, and what staff should look at."""

    target: Conversation
    notes: tuple[str, ...]


def why_not_move(conversation: Conversation) -> str:
    """Return why it cannot go anywhere; empty where it can."""
    if conversation.erased:
        return _("This person left, and their data was erased.")
    if conversation.moved_to_id:
        return _("It has moved already: move the conversation in which it goes on.")
    return ""


def why_not_to(account: ChannelAccount, peer_kind: str) -> str:
    """Return why no such conversation can go on at this account; empty where it can."""
    if account.kind not in KINDS:
        return _("This kind of account is no longer supported.")
    return why_not_mappable(account, peer_kind)


def count_waiting(conversation: Conversation) -> int:
    """Count deliveries that wait in this conversation. They stay in it, and go where they were meant to."""
    lanes = [f"{way}:{conversation.pk}" for way in ("in", "out")]
    return Delivery.objects.filter(lane__in=lanes, state__in=WAITING).order_by().count()


def find_earlier(conversation: Conversation) -> set[int]:
    """Return the ids of conversations that go on in this one, by one move or several."""
    found: set[int] = set()
    newest = {conversation.pk}
    while newest:
        newest = set(Conversation.objects.filter(moved_to__in=newest).values_list("pk", flat=True)) - found
        found |= newest
    return found


def find_mapping(conversation: Conversation) -> Route | None:
    """Return the mapping by which it is answered: its own, or a more general one."""
    place = conversation.account, conversation.peer_kind, conversation.peer_id
    return rules.explain(*place, "", "", True).route


@transaction.atomic
def move_conversation(conversation: Conversation, to: Destination, *, farewell: str = "", client: str = "") -> Moved:
    """Move a conversation, or raise CannotMove.

    farewell: what is said in the old conversation, by staff, whose space of keys is `client`; empty: nothing. Whatever is routed or
    moved at the same moment comes wholly before or wholly after, because both peers are locked.
    """
    peer_id = _clean_peer_id(conversation, to)
    if reason := why_not_to(to.account, conversation.peer_kind):
        raise CannotMove("account", reason)
    kind = conversation.peer_kind
    peers.lock_peers((conversation.account_id, kind, conversation.peer_id), (to.account.pk, kind, peer_id))
    other = peers.get_conversation(to.account, kind, peer_id)
    source, target = _lock_rows(conversation, other)
    _refuse(source, target)
    notes = [*_move_mapping(source, target, to), *_move_fallbacks(source, target)]
    if farewell.strip():
        _say_farewell(source, farewell, client)
    _link(source, target)
    names = {"id": target.pk, "account": to.account.name}
    audit.log_action(gettext_noop("Moved to conversation %(id)d of %(account)s."), [source], **names)
    conversation.refresh_from_db()
    target.refresh_from_db()
    return Moved(target, tuple(notes))


def _clean_peer_id(conversation: Conversation, to: Destination) -> str:
    peer_id = person_id(to.account, conversation.peer_kind, without_invisible(to.peer_id))
    if not peer_id:
        raise CannotMove("peer_id", _("Say in which conversation of that account it goes on."))
    if len(peer_id) > MOST_ID or not peer_id.isprintable():
        raise CannotMove("peer_id", _("This is no ID: at most %d visible characters in one line.") % MOST_ID)
    if refusal := why_unconfirmed(conversation.peer_kind, peer_id):
        raise CannotMove("peer_id", str(refusal))
    return peer_id


def _lock_rows(*rows: Conversation) -> tuple[Conversation, Conversation]:
    locked = Conversation.objects.select_for_update(of=("self",)).select_related("account").order_by("pk")
    found = {row.pk: row for row in locked.filter(pk__in=[row.pk for row in rows])}
    if len(found) < len({row.pk for row in rows}):
        raise CannotMove("", _("The conversation was deleted."))
    source, target = (found[row.pk] for row in rows)
    return source, target


def _refuse(source: Conversation, target: Conversation) -> None:
    """Raises CannotMove. A conversation that moved here may have it back, also by several moves."""
    if source.pk == target.pk:
        raise CannotMove("peer_id", _("This is the conversation itself: choose another account or group."))
    if reason := why_not_move(source):
        raise CannotMove("", reason)
    if target.erased:
        raise CannotMove("peer_id", _("This person left, and their data was erased."))
    if target.moved_to_id and target.pk not in find_earlier(source):
        raise CannotMove("peer_id", _("That conversation itself has moved on: choose the one in which it goes on."))


# --- what goes along


def _move_mapping(source: Conversation, target: Conversation, to: Destination) -> list[str]:
    """Give the target the mapping of the source: its own one moves, of a more general one a copy is made."""
    route = find_mapping(source)
    if route is None:
        return [_("No mapping applied here, so none was made there.")]
    allowed, notes = _allowed_senders(route, source, to)
    there = Route.objects.filter(account=target.account_id, peer_kind=target.peer_kind, peer_id=target.peer_id)
    if there.exists() and not to.replaces_mapping:
        text = _("That conversation has a mapping of its own. Choose to replace it, or delete it first.")
        raise CannotMove("replaces_mapping", text)
    there.delete()
    place = {"account": target.account, "peer_kind": target.peer_kind, "peer_id": target.peer_id}
    # Neither writes an entry of its own to the audit log: the move is one action.
    if (route.peer_kind, route.peer_id) == (source.peer_kind, source.peer_id):
        Route.objects.filter(pk=route.pk).update(**place, allowed_senders=allowed)
    else:
        copied = {name: getattr(route, name) for name in RULES}
        Route.objects.bulk_create([Route(**{**copied, **place, "allowed_senders": allowed})])
        notes.append(
            _(
                "A general mapping applied here; that conversation has one of its own now, with the same agent and rules."
            )
        )
    return notes


def _allowed_senders(route: Route, source: Conversation, to: Destination) -> tuple[str, list[str]]:
    """Return who may talk to the agent there, and what staff are to know of that. Raises CannotMove."""
    if not route.allowed_senders or to.account.pk == source.account_id:
        return route.allowed_senders, []
    given = "\n".join(filter(None, map(without_invisible, to.allowed_senders.splitlines())))
    if not given and not to.everybody:
        text = _(
            "The mapping names who may talk to the agent, by ids of the old account: enter their new ids, or let everybody talk to it."
        )
        raise CannotMove("allowed_senders", text)
    return given, [_("The allowed senders were not carried over: their ids are those of the old account.")]


def _move_fallbacks(source: Conversation, target: Conversation) -> list[str]:
    """Move the fallback senders behind those of the target; left out are the target itself, and what it has already."""
    mine = FallbackSender.objects.filter(conversation=source).order_by("position")
    others = FallbackSender.objects.filter(conversation=target)
    known = set(others.values_list("account_id", "peer_kind", "peer_id"))
    known.add((target.account_id, target.peer_kind, target.peer_id))
    last = others.aggregate(last=Max("position"))["last"]
    moved = 0
    for fallback in mine:
        if (fallback.account_id, fallback.peer_kind, fallback.peer_id) in known:
            fallback.delete()
            continue
        position = moved if last is None else last + 1 + moved
        FallbackSender.objects.filter(pk=fallback.pk).update(conversation=target, position=position)
        moved += 1
    if not moved:
        return []
    text = ngettext(
        "%(n)d fallback sender went along: check that it sends to the new group.",
        "%(n)d fallback senders went along: check that they send to the new group.",
        moved,
    )
    return [text % {"n": moved}]


def _say_farewell(source: Conversation, text: str, client: str) -> None:
    place = source.account, source.peer_kind, source.peer_id
    try:
        outbox.send_within(*place, Content(text=text), source=Message.Source.STAFF, client=client)
    except outbox.CannotSend as refused:
        raise CannotMove("farewell", str(refused)) from refused


def _link(source: Conversation, target: Conversation) -> None:
    """Pause the source and let the target go on as it did. A target that came from here once is the live one again."""
    mode = Conversation.Mode
    # Who answers in the client of one platform does not answer in another's.
    goes_on: dict[str, Any] = {} if target.servicer else {"mode": mode.BOT if source.servicer else source.mode}
    is_staffs = source.title != source.told_title
    if source.title and (not target.title or (is_staffs and target.title == target.told_title)):
        goes_on["title"] = source.title
    rows = Conversation.objects
    rows.filter(pk=target.pk).update(**goes_on, moved_to=None, moved_at=None)
    rows.filter(pk=source.pk).update(mode=mode.PAUSED, moved_to=target, moved_at=timezone.now())
    # As it was before the farewell, which answers nothing.
    open_questions.move_wait(source, target.pk)
