"""What the agent reads. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Said:
    """One message as the agent is to see it. surface: where the conversation is and what can be shown there, in English."""

    text: str
    sender: str
    sender_name: str
    group: bool
    title: str
    surface: str
    files: Sequence[str] = ()


def message_text(said: Said) -> str:
    """In a group everyone speaks to one agent, so each message begins with who said it."""
    lines = [said.text] if said.text else []
    lines += [f"[{name}]" for name in said.files]
    body = "\n".join(lines)
    return f"{said.sender_name or said.sender}: {body}" if said.group else body


def system_text(said: Said) -> str:
    """Where the agent speaks; sent beside every message, because a gateway may forget it between turns."""
    who = f"{said.sender_name} (user id {said.sender})" if said.sender_name else f"user id {said.sender}"
    place = f"the group “{said.title}”" if said.group and said.title else "a group" if said.group else "a private chat"
    lines = [
        f"You are talking in {place} on WeChat through a bridge; the current message is from {who}.",
        said.surface,
        # No way to stay silent is offered: since 2026.9 a gateway counts NO_REPLY to a user's turn as a failed run.
        "Write the answer only; it is delivered for you.",
    ]
    return "\n".join(line for line in lines if line)
