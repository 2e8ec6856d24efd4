"""What staff do with a delivery that failed or is on hold: replay, release or dismiss it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.channels import build_channel
from bridge.models import ERASED, Delivery, Message, Reason, State, Target
from bridge.operations.obstacles import Obstacle, find_account_obstacle
from bridge.people import open_questions, peers
from bridge.pipeline.delivery import retry_policy, settle
from bridge.pipeline.delivery.types import next_seq
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import moderation
from bridge.pipeline.replies.paths import path_for
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.webhooks import post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.contrib.auth.models import User

    from bridge.models import Route
    from bridge.pipeline.replies.paths import ReplyPath

REPLAYABLE = (State.DEAD, State.UNCERTAIN, State.SKIPPED)
MAY_HAVE_ARRIVED, CHANGED = Obstacle.TWICE.label, Obstacle.CHANGED.label
# What no agent can answer, whatever is mapped.
NO_TURNS = (Reason.EVENT, Reason.UNSUPPORTED, Reason.COMMAND)
# The reasons of a hold that staff may end by a release.
RELEASABLE = (Reason.REVIEW, Reason.CHECKING)


@dataclass(slots=True)
class ReplayResult:
    """How many deliveries were queued. refused: delivery id and why it was not queued."""

    count: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


def replay(ids: Iterable[int], by: User | None = None, *, twice: bool = False) -> ReplayResult:
    """Queue deliveries again, each at the end of its lane. Questions are routed and rendered anew; answers are sent unchanged.

    twice: also those that may have arrived already; they are marked `possibly_twice`.
    """
    result = ReplayResult()
    for pk in ids:
        reason = _replay_one(pk, twice)
        if reason:
            result.refused.append((pk, reason))
        else:
            result.count += 1
    notify(Topic.ASK, Topic.SEND, Topic.HOOK)
    return result


def release(ids: Iterable[int], by: User | None = None) -> ReplayResult:
    """Queue what the content check holds, each at the end of its lane and unchanged, because a person has looked at it."""
    result = ReplayResult()
    for pk in ids:
        reason = _release_one(pk)
        if reason:
            result.refused.append((pk, reason))
        else:
            result.count += 1
    notify(Topic.ASK, Topic.SEND)
    return result


@transaction.atomic
def dismiss(ids: Iterable[int], by: User | None = None) -> int:
    """Take deliveries off the list of dead letters; those on hold will not be sent. Return how many were dismissed."""
    chosen = list(ids)
    undismissed = Delivery.objects.filter(pk__in=chosen, state__in=REPLAYABLE, dismissed_at=None)
    open_questions.note_dismissed(undismissed.values_list("pk", flat=True))
    failed = undismissed.update(dismissed_at=timezone.now(), dismissed_by=by)
    held = Delivery.objects.select_for_update().filter(pk__in=chosen, state=State.HELD)
    rows = list(held.only("message_id", "target", "part"))
    for row in rows:
        settle.dismiss_held(row, by)
    return failed + len(rows)


def why_not_dismiss(delivery: Delivery) -> str:
    """Return why the delivery cannot be dismissed; empty where it can."""
    if delivery.state not in (*REPLAYABLE, State.HELD):
        return _("Only what failed, is uncertain, was skipped or is on hold can be dismissed.")
    return _("It is dismissed already.") if delivery.dismissed_at else ""


def why_not_release(delivery: Delivery) -> str:
    """Return why the delivery cannot be released; empty where it can."""
    if delivery.state != State.HELD:
        return _("It is not on hold.")
    if delivery.reason == Reason.WINDOW:
        return _("WeChat takes no more messages until the person writes again; then it is sent by itself.")
    if delivery.reason == Reason.PART_BEFORE:
        return _("It waits for the part before it, and follows that.")
    return "" if delivery.reason in RELEASABLE else _("It is not on hold for the content check.")


def find_possible_repeats(rows: Iterable[Delivery]) -> set[int]:
    """Return the ids of deliveries that may have arrived already; staff must confirm that these are replayed."""
    deliveries = list(rows)
    uncertain = {row.pk for row in deliveries if row.state == State.UNCERTAIN and row.target == Target.CHANNEL}
    unproven = retry_policy.may_have_arrived(row.pk for row in deliveries if row.pk not in uncertain)
    return uncertain | unproven | _find_sent_by_others(deliveries)


def _find_sent_by_others(deliveries: Iterable[Delivery]) -> set[int]:
    """Return the ids of those whose message another account sends or has sent in its place."""
    messages = {row.pk: row.message for row in deliveries if row.target == Target.CHANNEL and row.message}
    origins = {pk: message.instead_of_id or message.pk for pk, message in messages.items()}
    # Two queries, each by its index: as one, PostgreSQL reads all deliveries.
    known = Message.objects.filter(Q(pk__in=origins.values()) | Q(instead_of__in=origins.values()))
    family = dict(known.order_by().values_list("pk", "instead_of"))
    sent = Delivery.objects.filter(message__in=family, target=Target.CHANNEL)
    sent = sent.exclude(state__in=(State.DEAD, State.SKIPPED)).order_by()
    found = {(family[pk] or pk, pk) for pk in sent.values_list("message", flat=True)}
    return {
        pk for pk, message in messages.items() if any(o == origins[pk] and other != message.pk for o, other in found)
    }


def why_not_replay(delivery: Delivery) -> str:
    """Return why the delivery cannot be replayed; empty where it can."""
    obstacle = find_obstacle(delivery)
    return str(obstacle.label) if obstacle else ""


def find_obstacle(delivery: Delivery) -> Obstacle | None:
    """Return why the delivery cannot be replayed; None where it can. `replays.plan_sql` finds the same for many, in SQL."""
    if delivery.state == State.HELD:
        return _find_obstacle_of_held(delivery)
    if delivery.state not in REPLAYABLE:
        return Obstacle.STATE
    if _is_erased(delivery):
        return Obstacle.ERASED
    if delivery.account and (obstacle := find_account_obstacle(delivery.account)):
        return obstacle
    if delivery.target == Target.AGENT:
        return Obstacle.NO_TURN if delivery.reason in NO_TURNS else None
    if post.has_no_endpoint(delivery):
        return Obstacle.NO_ENDPOINT
    if delivery.reason in (Reason.MERGED, Reason.CONTENT):
        return Obstacle.MERGED if delivery.reason == Reason.MERGED else Obstacle.CONTENT
    path = _reply_path(delivery)
    return None if path is None or path.carrier_for(delivery) else Obstacle.NO_REPLY


def _find_obstacle_of_held(delivery: Delivery) -> Obstacle:
    held = {Reason.PART_BEFORE: Obstacle.HELD_PART, Reason.WINDOW: Obstacle.HELD_WINDOW}
    return held.get(Reason(delivery.reason), Obstacle.HELD_REVIEW)


def _is_erased(delivery: Delivery) -> bool:
    return delivery.message.peer_id.startswith(ERASED) if delivery.message else "erased" in delivery.payload


def _reply_path(delivery: Delivery) -> ReplyPath | None:
    """Return the path by which an answer can leave now; None for a delivery that is no answer, whose way does not change."""
    if delivery.target != Target.CHANNEL or delivery.account is None:
        return None
    return path_for(build_channel(delivery.account), delivery.account.pk)


def _replay_one(pk: int, twice: bool) -> str:
    """Return why it was not queued; empty where it was."""
    try:
        return _replay(pk, twice)
    except Delivery.DoesNotExist:  # pruned, perhaps at this very moment
        return _("It no longer exists.")


@transaction.atomic
def _replay(pk: int, twice: bool) -> str:
    delivery = _lock_and_read(pk)
    if reason := why_not_replay(delivery):
        return reason
    if find_possible_repeats([delivery]):
        if not twice:
            return str(MAY_HAVE_ARRIVED)
        delivery.possibly_twice = True
    return _queue_again(delivery)


def _release_one(pk: int) -> str:
    """Return why it was not queued; empty where it was."""
    try:
        return _release(pk)
    except Delivery.DoesNotExist:  # pruned, perhaps at this very moment
        return _("It no longer exists.")


@transaction.atomic
def _release(pk: int) -> str:
    delivery = _lock_and_read(pk)
    reason = why_not_release(delivery)
    if not reason and not moderation.release(Delivery.objects.filter(pk=pk, reason=delivery.reason)):
        return str(CHANGED)
    if not reason:
        _put_later_parts_behind(delivery)
    return reason


def _put_later_parts_behind(delivery: Delivery) -> None:
    """Move waiting later parts of the same message behind this one, which was just queued at the end of its lane."""
    parts = Delivery.objects.filter(message=delivery.message_id, target=delivery.target, part__gt=delivery.part)
    if delivery.message_id:
        for pk in parts.filter(state=State.PENDING).order_by("part").values_list("pk", flat=True):
            Delivery.objects.filter(pk=pk, state=State.PENDING).update(seq=next_seq)


def _lock_and_read(pk: int) -> Delivery:
    """Lock the peer and read the delivery, so that its place in the lane follows the order of the locks. Raises Delivery.DoesNotExist."""
    delivery = Delivery.objects.select_related("message__account", "message__reply_to", "account").get(pk=pk)
    if delivery.message:
        peers.lock_peer(delivery.message.account_id, delivery.message.peer_kind, delivery.message.peer_id)
    delivery.refresh_from_db(fields=["state", "reason", "carrier"])
    return delivery


def _queue_again(delivery: Delivery) -> str:
    """Return why it was not queued, as a sentence; empty where it was."""
    code = queue_again(delivery)
    if code in Reason.values and delivery.target == Target.AGENT:
        settle.update_skip_reason(delivery, code, delivery.route_id)
        return _("Still not mapped: %(reason)s.") % {"reason": Reason(code).label}
    return str(Obstacle(code).label) if code else ""


def queue_again(
    delivery: Delivery, change: Callable[[list[Route]], list[Route]] = list, *, is_only_part: bool = False
) -> str:
    """Queue a delivery whose peer is locked. Return a `Reason` or an `Obstacle` why it was not queued; empty where it was.

    A delivery that is not queued is not changed in the database.

    change: as in `router.route_again`. is_only_part: known to have no later parts that wait.
    """
    if delivery.target == Target.AGENT and delivery.message:
        rerouted = router.route_again(delivery.message, change)
        if rerouted.state != State.PENDING:
            delivery.route_id = rerouted.route_id
            return str(rerouted.reason)
        delivery.gateway_id, delivery.route_id, delivery.payload = (
            rerouted.gateway_id,
            rerouted.route_id,
            rerouted.payload,
        )
    if not requeue(delivery):
        return str(Obstacle.CHANGED)
    if not is_only_part:
        _put_later_parts_behind(delivery)
    return ""


def requeue(delivery: Delivery) -> int:
    """Queue it by the way that it can leave now. Return how many rows were queued.

    0: it changed meanwhile, for example because a late proof of arrival came.
    """
    path = _reply_path(delivery)
    return settle.requeue(delivery, path.requeue(delivery) if path else {"due_at": timezone.now()})
