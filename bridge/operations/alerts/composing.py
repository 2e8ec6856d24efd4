"""Writes the texts of alerts in the language that is active: several incidents of one moment are one message."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bridge.models import AlertDelivery
from bridge.operations.alerts.channels import quiet_at
from bridge.operations.alerts.endings import find_withdrawn
from channels_wechat.contract.connection import NEEDS_LOGIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from bridge.models import AlertChannel, Incident

Occasion = AlertDelivery.Occasion


@dataclass(frozen=True, slots=True)
class Item:
    """What is told of one incident. ended: whether it is over; again: whether it was told before and lasts.

    is_withdrawn: whether it ended only because its rule, or what it is about, was disabled, stopped or deleted.
    """

    incident: Incident
    ended: bool
    again: bool
    is_withdrawn: bool

    @property
    def title(self) -> str:
        if self.is_withdrawn:
            return _("No longer watched: %(title)s") % {"title": self.incident.title}
        if self.ended:
            return _("Resolved: %(title)s") % {"title": self.incident.title}
        return _("Still active: %(title)s") % {"title": self.incident.title} if self.again else self.incident.title

    @property
    def lines(self) -> list[str]:
        """Title, detail with its cure, since when, and the address of a page."""
        lines = [self.title, "" if self.ended else self.incident.detail, self._when, _address_of(self.incident)]
        return [line for line in lines if line]

    @property
    def _when(self) -> str:
        since = _write_time(self.incident.opened_at)
        if self.ended and self.incident.closed_at:
            return _("From %(since)s to %(until)s (%(zone)s).") % {
                "since": since,
                "until": _write_time(self.incident.closed_at),
                "zone": settings.TIME_ZONE,
            }
        return _("Since %(since)s (%(zone)s).") % {"since": since, "zone": settings.TIME_ZONE}

    def as_json(self) -> dict[str, Any]:
        """For receivers of signed webhooks."""
        return {
            "id": self.incident.pk,
            "state": "resolved" if self.ended else "active",
            "withdrawn": self.is_withdrawn,
            "reminder": self.again,
            "code": self.incident.code,
            "cause": self.incident.cause,
            "title": self.incident.title,
            "detail": self.incident.detail,
            "since": self.incident.opened_at.isoformat(),
            "until": self.incident.closed_at.isoformat() if self.ended and self.incident.closed_at else None,
            "url": _address_of(self.incident),
        }


@dataclass(frozen=True, slots=True)
class Alert:
    """A message to staff. heading: a line before the items; empty where there is none."""

    title: str
    items: list[Item] = field(default_factory=list)
    heading: str = ""

    @property
    def text(self) -> str:
        return self.fit(0)

    def fit(self, most_bytes: int) -> str:
        """Return the text with as many whole items as fit, and a line that says how many do not. most_bytes: 0 for no limit."""
        parts = ["\n".join(item.lines) for item in self.items]
        head = [self.heading or self.title] if len(parts) != 1 or self.heading else []
        for shown in range(len(parts), 0, -1):
            text = "\n\n".join([*head, *parts[:shown], *_mention_rest(len(parts) - shown)])
            if not most_bytes or len(text.encode()) <= most_bytes:
                return text
        return "\n\n".join([*head, *parts[:1], *_mention_rest(len(parts) - 1)])


def compose(channel: AlertChannel, rows: Sequence[AlertDelivery]) -> Alert:
    """Write the alert that holds all of these rows, in the order of their incidents. rows: at least one."""
    found: dict[int, list[AlertDelivery]] = {}
    for row in rows:
        found.setdefault(row.incident_id, []).append(row)
    withdrawn = find_withdrawn(each[0].incident for each in found.values())
    items = [_build_item(each, withdrawn) for each in found.values()]
    return Alert(_write_title(items), items, _write_heading(channel, rows))


def compose_test() -> Alert:
    return Alert(
        _("Test alert"), [], _("A test alert of the bridge: whoever reads this will be told when something is wrong.")
    )


def _build_item(rows: Sequence[AlertDelivery], withdrawn: set[int]) -> Item:
    incident, occasions = rows[0].incident, {row.occasion for row in rows}
    ended = incident.closed_at is not None
    again = not ended and Occasion.OPENED not in occasions
    return Item(incident, ended, again, is_withdrawn=ended and incident.pk in withdrawn)


def _write_title(items: Sequence[Item]) -> str:
    if len(items) == 1:
        return items[0].title
    active = sum(not item.ended for item in items)
    withdrawn = sum(item.is_withdrawn for item in items)
    resolved = len(items) - active - withdrawn
    parts = (
        (active, ngettext("%(count)d problem", "%(count)d problems", active)),
        (resolved, ngettext("%(count)d problem resolved", "%(count)d problems resolved", resolved)),
        (withdrawn, ngettext("%(count)d problem no longer watched", "%(count)d problems no longer watched", withdrawn)),
    )
    return reduce(_join, [text % {"count": count} for count, text in parts if count])


def _join(before: str, after: str) -> str:
    return _("%(before)s, %(after)s") % {"before": before, "after": after}


def _write_heading(channel: AlertChannel, rows: Sequence[AlertDelivery]) -> str:
    """Say that this is what happened in the quiet hours, where they held something back."""
    held_back = [quiet for row in rows if (quiet := quiet_at(channel, row.created_at)).now]
    if not held_back or not held_back[0].began or not held_back[-1].ends:
        return ""
    return _("What happened in the quiet hours from %(since)s to %(until)s:") % {
        "since": _write_time(held_back[0].began),
        "until": _write_time(held_back[-1].ends),
    }


def _mention_rest(count: int) -> list[str]:
    if not count:
        return []
    text = ngettext("%(count)d more incident: see the page.", "%(count)d more incidents: see the page.", count)
    return [f"{text % {'count': count}} {_absolute(reverse('admin:bridge_incident_changelist'))}".strip()]


def _write_time(moment: datetime) -> str:
    return f"{timezone.localtime(moment, timezone.get_default_timezone()):%Y-%m-%d %H:%M}"


def _absolute(path: str) -> str:
    return f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else ""


def _address_of(incident: Incident) -> str:
    """Return the address of the incident's page; of the account's where somebody has to log in there. Empty without PUBLIC_URL."""
    kind, _colon, number = incident.cause.partition(":")
    because = incident.code_params.get("because")
    if kind == "account" and isinstance(because, dict) and because.get("code") == NEEDS_LOGIN:
        return _absolute(f"/admin/accounts/channelaccount/{number}/change/")
    return _absolute(f"/admin/bridge/incident/{incident.pk}/change/")
