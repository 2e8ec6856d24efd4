"""The gates that a delivery passes before its request leaves. The first that stops it says what becomes of it, and `settle` writes that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from accounts import limits
from accounts.channels import build_channel
from bridge.models import Reason, Target
from bridge.people import peers
from bridge.pipeline.delivery import lanes, retry_policy, settle
from bridge.pipeline.delivery.types import Fail, Failure, GateOutcome, Postpone, Skip, failure_for, message_of
from bridge.pipeline.outbound import moderation, reply_window
from bridge.pipeline.replies.paths import path_for
from bridge.webhooks import post
from channels_wechat.contract.explanations import Action, Cause
from channels_wechat.contract.messages import Payload

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import Delivery, Message
    from bridge.pipeline.replies.paths import ReplyPath
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Peer


class SendContext:
    """A claimed delivery with all that its gates and its request ask for, each loaded once and only when it is asked for.

    until_settled: what a gate enters here ends when the outcome of this gate is written, so that a lock covers both.
    """

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.until_settled = ExitStack()

    @cached_property
    def message(self) -> Message:
        return message_of(self.delivery)

    @cached_property
    def account(self) -> ChannelAccount:
        return self.message.account

    @cached_property
    def channel(self) -> Channel:
        return build_channel(self.account)

    @cached_property
    def path(self) -> ReplyPath:
        return path_for(self.channel, self.account.pk)

    @cached_property
    def peer(self) -> Peer:
        return peers.peer_of(self.message.peer_kind, self.message.peer_id, self.path.address(self.message))

    @cached_property
    def payload(self) -> Payload:
        return Payload.from_json(self.delivery.payload)

    @property
    def uses_quota(self) -> bool:
        """Whether this message uses up one of those that the person's window allows."""
        return reply_window.uses_quota(self.channel, self.message, self.payload)


Gate = Callable[[SendContext], GateOutcome | None]


def pass_gates(context: SendContext) -> bool:
    """Return whether it may be sent; where not, its state says why. Raises LostLease."""
    for gate in WEBHOOK_GATES if context.delivery.target == Target.WEBHOOK else GATES:
        with context.until_settled:
            if outcome := gate(context):
                settle.apply(context.delivery, outcome)
                return False
    return True


def require_endpoint(context: SendContext) -> GateOutcome | None:
    return Skip(Reason.NO_ENDPOINT) if post.has_no_endpoint(context.delivery) else None


def close_unread(context: SendContext) -> GateOutcome | None:
    """A part that waited for its reader is claimed by the worker only when nobody came."""
    return Skip(Reason.UNREAD) if lanes.is_unread_part(context.delivery) else None


def refuse_expired(context: SendContext) -> GateOutcome | None:
    return Fail(failure_for(Reason.TOO_OLD)) if retry_policy.is_expired(context.delivery) else None


def require_path(context: SendContext) -> GateOutcome | None:
    """Where the platform takes answers only at an address that came with the question, that may be spent or over."""
    reason = context.path.why_not_send(context.delivery, context.message)
    return Fail(failure_for(reason)) if reason else None


def check_content(context: SendContext) -> GateOutcome | None:
    return moderation.check(context.delivery)


def keep_for_reader(context: SendContext) -> GateOutcome | None:
    """What can be said only in the reply to a callback waits for one."""
    fetched = context.path.must_be_fetched(context.delivery)
    return Fail(Failure(Action.READABLE, Cause(Action.READABLE))) if fetched else None


def wait_for_window(context: SendContext) -> GateOutcome | None:
    """The peer is locked until the outcome is written: nothing is held for a window that has just opened."""
    if not context.uses_quota:
        return None
    context.until_settled.enter_context(transaction.atomic())
    before = context.delivery.payload
    outcome = reply_window.check(context.delivery, context.channel)
    if context.delivery.payload is not before:  # it took in what follows it
        context.payload = Payload.from_json(context.delivery.payload)
    return outcome


def wait_for_rate_limit(context: SendContext) -> GateOutcome | None:
    message = context.message
    counted = limits.applicable(context.channel.limits, message.peer_kind)
    pause = limits.take(counted, str(context.account.key), message.peer_id)
    return Postpone(pause, Cause("rate_limit")) if pause else None


def refuse_late_repetition(context: SendContext) -> GateOutcome | None:
    """The platform swallowed repetitions of an attempt that may have been carried out, but only until a time that is over."""
    delivery = context.delivery
    over = delivery.dedup_until is not None and delivery.dedup_until <= timezone.now()
    if not over or not retry_policy.may_have_arrived([delivery.pk]):
        return None
    return Fail(Failure(Action.UNKNOWN, Cause("repeat_window")))


WEBHOOK_GATES: tuple[Gate, ...] = (require_endpoint, refuse_expired)
# The order matters:
GATES: tuple[Gate, ...] = (
    close_unread,  # first, for such a part is older than a person may be told something, and yet has not failed
    refuse_expired,  # before anything that asks the database or the platform
    require_path,  # what cannot leave is not worth a check by the platform, which is paid for and limited
    check_content,  # before anything that decides how it leaves: what is fetched is checked like what is sent
    keep_for_reader,  # what is fetched uses up neither a window nor a rate
    wait_for_window,  # before the rate, so that what waits for a person takes nothing of it, and what is merged takes it once
    wait_for_rate_limit,  # the last that waits: whatever passes has been counted as sent
    refuse_late_repetition,  # at the very end, because the platform's time runs out while the others are asked
)
