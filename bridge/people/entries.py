"""Lines of a transcript that never leave: notes among staff, and what became of the conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.models import ConversationEntry

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from bridge.models import Conversation

Kind = ConversationEntry.Kind
# Characters of a note.
LONGEST_NOTE = 4000


def name_of(user: User | None) -> str:
    """Return the name by which colleagues know each other; empty for nobody."""
    return (user.get_full_name() or user.get_username()) if user else ""


def add_entry(conversation: Conversation, kind: Kind, by: User | None = None, text: str = "") -> ConversationEntry:
    """Store one line, in the caller's transaction. by: the colleague; None where a person in WeChat, the agent or the clock did it."""
    return ConversationEntry.objects.create(
        conversation_id=conversation.pk, kind=kind, by=by, by_name=name_of(by)[:150], text=text
    )
