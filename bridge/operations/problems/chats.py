"""Finds chats in which people wait: without a mapping, for staff, for a decision about content, or for their own next message."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Max, Min
from django.utils import timezone

from bridge.models import Delivery, Reason, State
from bridge.operations.problems.problem import Problem
from bridge.operations.problems.sql import CHATS_FOR_STAFF, UNMAPPED_CHATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from bridge.operations.problems.problem import Names
    from bridge.operations.problems.sql import WaitingChat

# Who wrote longer ago to a chat without a mapping expects no answer any more.
MAX_AGE = timedelta(days=7)


def find_unmapped(names: Names) -> Iterator[Problem]:
    return _by_account("unmapped", "chats_unmapped", list_unmapped(), names)


def find_for_staff(names: Names) -> Iterator[Problem]:
    return _by_account("chats", "chats_waiting", list_for_staff(), names)


def list_unmapped(account: int | None = None) -> list[WaitingChat]:
    """Return the chats without a mapping in which somebody wrote lately, longest waiting first; account: only of this one."""
    return UNMAPPED_CHATS.fetch(since=timezone.now() - MAX_AGE, account=account)


def list_for_staff(account: int | None = None, before: datetime | None = None) -> list[WaitingChat]:
    """Return the chats that wait for staff, longest waiting first; account: only of this one; before: only what has waited since then."""
    found = CHATS_FOR_STAFF.fetch(account=account)
    return [chat for chat in found if chat.first <= before] if before else found


def _by_account(cause: str, code: str, chats: list[WaitingChat], names: Names) -> Iterator[Problem]:
    """Make one problem of the chats of each account. It names the chat where there is only one."""
    accounts: dict[int, list[WaitingChat]] = {}
    for chat in chats:
        accounts.setdefault(chat.account_id, []).append(chat)
    for pk, waiting in accounts.items():
        columns = describe_chats(waiting)
        params = {"name": names.accounts.get(pk, ""), **columns.pop("params")}
        yield Problem(f"{cause}:{pk}", code, params, account_id=pk, **columns)


def describe_chats(waiting: Sequence[WaitingChat]) -> dict[str, Any]:
    """Return the columns of a problem that is about these chats, at least one, with its parameters `chats` and `count` (of messages)."""
    return {
        "params": {"chats": len(waiting), "count": sum(chat.messages for chat in waiting)},
        "conversation_id": waiting[0].conversation_id if len(waiting) == 1 else None,
        "count": len(waiting),
        "first_seen_at": min(chat.first for chat in waiting),
        "last_seen_at": max(chat.last for chat in waiting),
    }


def find_held(names: Names) -> Iterator[Problem]:
    """Find what is on hold at each account: for a decision of staff, or until the person writes again; by the index delivery_held."""
    codes: dict[str, str] = {Reason.REVIEW: "review_waiting", Reason.WINDOW: "window_closed"}
    held = Delivery.objects.filter(state=State.HELD, reason__in=codes).order_by().values_list("account", "reason")
    counted: Any = held.annotate(n=Count("pk"), first=Min("queued_at"), last=Max("queued_at"))
    for pk, reason, count, first, last in counted:
        yield Problem(
            f"held:{reason}:{pk}",
            codes[reason],
            {"name": names.accounts.get(pk, ""), "count": count},
            account_id=pk,
            reason=reason,
            count=count,
            first_seen_at=first,
            last_seen_at=last,
        )
