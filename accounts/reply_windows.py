"""What may still be said to each person: a ledger of what they did and of what was sent since, for channels that are `Windows`.

The platform's rule: a person's deed lets an account say `count` messages within `seconds`. Deeds do not add up: what is left of a window
that is still open counts on where it is more, and so does its end where it is later.

A deed is often heard of after something was sent that it already paid for. So the last uses are kept, and those since the deed was heard
are taken off what it grants. Times of uses are compared with the time we heard, both of our own clocks; the platform's clock says only
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
    """A deed that grants so many messages. began: by the platform's clock; heard: when its callback was stored, by ours."""

    account_id: int
    peer_id: str
    grants: int
    seconds: int
    began: datetime
    heard: datetime

    @property
    def until(self) -> datetime:
        """Nobody did anything after we heard of it: a platform's clock that is fast prolongs nothing."""
        return min(self.began, self.heard) + timedelta(seconds=self.seconds)


def open_all(openings: Iterable[WindowGrant]) -> None:
    """In this order. One statement, and another for whoever did something twice."""
    of_each: dict[tuple[int, str], list[WindowGrant]] = {}
    for opening in openings:
        of_each.setdefault(opening[:2], []).append(opening)
    for at_once in zip_longest(*of_each.values()):
        rows = [(one.account_id, one.peer_id, one.grants, one.until, one.heard) for one in at_once if one]
        with connection.cursor() as cursor:
            cursor.execute(sql.OPEN_WINDOWS, [list(column) for column in zip(*rows, strict=True)])


def take(account_id: int, peer_id: str, now: datetime) -> bool:
    """One use, which is known by its moment. False: nothing is left, or the window is over."""
    return _change(sql.TAKE, account_id, peer_id, now=now)


def give_back(account_id: int, peer_id: str, used: datetime) -> None:
    """The use of that moment, for what the platform certainly did not count. Not where the person did something meanwhile."""
    _change(sql.GIVE_BACK, account_id, peer_id, used=used)


def mark_empty(account_id: int, peer_id: str, asked: datetime) -> None:
    """The platform refused what left at that moment: nothing is left, whatever we counted. Others may speak to the person as well.

    A deed of which we heard later is not touched: the refusal may have come before it.
    """
    _change(sql.MARK_EMPTY, account_id, peer_id, asked=asked)


def remaining(account_id: int, peer_id: str) -> int:
    """How many messages may be said now."""
    found = ReplyWindow.objects.filter(account_id=account_id, peer_id=peer_id).first()
    return remaining_of(found) if found else 0


def remaining_of(window: ReplyWindow) -> int:
    """For pages, which have the row."""
    return window.left if (window.until - timezone.now()).total_seconds() > sql.MARGIN_SECONDS else 0


def _change(statement: str, account_id: int, peer_id: str, **moment: datetime) -> bool:
    values: dict[str, Any] = {"account": account_id, "peer": peer_id, **moment}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return bool(cursor.rowcount)
