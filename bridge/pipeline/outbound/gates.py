"""The gates that a delivery passes before its request is sent. The first one that stops it decides its outcome, which `settle` writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from accounts import limits, pacing
from accounts.channels import build_channel
from bridge.models import Reason, Target
from bridge.people import peers
from bridge.pipeline.delivery import lanes, retry_policy, settle
from bridge.pipeline.delivery.types import Fail, Failure, GateOutcome, Postpone, Skip, build_failure, message_of
from bridge.pipeline.outbound import fallbacks, moderation, window_holds
from bridge.pipeline.replies.paths import path_for
from bridge.webhooks import post
from channels_wechat.contract.capabilities import Paced
from channels_wechat.contract.connection import Connection
from channels_wechat.contract.explanations import Action, Cause
from channels_wechat.contract.messages import Payload

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.models import Delivery, Message
    from bridge.pipeline.replies.paths import ReplyPath
    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Peer


class SendContext:
    """A claimed delivery with everything that its gates and its request need, each loaded once and only when it is used.

    until_settled: a context that a gate enters here ends when its outcome is written, so that a lock covers both.
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
        """Whether this message counts against the person's reply window. What goes to a one-use address does not.

        A token that every message needs is no such address. It is not looked for here, because the newest one may come with the message
        that opens the window.
        """
        keeps_replies = isinstance(self.channel, Connection) and self.channel.keeps_replies
        is_free = not keeps_replies and bool(self.peer.reply)
        return not is_free and window_holds.uses_quota(self.channel, self.message, self.payload)


Gate = Callable[[SendContext], GateOutcome | None]


def pass_gates(context: SendContext) -> bool:
    """Return whether the delivery may be sent; where not, its state is written. Raises LostLease."""
    for gate in WEBHOOK_GATES if context.delivery.target == Target.WEBHOOK else GATES:
        with context.until_settled:
            if outcome := gate(context):
                if not fallbacks.send_instead(context.delivery, fallbacks.classify_outcome(outcome)):
                    settle.apply(context.delivery, outcome)
                return False
    return True


def require_endpoint(context: SendContext) -> GateOutcome | None:
    return Skip(Reason.NO_ENDPOINT) if post.has_no_endpoint(context.delivery) else None


def close_unread(context: SendContext) -> GateOutcome | None:
    """Skip a part that waits for its reader; the worker claims it only when the reader did not ask for it in time."""
    return Skip(Reason.UNREAD) if lanes.is_unread_part(context.delivery) else None


def refuse_expired(context: SendContext) -> GateOutcome | None:
    delivery, channel = context.delivery, context.channel if context.delivery.target == Target.CHANNEL else None
    since = channel.last_quiet_end(timezone.localtime()) if isinstance(channel, Paced) else None
    return Fail(build_failure(Reason.TOO_OLD)) if retry_policy.is_expired(delivery, since) else None


def require_path(context: SendContext) -> GateOutcome | None:
    """Fail where no way to answer is left, for example because the one-use address that came with the question is used or expired."""
    reason = context.path.why_not_send(context.delivery, context.message)
    return Fail(build_failure(reason)) if reason else None


def check_content(context: SendContext) -> GateOutcome | None:
    return moderation.check_delivery(context.delivery)


def leave_unread(context: SendContext) -> GateOutcome | None:
    """Leave a part unread until the person asks for it, where it can only be sent in the reply to a callback."""
    must_wait = context.path.must_be_fetched(context.delivery)
    return Fail(Failure(Action.READABLE, Cause(Action.READABLE))) if must_wait else None


def wait_for_window(context: SendContext) -> GateOutcome | None:
    """Hold what the reply window does not allow. The peer stays locked until that is written, so that a window cannot open meanwhile."""
    if not context.uses_quota:
        return None
    context.until_settled.enter_context(transaction.atomic())
    before = context.delivery.payload
    outcome = window_holds.check_window(context.delivery, context.channel)
    if context.delivery.payload is not before:  # following messages were merged into it
        context.payload = Payload.from_json(context.delivery.payload)
    return outcome


def wait_for_pace(context: SendContext) -> GateOutcome | None:
    """Postpone what would be sent at night, or sooner after another message than a person would write."""
    channel = context.channel
    if not isinstance(channel, Paced):
        return None
    now = timezone.localtime()
    if until := channel.quiet_until(now):
        return Postpone((until - now).total_seconds(), Cause("quiet_hours"))
    pause = pacing.take_turn(channel, context.message.peer_id)
    return Postpone(pause, Cause("pace")) if pause else None


def wait_for_rate_limit(context: SendContext) -> GateOutcome | None:
    message = context.message
    counted = limits.select_limits(context.channel.limits, message.peer_kind)
    pause = limits.count_call(counted, str(context.account.key), message.peer_id)
    return Postpone(pause, Cause("rate_limit")) if pause else None


def refuse_late_repetition(context: SendContext) -> GateOutcome | None:
    """Fail a repetition that the platform would not drop any more, because an earlier attempt may have been carried out."""
    delivery = context.delivery
    window_ended = delivery.dedup_until is not None and delivery.dedup_until <= timezone.now()
    if not window_ended or not retry_policy.may_have_arrived([delivery.pk]):
        return None
    return Fail(Failure(Action.UNKNOWN, Cause("repeat_window")))


WEBHOOK_GATES: tuple[Gate, ...] = (require_endpoint, refuse_expired)
# The order matters:
GATES: tuple[Gate, ...] = (
    close_unread,  # first, because such a part is older than the limit of `refuse_expired` and yet has not failed
    refuse_expired,  # before the gates that query the database or the platform
    require_path,  # before the content check, which costs money and is limited
    check_content,  # before `leave_unread`, so that parts which are fetched are checked too
    leave_unread,  # before the limits, because a part that is fetched uses neither of them
    wait_for_window,  # before the rate limit, so that held messages do not count, and merged ones count once
    wait_for_pace,  # after all gates that may hold, because a message that passes it begins the next pause
    wait_for_rate_limit,  # after the pace, because a message that passes it is counted as sent
    refuse_late_repetition,  # last, because the platform's time limit runs while the other gates work
)
