"""Keeps the incidents: opens one for each problem, keeps it up to date, closes it when the problem is gone; and what staff do with it."""

from __future__ import annotations

import time
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts import valkey
from bridge.explanations.incidents import TASK_FAILED, severity_of
from bridge.models import Incident
from bridge.operations import alerts
from bridge.operations.problems.finders import look
from bridge.operations.problems.processes import find_silent_processes
from bridge.security import audit

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from bridge.operations.problems.problem import Problem


def update_incidents() -> None:
    """Open an incident for each new problem, update and close those that are open, and send the alerts that are due."""
    found = look()
    open_ones = {row.cause: row for row in Incident.objects.filter(closed_at=None)}
    _close([row for cause, row in open_ones.items() if found.is_gone(cause) and row.code != TASK_FAILED])
    _update([(row, found.problems[cause]) for cause, row in open_ones.items() if cause in found.problems])
    new = [problem for cause, problem in found.problems.items() if problem.opens and cause not in open_ones]
    Incident.objects.bulk_create([Incident(**problem.as_columns()) for problem in new], ignore_conflicts=True)
    alerts.send_alerts()


def _close(rows: list[Incident]) -> None:
    """Close incidents whose problem is gone. That alerts were off could be told to nobody, so nothing of it is left to tell."""
    Incident.objects.filter(pk__in=[row.pk for row in rows if row.code == "alerts_off"]).delete()
    now = timezone.now()
    gone = Incident.objects.filter(pk__in=[row.pk for row in rows], closed_at=None)
    gone.update(closed_at=now, last_seen_at=Coalesce(F("last_seen_at"), now))


def _update(pairs: list[tuple[Incident, Problem]]) -> None:
    """Write what has changed of the open incidents: usually nothing."""
    changed = []
    for row, problem in pairs:
        columns = problem.as_columns()
        if any(getattr(row, name) != value for name, value in columns.items()):
            changed.append(row)
            for name, value in columns.items():
                setattr(row, name, value)
    if changed:
        Incident.objects.bulk_update(changed, list(pairs[0][1].as_columns()))


def open_failed_task(task: str, error: Exception) -> None:
    """Open the incident of a task of the clock that failed; its next run closes it. The error's text is in the log only."""
    params = {"task": task, "error": type(error).__name__}
    columns = {"code": TASK_FAILED, "code_params": params, "severity": severity_of(TASK_FAILED)}
    Incident.objects.update_or_create(
        cause=f"task:{task}", closed_at=None, defaults={**columns, "last_seen_at": timezone.now()}
    )


def close_failed_task(task: str) -> None:
    Incident.objects.filter(cause=f"task:{task}", closed_at=None).update(closed_at=timezone.now())


def record_sweep() -> None:
    """Store when the sweep ran last: its age is the surest sign that worker and beat work."""
    valkey.try_valkey(lambda client: client.set("swept", time.time(), ex=86400), None)


def tell_of_silent_processes(swept: float | None) -> None:
    """Where no worker sweeps, open the incidents of it and send the alerts that are due. A worker that is back closes them.

    swept: as `read_last_sweep`. Any process may do it at any time: an open incident exists once, and one process at a time sends by a
    channel.
    """
    problems = find_silent_processes(swept, before_first=False)
    if not problems:
        return
    causes = [problem.cause for problem in problems]
    known = set(Incident.objects.filter(closed_at=None, cause__in=causes).values_list("cause", flat=True))
    new = [Incident(**problem.as_columns()) for problem in problems if problem.cause not in known]
    Incident.objects.bulk_create(new, ignore_conflicts=True)
    alerts.send_alerts()


class Mute(StrEnum):
    """For how long an incident is muted; NONE: no longer."""

    HOUR = "1h"
    SHIFT = "8h"
    DAY = "1d"
    END = "end"
    NONE = "none"


MUTE_TIMES = {Mute.HOUR: timedelta(hours=1), Mute.SHIFT: timedelta(hours=8), Mute.DAY: timedelta(days=1)}
MUTE_LABELS = {
    Mute.HOUR: _("for 1 hour"),
    Mute.SHIFT: _("for 8 hours"),
    Mute.DAY: _("for a day"),
    Mute.END: _("until it is resolved"),
    Mute.NONE: _("no longer"),
}


class IsResolved(Exception):
    """The incident was resolved meanwhile: there is nothing left to acknowledge, to mute or to assign."""


def acknowledge(incident: Incident, by: User) -> None:
    """Note that somebody knows of it; whoever did it first stays named. Raises IsResolved."""
    if incident.acknowledged_at is None:
        _change(incident, gettext_noop("acknowledged"), {}, acknowledged_at=timezone.now(), acknowledged_by=by)
    elif incident.closed_at:
        raise IsResolved


def mute(incident: Incident, how_long: Mute) -> None:
    """Take it off the first page for a time, or put it back. Raises IsResolved."""
    time_left = MUTE_TIMES.get(how_long)
    until = timezone.now() + time_left if time_left else None
    word = gettext_noop("no longer muted") if how_long is Mute.NONE else gettext_noop("muted: %(how_long)s")
    names = {} if how_long is Mute.NONE else {"how_long": str(how_long)}
    _change(incident, word, names, muted_until=until, muted_to_end=how_long is Mute.END)


def assign(incident: Incident, owner: User | None) -> None:
    """Say who deals with it; None: nobody. Raises IsResolved."""
    word = gettext_noop("assigned to %(name)s") if owner else gettext_noop("assigned to nobody")
    _change(incident, word, {"name": owner.get_username()} if owner else {}, owner=owner)


def write_note(incident: Incident, text: str) -> None:
    """Replace the note that staff keep with it, also after its end."""
    with transaction.atomic():
        incident.note = text
        incident.save(update_fields=["note"])
        audit.log_action(gettext_noop("note changed"), [incident])


def _change(incident: Incident, action: str, names: dict[str, str], **columns: Any) -> None:
    """Change an open incident, with a line in the audit log, in one transaction. Raises IsResolved."""
    with transaction.atomic():
        if not Incident.objects.filter(pk=incident.pk, closed_at=None).update(**columns):
            raise IsResolved
        for name, value in columns.items():
            setattr(incident, name, value)
        audit.log_action(action, [incident], **names)
