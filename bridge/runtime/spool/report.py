"""Tells staff about callbacks that were stored on disk: an incident from the first row that a drain stores to the last."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bridge.models import Incident

if TYPE_CHECKING:
    from collections.abc import Sequence

CAUSE = "spool"


class Report:
    """The report of one drain. first, last: when the rows arrived."""

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
        told = {"first": _local_time(self.first), "last": _local_time(self.last), "count": self.count, "now": _at(now)}
        detail = ngettext(
            "From %(first)s to %(last)s, %(count)d message. It is in the database since %(now)s.",
            "From %(first)s to %(last)s, %(count)d messages. All are in the database since %(now)s.",
            self.count,
        )
        Incident.objects.filter(pk=self.incident.pk).update(detail=detail % told, closed_at=now)

    def _open(self) -> Incident:
        title, detail = _("Callbacks were stored on disk"), _("The database was away. They are being stored now.")
        fresh = {"title": title, "detail": detail, "opened_at": datetime.fromisoformat(self.first)}
        return Incident.objects.get_or_create(cause=CAUSE, closed_at=None, defaults=fresh)[0]


def _local_time(time: str) -> str:
    return _at(datetime.fromisoformat(time))


def _at(time: datetime) -> str:
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M:%S}"
