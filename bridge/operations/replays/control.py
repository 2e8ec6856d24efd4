"""What a person does with a run: run, pause, resume, cancel, undo. Each is one transaction with its line in the audit log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from bridge.models import Outlook, ReplayItem, ReplayResult, ReplayRun, ReplayState
from bridge.models.replays import IMPOSSIBLE
from bridge.operations.replays import changes, plan
from bridge.pipeline.delivery import settle
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.security import audit

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.contrib.auth.models import User

# What can be done in which states.
ALLOWED = {
    "run": (ReplayState.PLANNED,),
    "look_again": (ReplayState.PLANNED,),
    "pause": (ReplayState.RUNNING,),
    "resume": (ReplayState.PAUSED,),
    "cancel": (ReplayState.PLANNED, ReplayState.RUNNING, ReplayState.PAUSED),
    "undo": (ReplayState.RUNNING, ReplayState.PAUSED, ReplayState.FINISHED, ReplayState.CANCELLED),
}
REFUSALS = {
    "state": _("This replay is in another state now: look again."),
    "nothing": _("Nothing is chosen: choose at least one group or one delivery."),
    "twice": _(
        "Some of the chosen deliveries may have arrived already: confirm that they may arrive twice, or leave them out."
    ),
    "gone": _("The mapping or the gateway that was chosen was deleted: choose another one."),
    "left": _("Everything has left already: nothing can be taken back."),
}


class CannotControl(Exception):
    """Nothing was changed. code: of REFUSALS; the text is its sentence."""

    def __init__(self, code: str) -> None:
        super().__init__(str(REFUSALS[code]))
        self.code = code


@transaction.atomic
def start(
    run: ReplayRun,
    by: User | None = None,
    *,
    outlooks: Collection[str] | None = None,
    deliveries: Collection[int] = (),
    twice: bool = False,
    rate: int | None = None,
    name: str = "",
) -> None:
    """Choose and run. outlooks: the groups that go, those chosen before where it is None; deliveries: single ones that go too.

    twice: whoever runs it was told that what has an unknown outcome may arrive twice, and wants it. Raises CannotControl.
    """
    row = _lock(run, "run")
    if changes.lacks_gateway(row.changes) or changes.lacks_route(row.changes):
        raise CannotControl("gone")
    _choose(row, outlooks, deliveries)
    if not row.chosen:
        raise CannotControl("nothing")
    if not twice and ReplayItem.objects.filter(run=row, chosen=True, planned=Outlook.UNKNOWN).exists():
        raise CannotControl("twice")
    row.rate, row.name = rate or row.rate, name[:100] or row.name
    row.state, row.started_at, row.started_by = ReplayState.RUNNING, timezone.now(), by
    row.paced_at = row.started_at
    row.save()
    sentence = gettext_noop("replay run: %(chosen)s of %(total)s deliveries")
    audit.log_action(sentence, [row], chosen=row.chosen, total=row.total)
    transaction.on_commit(lambda: notify(Topic.REPLAY))
    run.refresh_from_db()


def _choose(run: ReplayRun, outlooks: Collection[str] | None, deliveries: Collection[int]) -> None:
    items = ReplayItem.objects.filter(run=run)
    possible = items.exclude(planned__in=IMPOSSIBLE)
    if outlooks is not None:
        possible.filter(planned__in=outlooks, chosen=False).update(chosen=True)
        items.filter(chosen=True).exclude(planned__in=outlooks).update(chosen=False)
        run.options = {"outlooks": sorted(outlooks)}
    if deliveries:
        possible.filter(delivery__in=deliveries).update(chosen=True)
    run.chosen = items.filter(chosen=True).count()


@transaction.atomic
def look_again(run: ReplayRun) -> None:
    """Judge the deliveries of a plan anew; see `plan.look_again`. Raises CannotControl."""
    row = _lock(run, "look_again")
    plan.look_again(row)
    run.refresh_from_db()


@transaction.atomic
def change(run: ReplayRun, new: dict[str, Any]) -> None:
    """Store what the run changes before it queues, and judge the deliveries anew with it. Raises CannotControl."""
    row = _lock(run, "look_again")
    row.changes = new
    row.save(update_fields=["changes"])
    plan.look_again(row)
    names = ", ".join(sorted(new)) or "–"
    audit.log_action(gettext_noop("replay plan changed: %(names)s"), [row], names=names)
    run.refresh_from_db()


@transaction.atomic
def pause(run: ReplayRun) -> None:
    """Queue nothing more until somebody resumes it; what is queued goes on. Raises CannotControl."""
    row = _lock(run, "pause")
    _change(row, ReplayState.PAUSED, gettext_noop("replay paused"))
    run.refresh_from_db()


@transaction.atomic
def resume(run: ReplayRun) -> None:
    """Go on where it was paused, by a person or because its steps failed. Raises CannotControl."""
    row = _lock(run, "resume")
    row.failed_steps = 0
    _change(row, ReplayState.RUNNING, gettext_noop("replay resumed"))
    transaction.on_commit(lambda: notify(Topic.REPLAY))
    run.refresh_from_db()


@transaction.atomic
def cancel(run: ReplayRun) -> int:
    """Queue nothing more, for ever; what is queued goes on. Return how many are left. Raises CannotControl."""
    row = _lock(run, "cancel")
    left = _cancel(row)
    audit.log_action(gettext_noop("replay cancelled: %(left)s deliveries left"), [row], left=left)
    run.refresh_from_db()
    return left


@transaction.atomic
def undo(run: ReplayRun) -> int:
    """Cancel it, and make what no attempt was made of what it was before. Return how many were taken back. Raises CannotControl."""
    row = _lock(run, "undo")
    held = ReplayItem.objects.filter(run=row, result=ReplayResult.HELD).values_list("pk", flat=True)
    held_before = set(held)
    count = settle.put_back(row.pk)
    if not count and row.is_over:
        raise CannotControl("left")
    counts = Counter(row.results)
    counts[ReplayResult.HELD] -= len(held_before - set(held.all()))
    counts[ReplayResult.QUEUED] -= count - len(held_before - set(held.all()))
    counts[ReplayResult.UNDONE] += count
    row.results = {result: n for result, n in sorted(counts.items()) if n}
    _cancel(row)
    audit.log_action(gettext_noop("replay undone: %(count)s deliveries taken back"), [row], count=count)
    run.refresh_from_db()
    return count


def _lock(run: ReplayRun, verb: str) -> ReplayRun:
    row = ReplayRun.objects.select_for_update().get(pk=run.pk)
    if row.state not in ALLOWED[verb]:
        raise CannotControl("state")
    return row


def _change(row: ReplayRun, state: ReplayState, action: str) -> None:
    row.state, row.owner, row.owner_until, row.paced_at = state, "", None, timezone.now()
    row.save()
    audit.log_action(action, [row])


def _cancel(row: ReplayRun) -> int:
    rows = ReplayItem.objects.filter(run=row, chosen=True, result="")
    left = rows.update(result=ReplayResult.LEFT)
    if left:
        row.results = {**row.results, ReplayResult.LEFT.value: left}
    row.state, row.finished_at = ReplayState.CANCELLED, row.finished_at or timezone.now()
    row.owner, row.owner_until = "", None
    row.save()
    return left
