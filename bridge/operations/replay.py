"""What staff do with a delivery that did not go well: replay it, release it where it is held, or say that it is dealt with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.channels import build_channel
from bridge.models import ERASED, Delivery, Reason, State, Target
from bridge.people import peers
from bridge.pipeline.delivery import retry_policy, settle
from bridge.pipeline.delivery.types import next_seq
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import moderation
from bridge.pipeline.replies.paths import path_for
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.webhooks import post
from channels_wechat.unregistered import NO_LONGER_SUPPORTED, UnregisteredKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import User

    from bridge.pipeline.replies.paths import ReplyPath

REPLAYABLE = (State.DEAD, State.UNCERTAIN, State.SKIPPED)
MAY_HAVE_ARRIVED = gettext_lazy(
    "It may have arrived already: it is sent again only where you say that it may arrive twice."
)
CHANGED = gettext_lazy("It has changed meanwhile: look again.")
# Why something is held that a person may let go.
RELEASABLE = (Reason.REVIEW, Reason.CHECKING)


@dataclass(slots=True)
class Replayed:
    """What was queued. refused: delivery id and why it stays where it is."""

    count: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


def replay(ids: Iterable[int], by: User | None = None, *, twice: bool = False) -> Replayed:
    """Queue again, each at the tail of its lane. Inbound ones are routed and rendered anew; outbound ones go out as they were.

    twice: also those that may have arrived already; they are marked `possibly_twice`.
    """
    result = Replayed()
    for pk in ids:
        reason = _replay_one(pk, twice)
        if reason:
            result.refused.append((pk, reason))
        else:
            result.count += 1
    notify(Topic.ASK, Topic.SEND, Topic.HOOK)
    return result


def release(ids: Iterable[int], by: User | None = None) -> Replayed:
    """Let go what the content check holds, each at the tail of its lane, as it is: a person has looked at it."""
    result = Replayed()
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
    """Dealt with, or not worth it: off the list of dead letters, and what was held will not be sent. Returns how many."""
    chosen = list(ids)
    undealt = Delivery.objects.filter(pk__in=chosen, state__in=REPLAYABLE, dismissed_at=None)
    failed = undealt.update(dismissed_at=timezone.now(), dismissed_by=by)
    held = Delivery.objects.select_for_update().filter(pk__in=chosen, state=State.HELD)
    rows = list(held.only("message_id", "target", "part"))
    for row in rows:
        settle.dismiss_held(row, by)
    return failed + len(rows)


def why_not_dismiss(delivery: Delivery) -> str:
    """Empty where it can be dealt with."""
    if delivery.state not in (*REPLAYABLE, State.HELD):
        return _("Only what failed, is uncertain, was skipped or is on hold can be dismissed.")
    return _("It is dismissed already.") if delivery.dismissed_at else ""


def why_not_release(delivery: Delivery) -> str:
    """Empty where a release is possible."""
    if delivery.state != State.HELD:
        return _("It is not on hold.")
    if delivery.reason == Reason.WINDOW:
        return _("WeChat takes no more messages until the person writes again; then it is sent by itself.")
    if delivery.reason == Reason.PART_BEFORE:
        return _("It waits for the part before it, and follows that.")
    return "" if delivery.reason in RELEASABLE else _("It is not on hold for the content check.")


def may_arrive_twice(rows: Iterable[Delivery]) -> set[int]:
    """Return the ids of those that may have arrived already, so that a replay has to be asked for."""
    found = list(rows)
    uncertain = {row.pk for row in found if row.state == State.UNCERTAIN and row.target == Target.CHANNEL}
    return uncertain | retry_policy.may_have_arrived(row.pk for row in found if row.pk not in uncertain)


def why_not_replay(delivery: Delivery) -> str:
    """Empty where a replay is possible."""
    if delivery.state == State.HELD:
        return _why_not_replay_held(delivery)
    if delivery.state not in REPLAYABLE:
        return _("Only what failed, is uncertain or was skipped can be replayed.")
    if _erased(delivery):
        return _("All data of this person was erased: nothing is left to send.")
    if delivery.account and isinstance(build_channel(delivery.account), UnregisteredKind):
        return str(NO_LONGER_SUPPORTED)
    if delivery.target == Target.AGENT:
        return _why_not_ask_again(delivery)
    if post.has_no_endpoint(delivery):
        return _("The webhook was deleted: there is no address to send to.")
    if delivery.reason == Reason.MERGED:
        return _("It was sent as a part of another delivery: replay that one.")
    if delivery.reason == Reason.CONTENT:
        return _("The content itself cannot be sent here; it was never rendered.")
    path = _path(delivery)
    if path is None or path.carrier_for(delivery):
        return ""
    return _("This bot can only reply to callbacks, and the reply address is used up.")


def _why_not_replay_held(delivery: Delivery) -> str:
    if delivery.reason == Reason.PART_BEFORE:
        return _("It waits for the part before it: replay that one.")
    return why_not_release(delivery) or _("It waits for a decision: release it, or dismiss it.")


def _erased(delivery: Delivery) -> bool:
    return delivery.message.peer_id.startswith(ERASED) if delivery.message else "erased" in delivery.payload


def _why_not_ask_again(delivery: Delivery) -> str:
    if delivery.reason in (Reason.EVENT, Reason.UNSUPPORTED, Reason.COMMAND):
        return _("This is not something an agent could answer.")
    return ""


def _path(delivery: Delivery) -> ReplyPath | None:
    """By which an answer can leave now; None: it is none, and goes where it went before."""
    if delivery.target != Target.CHANNEL or delivery.account is None:
        return None
    return path_for(build_channel(delivery.account), delivery.account.pk)


def _replay_one(pk: int, twice: bool) -> str:
    """Why not, or empty."""
    try:
        return _replay(pk, twice)
    except Delivery.DoesNotExist:  # pruned, perhaps at this very moment
        return _("It no longer exists.")


@transaction.atomic
def _replay(pk: int, twice: bool) -> str:
    found = _locked(pk)
    if reason := why_not_replay(found):
        return reason
    if may_arrive_twice([found]):
        if not twice:
            return str(MAY_HAVE_ARRIVED)
        found.possibly_twice = True
    return _queue(found)


def _release_one(pk: int) -> str:
    """Why not, or empty."""
    try:
        return _release(pk)
    except Delivery.DoesNotExist:  # pruned, perhaps at this very moment
        return _("It no longer exists.")


@transaction.atomic
def _release(pk: int) -> str:
    found = _locked(pk)
    reason = why_not_release(found)
    if not reason and not moderation.release(Delivery.objects.filter(pk=pk, reason=found.reason)):
        return str(CHANGED)
    if not reason:
        _put_later_parts_behind(found)
    return reason


def _put_later_parts_behind(delivery: Delivery) -> None:
    """It goes to the tail of its lane: parts of the same message that wait there already follow it."""
    parts = Delivery.objects.filter(message=delivery.message_id, target=delivery.target, part__gt=delivery.part)
    if delivery.message_id:
        for pk in parts.filter(state=State.PENDING).order_by("part").values_list("pk", flat=True):
            Delivery.objects.filter(pk=pk, state=State.PENDING).update(seq=next_seq)


def _locked(pk: int) -> Delivery:
    """The row as it is now, with its place in the lane kept for it. Raises Delivery.DoesNotExist."""
    found = Delivery.objects.select_related("message__account", "message__reply_to", "account").get(pk=pk)
    if found.message:
        peers.lock(found.message.account_id, found.message.peer_kind, found.message.peer_id)
    found.refresh_from_db(fields=["state", "reason", "carrier"])
    return found


def _queue(delivery: Delivery) -> str:
    if delivery.target == Target.AGENT and delivery.message:
        fresh = router.route_again(delivery.message)
        if fresh.state != State.PENDING:
            settle.skip_anew(delivery, fresh.reason, fresh.route_id)
            return _("Still not mapped: %(reason)s.") % {"reason": Reason(fresh.reason).label}
        delivery.gateway_id, delivery.route_id, delivery.payload = fresh.gateway_id, fresh.route_id, fresh.payload
    if not _requeue(delivery):
        return str(CHANGED)
    _put_later_parts_behind(delivery)
    return ""


def _requeue(delivery: Delivery) -> int:
    """Rows queued: none where the state changed meanwhile, say by a late proof that it had arrived."""
    path = _path(delivery)
    return settle.requeue(delivery, path.requeue(delivery) if path else {"due_at": timezone.now()})
