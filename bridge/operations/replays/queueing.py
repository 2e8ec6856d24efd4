"""Queues items of a run: a few at a time, under the locks of their peers, in one transaction with their results."""

from __future__ import annotations

import json
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Count

from bridge.models import Attempt, Delivery, Outlook, ReplayKind, ReplayResult, State, Target
from bridge.operations import replay
from bridge.operations.obstacles import Obstacle
from bridge.operations.replays import changes, follow_sql
from bridge.people import peers
from bridge.pipeline.delivery import settle
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.runtime.db.prepared import execute_prepared
from bridge.security import logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.models import ReplayItem, ReplayRun

log = logging.getLogger(__name__)
# The columns that an undo writes back.
KEPT = (
    "state", "reason", "code", "code_params", "carrier", "lane", "gateway_id", "route_id", "tries", "possibly_twice", "finished_at",
    "dismissed_at", "dismissed_by_id", "replays",
)  # fmt: skip
RELATED = ("account", "message__account", "message__reply_to", "message__conversation")


def queue_items(run: ReplayRun, items: Sequence[ReplayItem]) -> Counter[str]:
    """Queue these items of a run whose row is locked, in their order. Return how many got which result."""
    try:
        _queue_together(run, items)
    except DB_UNAVAILABLE:
        raise
    except Exception as error:  # an error of one delivery must not stop the others, so they are queued one by one
        log.warning("items could not be queued together, so they are queued one by one: %s", type(error).__name__)
        for item in items:
            _queue_safely(run, item)
    _store(run, items)
    return Counter(str(item.result) for item in items)


@transaction.atomic
def _queue_together(run: ReplayRun, items: Sequence[ReplayItem]) -> None:
    step = _Step(run, [item.delivery_id for item in items])
    for item in items:
        _set_result(item, step.queue(item))


def _queue_safely(run: ReplayRun, item: ReplayItem) -> None:
    """Queue one item. Where that fails it is refused with the error in the log, so that the run goes on."""
    try:
        _queue_together(run, [item])
    except DB_UNAVAILABLE:
        raise
    except Exception:
        with logs.about(delivery=item.delivery_id):
            log.exception("a delivery could not be replayed")
        item.before, item.replays = {}, 0
        _set_result(item, Obstacle.INTERNAL)


def _set_result(item: ReplayItem, code: str) -> None:
    item.result, item.detail = ReplayResult.REFUSED if code else ReplayResult.QUEUED, code


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


