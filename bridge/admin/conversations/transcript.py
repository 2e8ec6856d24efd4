"""The transcript of a conversation: bubbles, oldest first, each with the state of its deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db.models import F

from accounts.models import ConnectionGap
from bridge.admin.conversations.attachments import is_picture
from bridge.admin.conversations.messages import add_sender_names, prefetch_details
from bridge.models import Attachment, Conversation, ConversationEntry, Delivery, Message, State
from bridge.operations.replay import why_not_release
from bridge.people import entries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

PAGE = 40
# So many notes and changes are shown on one page.
MOST_ENTRIES = 200
# How the `client` of a message of staff begins; the number of their row follows.
STAFF = "staff:"
# So many gaps in the connection are looked at for one page.
MOST_GAPS = 1000
# Kinds that are shown small and centred, because no person wrote them.
ASIDE_KINDS = ("event", "unsupported")
# The states that get a mark in a transcript, worst first.
BY_SEVERITY = (State.DEAD, State.UNCERTAIN, State.HELD, State.SENDING, State.PENDING, State.SKIPPED, State.DELIVERED)


@dataclass(frozen=True, slots=True)
class Move:
    """The conversation moved to another one (is_away), or came from it."""

    at: datetime
    other: Conversation
    is_away: bool

    @property
    def stamp(self) -> str:
        return f"{self.other.pk}{self.at.timestamp()}{self.is_away}"


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a page: from its first message until that of the newer page; None: without a bound."""

    since: datetime | None
    until: datetime | None

    def holds(self, moment: datetime) -> bool:
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


@dataclass(slots=True, eq=False)
class Bubble:
    """gap: a time without a connection before this message, in which others may be missing. moves: of the conversation, before it."""

    message: Message
    gap: ConnectionGap | None = None
    moves: list[Move] = field(default_factory=list)
    entries: list[ConversationEntry] = field(default_factory=list)  # before it
    colleague: str = ""  # who of the staff wrote it
    pictures: list[Attachment] = field(default_factory=list)
    files: list[Attachment] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    feedback: list[Message] = field(default_factory=list)

    @property
    def is_aside(self) -> bool:
        return self.message.kind in ASIDE_KINDS

    @property
    def worst_delivery(self) -> Delivery | None:
        """The delivery that says most about this message."""
        return min(self.deliveries, key=lambda delivery: BY_SEVERITY.index(State(delivery.state)), default=None)

    @property
    def delivery_to_decide(self) -> Delivery | None:
        """The delivery of this message that waits for a person's decision."""
        return next((delivery for delivery in self.deliveries if not why_not_release(delivery)), None)

    @property
    def stamp(self) -> str:
        """Return a value that changes when the bubble looks different, so that the page replaces only such bubbles."""
        states = ",".join(f"{d.state}{d.reason}{bool(d.recalled_at)}" for d in self.deliveries)
        files = ",".join(f"{item.state}" for item in [*self.pictures, *self.files])
        return f"{states};{files};{len(self.feedback)};{self.gap.pk if self.gap else ''};{len(self.moves)};{len(self.entries)}"


@dataclass(frozen=True, slots=True)
class Transcript:
    bubbles: list[Bubble]
    gaps_after: list[ConnectionGap]  # behind the last message of the page, as the next two
    moves_after: list[Move]
    entries_after: list[ConversationEntry]
    older: int | None  # the id before which there is more


def read_page(conversation: Conversation, moves: list[Move], before: int | None = None) -> Transcript:
    """Return the newest PAGE messages, or those before an id; at most ten queries. moves: all of the conversation.

    What happened between two pages stands at the end of the older one.
    """
    rows = conversation.messages.defer("raw", "reply_address").order_by("-id")
    if before:
        rows = rows.filter(pk__lt=before)
    found = list(prefetch_details(rows)[: PAGE + 1])
    shown = found[:PAGE][::-1]
    add_sender_names(shown)
    older = shown[0].pk if len(found) > PAGE else None
    bubbles = _bubbles(conversation, shown)
    span = Span(shown[0].created_at if older else None, _find_time(conversation, before) if before else None)
    gaps = _mark_gaps(conversation, bubbles, span.until)
    moves_after = _mark_moves([move for move in moves if span.holds(move.at)], bubbles)
    lines = _mark_entries(conversation, bubbles, span)
    _name_colleagues(bubbles)
    return Transcript(bubbles, gaps, moves_after, lines, older)


