"""Makes the plan of a replay: its items with what would become of each, in one statement, and the counts of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import limits
from accounts.channels import build_channel
from accounts.models import ChannelAccount
from bridge.models import Delivery, Outlook, ReplayKind, ReplayRun, Target
from bridge.operations.obstacles import find_account_obstacle
from bridge.operations.replays import plan_sql
from bridge.operations.replays.changes import change_texts
from bridge.pipeline.replies.paths import EventReply, PassiveReply, StreamThenUrl, path_for
from channels_wechat.contract.capabilities import ReplyWindows

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from bridge.operations.replays.filters import ReplayFilter
    from channels_wechat.contract.channel import Channel

# A plan has at most so many deliveries; whoever means more chooses a shorter time.
MAX_ITEMS = 200_000
# A limit of a shorter time only makes a run slower; one of this time or longer decides what goes today.
QUOTA_SECONDS = 3600
# What is chosen before a person has looked. An agent's turn costs money, so it is not asked for an answer that has to wait.
CHOSEN = {ReplayKind.AGAIN: [Outlook.GO, Outlook.WINDOW, Outlook.QUOTA], ReplayKind.ASK: [Outlook.GO]}
REFUSALS = {
    "nothing": _("Nothing failed that this filter finds."),
    "too_many": _("These are more than 200,000: choose a shorter time."),
}


class CannotPlan(Exception):
    """No plan was stored. code: of REFUSALS; the text is its sentence."""

    def __init__(self, code: str) -> None:
        super().__init__(str(REFUSALS[code]))
        self.code = code


def make_plan(
    kind: str,
    wanted: ReplayFilter,
    *,
    name: str = "",
    rate: int = 10,
    changes: dict[str, Any] | None = None,
    by: User | None = None,
    **columns: Any,
) -> ReplayRun:
    """Store the plan of what the filter finds now; later failures do not come in. Raises CannotPlan."""
    now, last_id = timezone.now(), Delivery.objects.aggregate(last=Max("pk"))["last"] or 0
    until = min(wanted.to_at, now) if wanted.to_at else now
    if wanted.from_at and wanted.from_at >= until:
        raise CannotPlan("nothing")
    values = {"filter": wanted.as_json(), "from_at": wanted.from_at, "until_at": until, "last_id": last_id}
    rows = wanted.select(kind, last_id, until)
    return _store(kind, rows, name=name, rate=rate, changes=changes or {}, created_by=by, **values, **columns)


def plan_rows(kind: str, rows: QuerySet[Delivery], *, by: User | None = None, **columns: Any) -> ReplayRun:
    """Store the plan of these deliveries of the kind's targets, which somebody has chosen in a list. Raises CannotPlan."""
    last_id = Delivery.objects.aggregate(last=Max("pk"))["last"] or 0
    return _store(kind, rows, created_by=by, last_id=last_id, **columns)


@transaction.atomic
def look_again(run: ReplayRun) -> None:
    """Judge the items of a planned run anew, because a mapping, a window or the changes are others now. The choice begins anew."""
    _judge(run, plan_sql.build_second_look, Delivery.objects.filter(replay_items__run=run))


@transaction.atomic
def _store(kind: str, rows: QuerySet[Delivery], *, name: str = "", **columns: Any) -> ReplayRun:
    run = ReplayRun(kind=kind, name=name[:100], **columns)
    run.save()
    if not run.name:
        run.name = f"#{run.pk}"
    _judge(run, plan_sql.build_plan, rows)
    if run.total > MAX_ITEMS:
        raise CannotPlan("too_many")
    if not run.total:
        raise CannotPlan("nothing")
    return run


def _judge(run: ReplayRun, build: Callable[[str], str], rows: QuerySet[Delivery]) -> None:
    """Store items and groups of these deliveries."""
    erased = Q(target=Target.WEBHOOK, payload__has_key="erased")
    columns = rows.order_by("pk").annotate(call_erased=erased).values(*plan_sql.CANDIDATE, "call_erased")
    try:
        sql, values = columns[: MAX_ITEMS + 1].query.sql_with_params()
    except EmptyResultSet:
        raise CannotPlan("nothing") from None
    chosen = [str(one) for one in CHOSEN[ReplayKind(run.kind)]]
    ages = (settings.MAX_AGE_QUESTION, settings.MAX_AGE_ANSWER, settings.MAX_AGE_WEBHOOK)
    facts = json.dumps(_account_facts(run))
    texts = change_texts(run.changes)
    given = (run.pk, timezone.now(), *ages, run.changes.get("route"), chosen, run.created_at, texts, facts)
    with connection.cursor() as cursor:
        cursor.execute(plan_sql.SETTINGS)
        cursor.execute(build(sql), (*given, *values))
        groups = [plan_sql.PlanGroup(*row) for row in cursor.fetchall()]
    run.groups = [_group_as_json(group) for group in groups]
    run.total = sum(group.total for group in groups)
    run.chosen = sum(group.total for group in groups if group.planned in chosen)
    run.save(update_fields=["name", "groups", "total", "chosen"])


def _group_as_json(group: plan_sql.PlanGroup) -> dict[str, Any]:
    values = group._asdict()
    values |= {"oldest": group.oldest.isoformat(), "newest": group.newest.isoformat()}
    return {"count": values.pop("total"), **values}


def _account_facts(run: ReplayRun) -> list[dict[str, Any]]:
    """Return what the statement needs of each account, because only its channel knows: see `plan_sql`."""
    accounts = ChannelAccount.objects.all()
    if run.filter.get("account"):
        accounts = accounts.filter(pk=run.filter["account"])
    return [_facts_of(account) for account in accounts]


def _facts_of(account: ChannelAccount) -> dict[str, Any]:
    if obstacle := find_account_obstacle(account):
        return {"id": account.pk, "blocked": obstacle}
    channel = build_channel(account)
    path = path_for(channel, account.pk)
    return {
        "id": account.pk,
        "blocked": "",
        "windows": isinstance(channel, ReplyWindows) and not isinstance(path, PassiveReply),
        "stream_seconds": path.channel.stream_seconds if isinstance(path, StreamThenUrl) else None,
        "codes": isinstance(path, EventReply),
        "quota": _quota_left(channel, account),
    }


def _quota_left(channel: Channel, account: ChannelAccount) -> int | None:
    """Return how many messages the account's long limits leave; None where there is none, or the counters cannot be read."""
    long = [limit for limit in channel.limits if limit.scope == "account" and limit.per >= QUOTA_SECONDS]
    left = [count for _limit, count in limits.list_remaining(long, str(account.key)) if count is not None]
    return min(left, default=None)