class _Step:
    """Some deliveries of a run, whose peers are locked, and what is asked once for all of them."""

    def __init__(self, run: ReplayRun, ids: list[int]) -> None:
        self.run = run
        self.rows = _lock_and_read(ids)
        self.repeats = replay.find_possible_repeats(self.rows.values())
        self.attempts = _count_attempts(self.rows)
        self.in_parts = _find_messages_in_parts(self.rows)
        self.lacks_gateway = changes.lacks_gateway(run.changes)
        self.changes_texts = run.kind == ReplayKind.AGAIN and changes.change_texts(run.changes)
        # Of what this step has queued for the platform: the message that was first to say it → the message that says it now.
        self.origins: dict[int, int] = {}

    def queue(self, item: ReplayItem) -> str:
        """Return why it was not queued; empty where it was, and the item has what an undo needs."""
        item.before, item.replays = {}, 0
        delivery = self.rows.get(item.delivery_id)
        if delivery is None:
            return Obstacle.GONE
        before, text = _columns_of(delivery, self.attempts.get(delivery.pk, 0)), _text_of(delivery)
        code = self._why_not(item, delivery)
        code = code or (self._queue_changed(delivery, before) if self.changes_texts else self._queue_as_it_is(delivery))
        if not code:
            item.before = before | (text if delivery.payload != text["payload"] else {})
            item.replays = delivery.replays + 1
            self._note_origin(delivery)
        return code

    def _why_not(self, item: ReplayItem, delivery: Delivery) -> str:
        if self.changes_texts and delivery.part:
            return Obstacle.LATER_PART
        if delivery.dismissed_at and delivery.dismissed_at > self.run.created_at:
            return Obstacle.DISMISSED
        if obstacle := replay.find_obstacle(delivery):
            return obstacle
        if self.lacks_gateway:
            return Obstacle.NO_GATEWAY
        is_repeat = delivery.pk in self.repeats
        # Somebody agreed to a repetition of what was planned as unknown; what has become so since was not asked about.
        if item.planned != Outlook.UNKNOWN and (is_repeat or self._is_copy(delivery)):
            return Obstacle.TWICE if is_repeat else Obstacle.NEWER_COPY
        delivery.possibly_twice = delivery.possibly_twice or is_repeat or self._is_copy(delivery)
        return ""

    def _is_copy(self, delivery: Delivery) -> bool:
        """Whether this step has queued the same message for another account."""
        return self.origins.get(_origin_of(delivery), delivery.message_id) != delivery.message_id

    def _note_origin(self, delivery: Delivery) -> None:
        if delivery.target == Target.CHANNEL and delivery.message_id:
            self.origins[_origin_of(delivery)] = delivery.message_id

    def _queue_as_it_is(self, delivery: Delivery) -> str:
        change = partial(changes.change_routes, self.run.changes)
        return replay.queue_again(delivery, change, is_only_part=delivery.message_id not in self.in_parts)

    def _queue_changed(self, delivery: Delivery, before: dict[str, Any]) -> str:
        """Queue it and the parts behind it with their changed texts; what those parts were is added to `before`."""
        parts = changes.lock_parts(delivery)
        if code := changes.find_obstacle(delivery, parts):
            return code
        attempts = _count_attempts([part.pk for part in parts])
        later = [{"id": part.pk, **_columns_of(part, attempts.get(part.pk, 0)), **_text_of(part)} for part in parts[1:]]
        if delivery.message is None or not changes.render(self.run.changes, delivery.message, parts):
            return Obstacle.TOO_LONG
        delivery.payload, delivery.fingerprint = parts[0].payload, parts[0].fingerprint
        if code := replay.queue_again(delivery, is_only_part=True):
            return code
        _queue_behind(parts[1:])
        before["parts"] = later
        return ""


def _queue_behind(parts: Iterable[Delivery]) -> None:
    """Queue the later parts of a message whose first was just queued; those that wait for it go on waiting. All are locked."""
    for part in parts:
        if part.state == State.HELD:
            settle.change_payload(part)
        else:
            replay.requeue(part)


def _origin_of(delivery: Delivery) -> int:
    message = delivery.message
    return (message.instead_of_id or message.pk) if message and delivery.target == Target.CHANNEL else 0


def _lock_and_read(ids: list[int]) -> dict[int, Delivery]:
    """Lock the peers of these deliveries in the router's order, and read what the deliveries are now."""
    names = ("message__account_id", "message__peer_kind", "message__peer_id")
    known = Delivery.objects.filter(pk__in=ids, message__isnull=False).values_list(*names)
    peers.lock_peers(*set(known))
    return Delivery.objects.select_related(*RELATED).in_bulk(ids)


def _count_attempts(deliveries: Iterable[int]) -> dict[int, int]:
    found = Attempt.objects.filter(delivery__in=list(deliveries)).order_by()
    return dict(found.values_list("delivery").annotate(n=Count("pk")))


def _find_messages_in_parts(rows: dict[int, Delivery]) -> set[int | None]:
    """Return the messages of these deliveries that have later parts, which are put behind them; it is one query for all of a step."""
    messages = {row.message_id for row in rows.values() if row.message_id}
    return set(Delivery.objects.filter(message__in=messages, part__gt=0).order_by().values_list("message", flat=True))


def _text_of(delivery: Delivery) -> dict[str, Any]:
    return {"payload": delivery.payload, "fingerprint": delivery.fingerprint}


def _columns_of(delivery: Delivery, attempts: int) -> dict[str, Any]:
    """Return what an undo writes back. attempts: how many there are, so that a later one is seen."""
    values = {name: getattr(delivery, name) for name in KEPT}
    times = {name: value.isoformat() for name, value in values.items() if name.endswith("_at") and value}
    return values | times | {"attempts": attempts}
