"""Queues items of a run: a few at a time, under the locks of their peers, in one transaction with their results."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.models import Count

from bridge.models import Attempt, Delivery, Outlook, ReplayKind, ReplayResult
from bridge.operations import replay
from bridge.operations.obstacles import Obstacle
from bridge.operations.replays import changes, follow_sql
from bridge.people import peers
from bridge.runtime.db.prepared import execute_prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.models import ReplayItem, ReplayRun

# The columns that an undo writes back.
KEPT = (
    "state", "reason", "code", "code_params", "carrier", "lane", "gateway_id", "route_id", "tries", "possibly_twice", "finished_at",
    "dismissed_at", "dismissed_by_id",
)  # fmt: skip
RELATED = ("account", "message__account", "message__reply_to", "message__conversation")


def queue_items(run: ReplayRun, items: Sequence[ReplayItem]) -> Counter[str]:
    """Queue these items of a run whose row is locked, in their order. Return how many got which result."""
    rows = _lock_and_read([item.delivery_id for item in items])
    repeats = replay.find_possible_repeats(rows.values())
    attempts = _count_attempts(rows)
    in_parts = _find_messages_in_parts(rows)
    for item in items:
        delivery = rows.get(item.delivery_id)
        code = _why_not(item, delivery, repeats)
        if delivery and not code:
            is_only_part = delivery.message_id not in in_parts
            code = _queue(run, item, delivery, attempts.get(delivery.pk, 0), is_only_part=is_only_part)
        item.result = ReplayResult.REFUSED if code else ReplayResult.QUEUED
        item.detail = code
    _store(run, items)
    return Counter(str(item.result) for item in items)


def _store(run: ReplayRun, items: Sequence[ReplayItem]) -> None:
    rows = [
        {
            "delivery": one.delivery_id,
            "result": one.result,
            "detail": one.detail,
            "before": one.before,
            "replays": one.replays,
        }
        for one in items
    ]
    execute_prepared(follow_sql.STORE, {"run": run.pk, "items": json.dumps(rows)})


def _lock_and_read(ids: list[int]) -> dict[int, Delivery]:
    """Lock the peers of these deliveries in the router's order, and read what the deliveries are now."""
    names = ("message__account_id", "message__peer_kind", "message__peer_id")
    known = Delivery.objects.filter(pk__in=ids, message__isnull=False).values_list(*names)
    peers.lock_peers(*set(known))
    return Delivery.objects.select_related(*RELATED).in_bulk(ids)


def _count_attempts(rows: dict[int, Delivery]) -> dict[int, int]:
    found = Attempt.objects.filter(delivery__in=rows).order_by().values_list("delivery").annotate(n=Count("pk"))
    return dict(found)


def _find_messages_in_parts(rows: dict[int, Delivery]) -> set[int | None]:
    """Return the messages of these deliveries that have later parts, which are put behind them; it is one query for all of a step."""
    messages = {row.message_id for row in rows.values() if row.message_id}
    return set(Delivery.objects.filter(message__in=messages, part__gt=0).order_by().values_list("message", flat=True))


def _why_not(item: ReplayItem, delivery: Delivery | None, repeats: set[int]) -> str:
    if delivery is None:
        return Obstacle.GONE
    if obstacle := replay.find_obstacle(delivery):
        return obstacle
    # Somebody agreed to a repetition of what was planned as unknown; what has become so since was not asked about.
    if delivery.pk in repeats and item.planned != Outlook.UNKNOWN:
        return Obstacle.TWICE
    delivery.possibly_twice = delivery.possibly_twice or delivery.pk in repeats
    return ""


def _queue(run: ReplayRun, item: ReplayItem, delivery: Delivery, attempts: int, *, is_only_part: bool) -> str:
    """Return why it was not queued; empty where it was, and the item has what an undo needs."""
    before = _columns_of(delivery) | {"attempts": attempts}
    payload, fingerprint = delivery.payload, delivery.fingerprint
    code = changes.change_text(run.changes, delivery) if run.kind == ReplayKind.AGAIN else ""
    change = partial(changes.change_routes, run.changes)
    code = code or replay.queue_again(delivery, change, is_only_part=is_only_part)
    if not code:
        if delivery.payload != payload:
            before |= {"payload": payload, "fingerprint": fingerprint}
        item.before, item.replays = before, delivery.replays + 1
    return code


def _columns_of(delivery: Delivery) -> dict[str, Any]:
    values = {name: getattr(delivery, name) for name in KEPT}
    times = {name: value.isoformat() for name, value in values.items() if name.endswith("_at") and value}
    return values | times
