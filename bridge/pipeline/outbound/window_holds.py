"""Holds and releases deliveries by the reply windows of `accounts.reply_windows`, for channels that have `ReplyWindows`.

    an action is routed ── the window opens ──▶ what was held for it is pending again, in its old place and as if queued now
    a message is about to be sent ── it is counted when its attempt is opened; nothing left ──▶ held: WINDOW
    more parts wait in the lane than messages are left ──▶ texts that fit into one message become one
    the platform refuses because no window is open ── nothing is left ──▶ held: WINDOW

Opening and holding both lock the peer, so that nothing is held for a window that has just opened.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from django.db import transaction
from django.db.models import F

from accounts import reply_windows
from accounts.models import ModerationScope
from bridge.models import Delivery, Reason, State
from bridge.people import peers
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.lanes import lane_of_answers
from bridge.pipeline.delivery.types import Hold, LostLease, OpenAttempt, Postpone, message_of
from bridge.pipeline.outbound import sql
from bridge.runtime.wakeups.publish import Topic, notify
from channels_wechat.contract.capabilities import ReplyWindows
from channels_wechat.contract.explanations import Cause
from channels_wechat.contract.messages import Payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from bridge.models import Attempt, Message
    from bridge.pipeline.delivery.types import Failure, GateOutcome
    from channels_wechat.contract.channel import Channel

# So many messages of a window are reserved for the answer to the newest question.
RESERVED_MESSAGES = 2
CAUSE = Cause("window")


def open_windows(openings: Sequence[tuple[int, reply_windows.WindowGrant]]) -> None:
    """Open windows and release the deliveries that waited for them; in the router's transaction, under the peers' locks.

    openings: each with its conversation's id.
    """
    if openings:
        reply_windows.open_windows(opening for _conversation, opening in openings)
        _release_held(Delivery.objects.filter(lane__in={lane_of_answers(conversation) for conversation, _ in openings}))


def uses_quota(channel: Channel, message: Message, payload: Payload) -> bool:
    """Whether this message counts against the person's reply window."""
    return isinstance(channel, ReplyWindows) and message.peer_kind == "direct" and channel.uses_window(payload)


def check_window(delivery: Delivery, channel: Channel) -> GateOutcome | None:
    """Check a message that counts against the window: merge following texts into it where needed, or say what it waits for.

    In the caller's transaction, until whose end the peer is locked.
    """
    message = message_of(delivery)
    peers.lock_peer(message.account_id, message.peer_kind, message.peer_id)
    left = reply_windows.count_remaining(message.account_id, message.peer_id)
    if not left or (left <= RESERVED_MESSAGES and _has_newer_question(message)):
        return Hold(Reason.WINDOW, CAUSE)
    rows = [_WaitingPart(delivery, row) for row in sql.WAITING_PARTS.fetch(own=delivery.pk)]
    if any(row.is_earlier for row in rows):  # released after this one was claimed
        return Postpone(0)
    _merge_following(delivery, cast("ReplyWindows", channel), rows, left)
    return None


def open_counted_attempt(opening: OpenAttempt) -> Attempt | None:
    """Open the attempt and count the message against the window, both or neither. None: nothing is left. Raises LostLease."""
    message = message_of(opening.delivery)
    with transaction.atomic():
        attempt = settle.open_attempts([opening])[0]
        if attempt is None:
            raise LostLease(opening.delivery.pk)
        if reply_windows.count_message(message.account_id, message.peer_id, attempt.started_at):
            return attempt
        transaction.set_rollback(True)
    return None


def give_back(delivery: Delivery, attempt: Attempt) -> None:
    """Take back the count of an attempt that the platform certainly did not count."""
    message = message_of(delivery)
    reply_windows.give_back(message.account_id, message.peer_id, attempt.started_at)


def hold_for_window(delivery: Delivery, attempt: Attempt | None = None, failure: Failure | None = None) -> None:
    """Hold a delivery because no message is left, as we counted or as the platform answered (failure). Raises LostLease."""
    message = message_of(delivery)
    with transaction.atomic():
        peers.lock_peer(message.account_id, message.peer_kind, message.peer_id)
        if attempt:
            reply_windows.mark_empty(message.account_id, message.peer_id, attempt.started_at)
        cause = failure.cause if failure else CAUSE
        settle.hold(delivery, Reason.WINDOW, cause, attempt=attempt, failure=failure)
        if reply_windows.count_remaining(message.account_id, message.peer_id):  # the person acted at this very moment
            _release_held(Delivery.objects.filter(lane=delivery.lane))


def carries_others(delivery: Delivery) -> bool:
    """Whether texts behind it were merged into it, which are in its payload alone."""
    lanes = {delivery.lane, lane_of_answers(delivery.message.conversation_id if delivery.message else None)}
    merged = Delivery.objects.filter(lane__in=lanes, state=State.SKIPPED, reason=Reason.MERGED)
    return merged.filter(code_params__head=delivery.pk).exists()


def _has_newer_question(message: Message) -> bool:
    """Whether the person has asked again since the question that this answers, and still waits for that answer."""
    since = message.reply_to_id or message.pk
    lane = lane_of_answers(message.conversation_id)
    found = sql.NEWER_QUESTION.fetch_one(conversation=message.conversation_id, since=since, lane=lane)
    return found is not None and found.exists


class _WaitingPart:
    """A pending delivery of the same lane. mergeable: whether it may be merged into the head's message."""

    def __init__(self, head: Delivery, row: sql.WaitingPart) -> None:
        self.pk, self.message_id = row.id, row.message_id
        self.possibly_twice, self.is_earlier = row.possibly_twice, row.is_earlier
        self.payload = Payload.from_json(json.loads(row.payload))
        checked = head.account is not None and head.account.moderation_scope in (
            ModerationScope.OUT,
            ModerationScope.BOTH,
        )
        # A text that the content check has not checked yet, or that staff released alone, is not merged into another message.
        self.mergeable = row.carrier == head.carrier and (
            self.message_id == head.message_id or not (checked or row.is_reviewed)
        )


def _merge_following(delivery: Delivery, channel: ReplyWindows, rows: Sequence[_WaitingPart], left: int) -> None:
    """Merge following texts into this one while more messages wait than the window allows."""
    too_many = 1 + sum(channel.uses_window(row.payload) for row in rows) - left
    payload, last, merged_rows = Payload.from_json(delivery.payload), delivery.message_id, []
    for row in rows[: max(0, too_many)]:
        merged = channel.merge(payload, row.payload, apart=row.message_id != last) if row.mergeable else None
        if merged is None:
            break
        payload, last = merged, row.message_id
        merged_rows.append(row)
    if merged_rows:
        _merge_into(delivery, payload.as_json(), merged_rows)


def _merge_into(head: Delivery, payload: dict[str, Any], merged_rows: Sequence[_WaitingPart]) -> None:
    head.payload, head.fingerprint = payload, Delivery.fingerprint_of(payload)
    twice = any(row.possibly_twice for row in merged_rows) or F("possibly_twice")
    Delivery.objects.filter(pk=head.pk).update(payload=payload, fingerprint=head.fingerprint, possibly_twice=twice)
    settle.cancel(
        Delivery.objects.filter(pk__in=[row.pk for row in merged_rows]),
        Reason.MERGED,
        Cause("merged", {"head": head.pk}),
    )


def _release_held(held: QuerySet[Delivery]) -> None:
    """Release the deliveries that wait for a window, each in its old place."""
    if settle.release(held.filter(reason=Reason.WINDOW)):
        transaction.on_commit(lambda: notify(Topic.SEND))
