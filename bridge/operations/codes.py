"""The codes that the other side answered last, of the newest deliveries that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import OuterRef, Subquery

from bridge.models import Attempt, Delivery
from bridge.operations.dashboard import DEAD

if TYPE_CHECKING:
    from django.db.models import QuerySet

# The codes behind the dead letters are looked for in so many, the newest.
RECENT = 1000


def failed_with_code() -> QuerySet[Any]:
    """Of the newest failures that nobody dealt with those that have a code; `code` is that of the last attempt with one."""
    newest = Delivery.objects.filter(DEAD).order_by("-id").values("pk")[:RECENT]
    last = Attempt.objects.filter(delivery=OuterRef("pk")).exclude(code="").order_by("-number", "-id")
    return Delivery.objects.filter(pk__in=newest).annotate(code=Subquery(last.values("code")[:1])).filter(code__gt="")


def with_code(rows: QuerySet[Delivery], code: str) -> QuerySet[Delivery]:
    """Those of the rows that failed with this code, each once however often it was tried."""
    return rows.filter(pk__in=failed_with_code().filter(code=code).values("pk"))
