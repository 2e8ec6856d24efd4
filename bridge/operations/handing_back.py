"""Hands a conversation back to its agent, and asks the agent what was asked meanwhile."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction

from bridge.models import Conversation
from bridge.operations import replay
from bridge.operations.unanswered import find_unanswered, select_unanswered
from bridge.operations.unanswered_sql import IDLE_CHATS
from bridge.people import open_questions, peers
from bridge.pipeline.agent import takeover
from bridge.runtime.wakeups.publish import Topic, notify

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# So many conversations at most are handed back in one run of the clock.
MOST_IDLE = 200
# So many questions at most are asked at once, the newest: each costs thirteen queries, and the conversation's lock is held meanwhile.
MOST_ASKED = 1000


class Ask(enum.StrEnum):
    """Which of the unanswered questions the agent is asked."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class HandedBack:
    """asked: how many questions the agent is asked now; refused: delivery id and why it was not queued.

    left_out: how many older ones are not asked, because there are more than MOST_ASKED.
    """

    asked: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    left_out: int = 0


@transaction.atomic
def hand_back(conversation: Conversation, by: User | None, ask: Ask) -> HandedBack:
    """Let the agent answer again and ask it, in their order, what was asked meanwhile; all or nothing.

    by: None: the time is over. Raises AnsweredElsewhere.
    """
    row = takeover.hand_back(conversation, by)
    return ask_agent(row, ask)


@transaction.atomic
def ask_agent(conversation: Conversation, ask: Ask) -> HandedBack:
    """Ask the agent questions that it was not asked. Nothing waits afterwards, whatever is left out."""
    chosen = find_unanswered(conversation, {Ask.NONE: 0, Ask.LAST: 1, Ask.ALL: MOST_ASKED}[ask])
    left_out = select_unanswered(conversation).count() - len(chosen) if len(chosen) == MOST_ASKED else 0
    result = replay.replay(chosen)
    if not result.refused:
        open_questions.end_wait(conversation.pk)
    transaction.on_commit(lambda: notify(Topic.ASK))
    return HandedBack(result.count, result.refused, left_out)


def hand_back_idle() -> int:
    """Hand back where staff have written nothing for as long as the account says, and ask the last question. Return how many.

    What its agent handed over stays with staff until they answer, or the person writes again.
    """
    return sum(_hand_back_idle(chat.id) for chat in IDLE_CHATS.fetch(only=None, most=MOST_IDLE))


@transaction.atomic
def _hand_back_idle(pk: int) -> bool:
    found = Conversation.objects.filter(pk=pk).first()
    if found is None:
        return False
    peers.lock_peer(found.account_id, found.peer_kind, found.peer_id)
    if not IDLE_CHATS.fetch(only=pk, most=1):
        return False  # a colleague wrote at this moment, or handed it back
    hand_back(found, None, Ask.LAST)
    return True
