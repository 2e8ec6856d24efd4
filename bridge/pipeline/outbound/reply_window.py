"""What may still be said to a person, for channels that are `Windows`: where `accounts.reply_windows`, the ledger, meets the lanes.

    a deed is routed ── the window opens ──▶ what was held for it is pending again, in its old place and as if queued now
    a message is about to go ── a use is taken with the attempt that it pays for; nothing left ──▶ held: WINDOW
    more parts wait in the lane than uses are left ──▶ texts that fit into one message become one
    the platform refuses for want of a window ── nothing is left ──▶ held: WINDOW

Opening and holding take turns by the peer's lock: nothing is held for a window that has just opened.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from django.db import transaction
from django.db.models import F

from accounts import reply_windows
from accounts.models import ModerationScope
from bridge.models import Delivery, Reason
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

# So many of a window's messages are kept for the answer to the newest question.
RESERVED_MESSAGES = 2
WAITING = Cause("window")


def open_windows(openings: Sequence[tuple[int, reply_windows.WindowGrant]]) -> None:
    """Open windows and release what waited for them; in the router's transaction, under the peers' locks.

    openings: each with its conversation's id.
    """
    if openings:
        reply_windows.open_all(opening for _conversation, opening in openings)
        _release(Delivery.objects.filter(lane__in={lane_of_answers(conversation) for conversation, _ in openings}))


def uses_quota(channel: Channel, message: Message, payload: Payload) -> bool:
    """Whether this message uses up one of those that the person's window allows."""
    return isinstance(channel, ReplyWindows) and message.peer_kind == "direct" and channel.uses_window(payload)


def check(delivery: Delivery, channel: Channel) -> GateOutcome | None:
    """Let one that uses up the window take in what must go with it, or say what it waits for.

    In the caller's transaction, until whose end the peer is locked.
    """
    message = message_of(delivery)
    peers.lock(message.account_id, message.peer_kind, message.peer_id)
    left = reply_windows.remaining(message.account_id, message.peer_id)
    if not left or (left <= RESERVED_MESSAGES and _newer_question(message)):
        return Hold(Reason.WINDOW, WAITING)
    rows = [_WaitingPart(delivery, row) for row in sql.WAITING_PARTS.fetch(own=delivery.pk)]
    if any(row.is_earlier for row in rows):  # released after this one was claimed
        return Postpone(0)
    _merge_following(delivery, cast("ReplyWindows", channel), rows, left)
    return None


def consume(asked: OpenAttempt) -> Attempt | None:
    """Take one use and open the attempt, both or neither. None: nothing is left. Raises LostLease."""
    message = message_of(asked.delivery)
    with transaction.atomic():
        attempt = settle.open_attempts([asked])[0]
        if attempt is None:
            raise LostLease(asked.delivery.pk)
        if reply_windows.take(message.account_id, message.peer_id, attempt.started_at):
            return attempt
        transaction.set_rollback(True)
    return None


def give_back(delivery: Delivery, attempt: Attempt) -> None:
    """The platform certainly did not count what this attempt asked for."""
    message = message_of(delivery)
    reply_windows.give_back(message.account_id, message.peer_id, attempt.started_at)


def hold(delivery: Delivery, attempt: Attempt | None = None, failure: Failure | None = None) -> None:
    """Nothing was left when it was to go, or the platform said so (failure). Raises LostLease."""
    message = message_of(delivery)
    with transaction.atomic():
        peers.lock(message.account_id, message.peer_kind, message.peer_id)
        if attempt:
            reply_windows.mark_empty(message.account_id, message.peer_id, attempt.started_at)
        cause = failure.cause if failure else WAITING
        settle.hold(delivery, Reason.WINDOW, cause, attempt=attempt, failure=failure)
        if reply_windows.remaining(message.account_id, message.peer_id):  # the person acted at this very moment
            _release(Delivery.objects.filter(lane=delivery.lane))


def _newer_question(message: Message) -> bool:
    """Whether somebody asked anew since the question that this answers, and waits for an answer that is to come or to go."""
    since = message.reply_to_id or message.pk
    lane = lane_of_answers(message.conversation_id)
    found = sql.NEWER_QUESTION.fetch_one(conversation=message.conversation_id, since=since, lane=lane)
    return found is not None and found.exists


class _WaitingPart:
    """A pending delivery of the same lane. free: it may go within the head's message."""

    def __init__(self, head: Delivery, row: sql.WaitingPart) -> None:
        self.pk, self.message_id = row.id, row.message_id
        self.possibly_twice, self.is_earlier = row.possibly_twice, row.is_earlier
        self.payload = Payload.from_json(json.loads(row.payload))
        checked = head.account is not None and head.account.moderation_scope in (
            ModerationScope.OUT,
            ModerationScope.BOTH,
        )
        # What the content check has still to see, or a person looked at by itself, is not slipped into another message.
        self.free = row.carrier == head.carrier and (
            self.message_id == head.message_id or not (checked or row.is_reviewed)
        )


def _merge_following(delivery: Delivery, channel: ReplyWindows, rows: Sequence[_WaitingPart], left: int) -> None:
    """Texts that follow and fit are taken in, as long as more messages wait than may be said."""
    too_many = 1 + sum(channel.uses_window(row.payload) for row in rows) - left
    payload, last, absorbed = Payload.from_json(delivery.payload), delivery.message_id, []
    for row in rows[: max(0, too_many)]:
        merged = channel.merge(payload, row.payload, apart=row.message_id != last) if row.free else None
        if merged is None:
            break
        payload, last = merged, row.message_id
        absorbed.append(row)
    if absorbed:
        _merge_into(delivery, payload.as_json(), absorbed)


def _merge_into(head: Delivery, payload: dict[str, Any], absorbed: Sequence[_WaitingPart]) -> None:
    head.payload, head.fingerprint = payload, Delivery.fingerprint_of(payload)
    twice = any(row.possibly_twice for row in absorbed) or F("possibly_twice")
    Delivery.objects.filter(pk=head.pk).update(payload=payload, fingerprint=head.fingerprint, possibly_twice=twice)
    settle.cancel(
        Delivery.objects.filter(pk__in=[row.pk for row in absorbed]), Reason.MERGED, Cause("merged", {"head": head.pk})
    )


def _release(held: QuerySet[Delivery]) -> None:
    """Let what waits for a window go on, each in its old place."""
    if settle.release(held.filter(reason=Reason.WINDOW)):
        transaction.on_commit(lambda: notify(Topic.SEND))
