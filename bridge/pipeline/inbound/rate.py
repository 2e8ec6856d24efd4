"""Limits how many turns a person may have in a minute. Pure.

A person's recent turns are kept as one time, `turns_until`: each turn moves it on by a minute's share, from now at the earliest. While it
lies no more than a minute ahead they may have another, so a whole minute's turns may come at once, and then one for each share.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTE = timedelta(seconds=60)


@dataclass(slots=True)
class SenderRate:
    """The turns of one sender at one account. refused_at: when a turn was last refused. changed: whether the row must be written."""

    turns_until: datetime | None = None
    refused_at: datetime | None = None
    changed: bool = False

    def take_turn(self, per_minute: int | None, now: datetime) -> bool:
        """Count a turn. Return False where this person has had too many. per_minute: None for no limit."""
        if not per_minute:
            return True
        until = max(self.turns_until or now, now) + MINUTE / per_minute
        self.changed = True
        if until > now + MINUTE + timedelta(milliseconds=1):
            return False
        self.turns_until = until
        return True

    def must_be_notified(self, now: datetime) -> bool:
        """Store a refusal. Return whether the person must be told: only at the first one after a minute without any."""
        quiet = self.refused_at is None or now - self.refused_at > MINUTE
        self.refused_at, self.changed = now, True
        return quiet
