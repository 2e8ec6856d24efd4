"""Tells staff about callbacks that were stored on disk, by an incident that lasts until the last row is in the database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from bridge.models import Incident

if TYPE_CHECKING:
    from collections.abc import Sequence

CAUSE = "spool"


class Report:
    """The report about the rows that were stored from the spool at one time. first, last: when the rows arrived."""

    def __init__(self) -> None:
        self.first = self.last = ""
        self.count = 0
        self.incident: Incident | None = None

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count rows that were stored in the database."""
        times = [row["now"] for row in rows]
        self.first, self.last = min([self.first or times[0], *times]), max(self.last, *times)
        self.count += len(rows)
        if self.incident is None:
            self.incident = self._open()

    def end(self) -> None:
        """Close the incident: nothing waits any more."""
        if self.incident is None:
            return
        now = timezone.now()
        params = {"first": self.first, "last": self.last, "count": self.count, "stored": now.isoformat()}
        incident = Incident.objects.filter(pk=self.incident.pk)
        incident.update(code="spool_stored", code_params=params, closed_at=now)

    def _open(self) -> Incident:
        fresh = {"code": "spool_being_stored", "opened_at": datetime.fromisoformat(self.first)}
        return Incident.objects.get_or_create(cause=CAUSE, closed_at=None, defaults=fresh)[0]
