"""What the tests of replays of many deliveries share."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from auditlog.models import LogEntry
from django.utils import timezone

from bridge.models import Delivery, Reason, ReplayRun
from bridge.operations.replays import control, runner
from bridge.operations.replays.filters import ReplayFilter
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import Failure
from channels_wechat.contract.explanations import Action, Cause
from tests.support.factories import claimed, row, shift, to_send

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

FAILED = ReplayFilter()


def audited() -> list[LogEntry]:
    return list(LogEntry.objects.filter(content_type__model="replayrun").order_by("id"))


def ended(delivery: Delivery, end: str = "dead", reason: str = Reason.PERMANENT, **columns: Any) -> Delivery:
    shift(delivery, state=end, reason=reason, finished_at=-1, code="81013", **columns)
    return row(delivery)


def failed(account: ChannelAccount, count: int = 1, peer: str = "zhangsan") -> list[Delivery]:
    return [ended(to_send(account, f"text {number}", peer)) for number in range(count)]


def planned(run: ReplayRun) -> dict[int, tuple[str, str]]:
    return {item.delivery_id: (item.planned, item.detail) for item in run.items.all()}


def results(run: ReplayRun) -> list[str]:
    return list(run.items.order_by("delivery_id").values_list("result", flat=True))


def started(run: ReplayRun, **options: Any) -> ReplayRun:
    control.start(run, **options)
    return run


def step(run: ReplayRun, seconds: float = 10) -> ReplayRun:
    """One step, as if so many seconds had passed since the last one."""
    ReplayRun.objects.filter(pk=run.pk, paced_at__isnull=False).update(
        paced_at=timezone.now() - timedelta(seconds=seconds)
    )
    runner.step_all("worker")
    run.refresh_from_db()
    return run


def work(delivery: Delivery, *, ok: bool = True) -> None:
    mine = claimed(row(delivery))
    attempt = settle.open_attempt(mine, {})
    if ok:
        settle.mark_delivered(mine, attempt)
    else:
        settle.fail(mine, attempt, Failure(Action.PERMANENT, Cause("40003")))
