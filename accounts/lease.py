"""A row that one process at a time works on, until its lease expires."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

if TYPE_CHECKING:
    from typing import Any, Self


class LeaseMixin(models.Model):
    """`fence` counts the changes of the holder, so that a write of an earlier holder changes nothing."""

    owner = models.CharField(max_length=100, blank=True, default="", editable=False)
    owner_until = models.DateTimeField(null=True, editable=False)
    fence = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        abstract = True

    def as_held(self) -> models.QuerySet[Self]:
        """Return a query that finds this row only while its holder is the same as when it was read; for every write of the holder."""
        return type(self)._default_manager.filter(pk=self.pk, fence=self.fence)

    def settle_as_held(self, **columns: Any) -> bool:
        """Write the result and release the lease, in one statement. Return False and write nothing where another process has the row."""
        columns |= {"owner": "", "owner_until": None}
        if not self.as_held().update(**columns):
            return False
        for name, value in columns.items():
            setattr(self, name, value)
        return True


def acquire(rows: models.QuerySet[LeaseMixin], holder: str, seconds: float, **columns: Any) -> int:
    """Lease the free rows and renew those of this holder, in one statement. Return how many. columns: what else is written to them."""
    now = timezone.now()
    free = Q(owner=holder) | Q(owner="") | Q(owner_until__lt=now) | Q(owner_until=None)
    return rows.filter(free).update(
        fence=Case(When(owner=holder, then=F("fence")), default=F("fence") + Value(1)),
        owner=holder,
        owner_until=now + timedelta(seconds=seconds),
        **columns,
    )


def release(rows: models.QuerySet[LeaseMixin], holder: str) -> None:
    rows.filter(owner=holder).update(owner="", owner_until=None)
