"""Reply windows: counts how many messages may still be sent to each person, for channels that have `ReplyWindows`.

The platform allows `count` messages within `seconds` after a person's action. Windows do not add up: what is left of one
that is still open stays where it is more, and so does its end where it is later.

The callback of an action may be stored after a message was sent that already counts against it. So the last uses are kept, and those since
the action was received are subtracted. Times of uses are compared with the time of receipt, both by our own clock; the platform's only says
when the window began.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection
from django.utils import timezone

from accounts import sql
from accounts.models import ReplyWindow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class WindowGrant(NamedTuple):
    """An action that allows so many messages. began: by the platform's clock; heard: when its callback was stored, by our clock."""

    account_id: int
    peer_id: str
    grants: int
    seconds: int
    began: datetime
    heard: datetime

    @property
    def until(self) -> datetime:
        """The end of the window. It is counted from the receipt where the platform's clock is fast, so that this prolongs nothing."""
        return min(self.began, self.heard) + timedelta(seconds=self.seconds)


def open_windows(openings: Iterable[WindowGrant]) -> None:
    """Open windows in this order, in one statement, and in further ones for people with several actions."""
    of_each: dict[tuple[int, str], list[WindowGrant]] = {}
    for opening in openings:
        of_each.setdefault(opening[:2], []).append(opening)
    for at_once in zip_longest(*of_each.values()):
        rows = [(one.account_id, one.peer_id, one.grants, one.until, one.heard) for one in at_once if one]
        with connection.cursor() as cursor:
            cursor.execute(sql.OPEN_WINDOWS, [list(column) for column in zip(*rows, strict=True)])


def count_message(account_id: int, peer_id: str, now: datetime) -> bool:
    """Count one message, identified by its time. Return False where nothing is left, or the window has ended."""
    return _change(sql.TAKE, account_id, peer_id, now=now)


def give_back(account_id: int, peer_id: str, used: datetime) -> None:
    """Take back the count of a message that the platform certainly did not count; not where the person acted meanwhile."""
    _change(sql.GIVE_BACK, account_id, peer_id, used=used)


def mark_empty(account_id: int, peer_id: str, asked: datetime) -> None:
    """Set what is left to nothing, because the platform refused a message of that time. Other systems may write to the person too.

    An action that was received later is not changed, because the refusal may have come before it.
    """
    _change(sql.MARK_EMPTY, account_id, peer_id, asked=asked)


def count_remaining(account_id: int, peer_id: str) -> int:
    """Return how many messages may be sent now."""
    found = ReplyWindow.objects.filter(account_id=account_id, peer_id=peer_id).first()
    return count_remaining_of(found) if found else 0


def count_remaining_of(window: ReplyWindow) -> int:
    """Return the same for a page, which has the row already."""
    return window.left if (window.until - timezone.now()).total_seconds() > sql.MARGIN_SECONDS else 0


def _change(statement: str, account_id: int, peer_id: str, **moment: datetime) -> bool:
    values: dict[str, Any] = {"account": account_id, "peer": peer_id, **moment}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return bool(cursor.rowcount)
