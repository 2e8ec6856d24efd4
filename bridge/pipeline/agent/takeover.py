"""Who answers a conversation: its agent, nobody, or staff, and of them whom.

Each change is made under the lock of the peer, as the router decides under it: a message that comes at the same moment is decided
wholly before the change or wholly behind it, and of two colleagues who take a conversation over one gets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from bridge.models import Conversation, ConversationEntry, Delivery, Message, Reason, State, Target
from bridge.people import entries, open_questions, peers
from bridge.people.staffed import select_staffed
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.lanes import lane_of_turns
from bridge.pipeline.replies import unread
from bridge.pipeline.replies.paths import holds_requests
from bridge.webhooks import events

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from bridge.models import Attempt
    from bridge.pipeline.delivery.types import Failure

Kind, Mode = ConversationEntry.Kind, Conversation.Mode


class TakenAlready(Exception):
    """A colleague answers the conversation. name: theirs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class AnsweredElsewhere(Exception):
    """A servicer answers it in the platform's own client, which alone can end that."""


@transaction.atomic
def take_over(conversation: Conversation, by: User) -> None:
    """Let this colleague answer. Raises TakenAlready where another one does."""
    row = _lock(conversation)
    if row.mode == Mode.HUMAN and row.assignee_id not in (None, by.pk):
        raise TakenAlready(entries.name_of(row.assignee))
    if row.mode == Mode.HUMAN and row.assignee_id == by.pk:
        return
    _change(row, mode=Mode.HUMAN, assignee=by)
    keep_for_staff(row)
    _tell_staff(row, entries.add_entry(row, Kind.TAKEN, by), "staff")


@transaction.atomic
def assign(conversation: Conversation, to: User | None, by: User) -> None:
    """Let another colleague answer, or whoever takes it over next (None)."""
    row = _lock(conversation)
    if row.mode == Mode.HUMAN and row.assignee_id == (to and to.pk):
        return
    was_staff = row.mode == Mode.HUMAN
    _change(row, mode=Mode.HUMAN, assignee=to)
    entry = entries.add_entry(row, Kind.ASSIGNED, by, entries.name_of(to))
    if not was_staff:
        keep_for_staff(row)
        _tell_staff(row, entry, "staff")


@transaction.atomic
def pause(conversation: Conversation, by: User) -> None:
    """Let nobody answer: messages are stored only."""
    row = _lock(conversation)
    if row.mode != Mode.PAUSED:
        _change(row, mode=Mode.PAUSED, assignee=None)
        entries.add_entry(row, Kind.PAUSED, by)


def hand_back(conversation: Conversation, by: User | None) -> Conversation:
    """Let the agent answer again, in the caller's transaction. by: None: the time is over. Return the row, locked.

    Raises AnsweredElsewhere.
    """
    row = _lock(conversation)
    if row.servicer:
        raise AnsweredElsewhere
    if row.mode != Mode.BOT:
        _change(row, mode=Mode.BOT, assignee=None)
        entries.add_entry(row, Kind.HANDED_BACK, by)
    return row


def call_staff(conversation: Conversation, *, by_agent: bool, why: str = "") -> bool:
    """Hand the conversation to staff because its person or its agent asked for them; in the caller's transaction.

    Return False where the agent does not answer it anyway. The object is changed too, for the next messages of a batch.
    """
    row = _lock(conversation)
    if row.mode != Mode.BOT:
        return False
    # No action of staff: `.update()` makes no line in the audit log.
    changed = {"mode": Mode.HUMAN, "assignee_id": None, "staff_active_at": timezone.now()}
    Conversation.objects.filter(pk=row.pk).update(**changed)
    conversation.mode = row.mode = Mode.HUMAN
    keep_for_staff(row)
    entry = entries.add_entry(row, Kind.HANDED_OVER if by_agent else Kind.CALLED, text=why)
    _tell_staff(row, entry, "agent" if by_agent else "person")
    return True


