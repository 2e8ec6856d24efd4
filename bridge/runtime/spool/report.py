"""Tells staff about callbacks that were stored on disk, by an incident that lasts until the last row is in the database."""

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
        values = {
            "first": _format_iso_time(self.first),
            "last": _format_iso_time(self.last),
            "count": self.count,
            "now": _format_time(now),
        }
        detail = ngettext(
            "From %(first)s to %(last)s, %(count)d message. It is in the database since %(now)s.",
            "From %(first)s to %(last)s, %(count)d messages. All are in the database since %(now)s.",
            self.count,
        )
        Incident.objects.filter(pk=self.incident.pk).update(detail=detail % values, closed_at=now)

    def _open(self) -> Incident:
        title, detail = _("Callbacks were stored on disk"), _("The database was away. They are being stored now.")
        fields = {"title": title, "detail": detail, "opened_at": datetime.fromisoformat(self.first)}
        return Incident.objects.get_or_create(cause=CAUSE, closed_at=None, defaults=fields)[0]


def _format_iso_time(time: str) -> str:
    return _format_time(datetime.fromisoformat(time))


def _format_time(time: datetime) -> str:
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M:%S}"