def _find_time(conversation: Conversation, before: int) -> datetime | None:
    """Return when the first message from this id on was stored: the newer page begins with it."""
    newer = conversation.messages.filter(pk__gte=before).order_by("pk")
    return newer.values_list("created_at", flat=True).first()


def _mark_entries(conversation: Conversation, bubbles: list[Bubble], span: Span) -> list[ConversationEntry]:
    """Put each entry of the page's time before the first message behind it. Return those that no message of the page came after."""
    rows = ConversationEntry.objects.filter(conversation=conversation).order_by("created_at", "id")
    if span.since:
        rows = rows.filter(created_at__gte=span.since)
    if span.until:
        rows = rows.filter(created_at__lt=span.until)
    left: list[ConversationEntry] = []
    for entry in rows.reverse()[:MOST_ENTRIES][::-1]:
        behind = next((bubble for bubble in bubbles if bubble.message.created_at >= entry.created_at), None)
        (behind.entries if behind else left).append(entry)
    return left


def _name_colleagues(bubbles: list[Bubble]) -> None:
    """Name who of the staff wrote each answer; one query where somebody did."""
    wrote = {bubble: bubble.message.client.removeprefix(STAFF) for bubble in bubbles if _is_by_staff(bubble.message)}
    users = User.objects.in_bulk([int(key) for key in wrote.values() if key.isdecimal()]) if wrote else {}
    for bubble, key in wrote.items():
        bubble.colleague = entries.name_of(users.get(int(key))) if key.isdecimal() else ""


def _is_by_staff(message: Message) -> bool:
    return message.source == Message.Source.STAFF and message.client.startswith(STAFF)


def list_moves(conversation: Conversation) -> list[Move]:
    """Return where it came from and where it went, in their order."""
    came = conversation.moved_from.exclude(moved_at=None).select_related("account").defer("account__credentials")
    moves = [Move(row.moved_at, row, False) for row in came if row.moved_at]
    if conversation.moved_to and conversation.moved_at:
        moves.append(Move(conversation.moved_at, conversation.moved_to, True))
    return sorted(moves, key=lambda move: move.at)


def _mark_moves(moves: list[Move], bubbles: list[Bubble]) -> list[Move]:
    """Put each move before the first message behind it. Return those that no message of the page came after."""
    left: list[Move] = []
    for move in moves:
        behind = next((bubble for bubble in bubbles if bubble.message.created_at >= move.at), None)
        (behind.moves if behind else left).append(move)
    return left


def _bubbles(conversation: Conversation, messages: list[Message]) -> list[Bubble]:
    bubbles = {message.pk: _bubble(message) for message in messages}
    for event in _feedback(conversation, bubbles):
        bubbles[event.reply_to_id or 0].feedback.append(event)
        bubbles.pop(event.pk, None)
    return list(bubbles.values())


def _mark_gaps(conversation: Conversation, bubbles: list[Bubble], until: datetime | None) -> list[ConnectionGap]:
    """Put each gap of the account before the first message that came after it. Return the longest that no message of the page came after.

    until: when the newer page begins, if there is one. Of several gaps between two messages the longest is shown.
    """
    if not bubbles:
        return []
    gaps = ConnectionGap.objects.filter(account=conversation.account_id).order_by("-until")
    first, last = (bubble.message.created_at for bubble in (bubbles[0], bubbles[-1]))
    for gap in gaps.filter(until__gte=first, until__lte=last)[:MOST_GAPS]:
        behind = next(bubble for bubble in bubbles if bubble.message.created_at >= gap.until)
        if behind.gap is None or _length(gap) > _length(behind.gap):
            behind.gap = gap
    later = gaps.filter(until__gt=last, **({"until__lt": until} if until else {}))
    return list(later.order_by(F("since") - F("until"))[:1])


def _length(gap: ConnectionGap) -> timedelta:
    return gap.until - gap.since


def _feedback(conversation: Conversation, judged: Iterable[int]) -> list[Message]:
    """Return the feedback on each of these messages, which is shown with it."""
    events = conversation.messages.filter(kind="event", reply_to__in=list(judged)).defer("raw", "reply_address")
    rows = list(events.order_by("id"))
    add_sender_names(rows)
    return rows


def _bubble(message: Message) -> Bubble:
    bubble = Bubble(message, deliveries=list(message.deliveries.all()))
    for item in message.attachments.all():
        (bubble.pictures if is_picture(item) else bubble.files).append(item)
    return bubble