def hand_over(conversation: Conversation, question: Message, why: str) -> None:
    """Hand the conversation to staff for its agent, in the transaction that stores its answer: the question waits for them.

    One that staff paused meanwhile stays paused: its person was told all the same that a colleague answers.
    """
    if not call_staff(conversation, by_agent=True, why=why):
        row = _lock(conversation)
        keep_for_staff(row)
        _tell_staff(row, entries.add_entry(row, Kind.HANDED_OVER, text=why), "agent")
    _note_waiting(conversation.pk, question)


def keep_for_staff(row: Conversation) -> None:
    """Ask the agent no question that still waits for its turn: staff answer it, or the agent when it is handed back.

    In the caller's transaction, which has locked the peer.
    """
    turns = Delivery.objects.filter(lane=lane_of_turns(row.pk), target=Target.AGENT, state=State.PENDING)
    times = list(turns.values_list("message__created_at", flat=True))
    if not settle.cancel(turns, Reason.HUMAN):
        return
    open_questions.note_waiting(row.pk, times)
    if holds_requests(row.account.kind):
        unread.wake_readers(row.account_id, row.peer_id)


def withdraw_late_answer(turn: Delivery, question: Message) -> bool:
    """Skip a turn that was answered after staff took over; in the transaction that settles it. Return whether it was so.

    Under the lock of the peer: the answer is stored before they take over, or not at all. The attempt keeps it, for staff to read.
    """
    conversation = _find_staffed(turn, question)
    if conversation is None:
        return False
    settle.withdraw(turn, Reason.HUMAN)
    _note_waiting(conversation, question)
    return True


@transaction.atomic
def leave_to_staff(turn: Delivery, attempt: Attempt | None = None, failure: Failure | None = None) -> bool:
    """Skip a claimed turn whose conversation staff answer: it is asked no more, and nobody is told that it failed.

    attempt, failure: of a try that failed just now; the attempt keeps why. Return whether it was so. Raises LostLease.
    """
    question = turn.message
    conversation = _find_staffed(turn, question) if question else None
    if question is None or conversation is None:
        return False
    settle.skip(turn, attempt, Reason.HUMAN, failure)
    _note_waiting(conversation, question)
    return True


def _find_staffed(turn: Delivery, question: Message) -> int | None:
    """Lock the peer of a question. Return its conversation where the turn is staff's."""
    if question.conversation_id is None:
        return None
    peers.lock_peer(question.account_id, question.peer_kind, question.peer_id)
    staffed = select_staffed(Delivery.objects.filter(pk=turn.pk))
    return question.conversation_id if staffed.exists() else None


def _note_waiting(conversation: int, question: Message) -> None:
    """Note that a question waits for staff, in the conversation in which it goes on, unless they have answered since."""
    moved_to = Conversation.objects.filter(pk=conversation).values_list("moved_to", flat=True).first()
    if not any(_have_answered(pk, question.pk) for pk in (conversation, moved_to) if pk):
        open_questions.note_waiting(moved_to or conversation, [question.created_at])


def _have_answered(conversation: int, since: int) -> bool:
    """Whether staff, or somebody in the platform's own client, wrote after the message with this id. Reads no older message."""
    said = Message.objects.filter(conversation=conversation, direction="out", source=Message.Source.STAFF, pk__gt=since)
    own = Delivery.objects.filter(lane=lane_of_turns(conversation), reason=Reason.OWN, message_id__gt=since)
    return said.exists() or own.exists()


def _tell_staff(conversation: Conversation, entry: ConversationEntry, by: str) -> None:
    events.queue_handover_event(conversation, entry.pk, by, entry.text)


def _lock(conversation: Conversation) -> Conversation:
    """Lock the peer, then the row, as the router does. Return the row as it is now."""
    peers.lock_peer(conversation.account_id, conversation.peer_kind, conversation.peer_id)
    rows = Conversation.objects.select_related("account").defer("account__credentials")
    return rows.select_for_update(of=("self",)).get(pk=conversation.pk)


def _change(row: Conversation, **values: Any) -> None:
    """Write these columns, and when staff did so; the audit log notes what changed."""
    for name, value in {**values, "staff_active_at": timezone.now()}.items():
        setattr(row, name, value)
    row.save(update_fields=[*values, "staff_active_at"])
