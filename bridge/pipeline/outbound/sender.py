"""Sends a claimed delivery by one call to the platform or webhook, and settles it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts import capabilities
from accounts.health import Health
from bridge.explanations.own import internal
from bridge.media import storage
from bridge.models import Delivery, Reason, Target
from bridge.people import peers
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import Failure, LostLease, OpenAttempt, Success
from bridge.pipeline.outbound import fallbacks, window_holds
from bridge.pipeline.outbound.gates import SendContext, pass_gates
from bridge.pipeline.replies.paths import path_for
from bridge.runtime.db.batching import GroupCommit
from bridge.runtime.db.outage import DB_UNAVAILABLE, retry_while_db_down
from bridge.security import logs
from bridge.webhooks import post
from channels_wechat.contract.capabilities import Uploads
from channels_wechat.contract.connection import Connection
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Outgoing, Payload, Peer

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.models import Attempt
    from channels_wechat.contract.explanations import Cause
    from channels_wechat.contract.messages import Receipt

log = logging.getLogger(__name__)
# A repetition is sent at the latest this long before the platform's duplicate check ends, so that it arrives in time.
REPEAT_MARGIN_SECONDS = 60


def process_delivery(delivery: Delivery) -> bool:
    """Send and settle one claimed delivery. Never raises: every failure becomes its state. Return whether its lane may have more work."""
    with logs.about(account=delivery.account_id, message=delivery.message_id, delivery=delivery.pk):
        try:
            return _process(delivery)
        except LostLease:
            if not settle.put_back_unsent(delivery):
                log.warning("the lease was lost")
        except DB_UNAVAILABLE as error:
            # The rows are as they were, and the lease keeps other processes from this delivery until it expires.
            log.warning("the database is away (%s)", type(error).__name__)
        except Exception as error:  # a defect of our own must not leave the message in `sending`
            log.exception("a delivery failed")
            _fail_after_defect(delivery, internal(error))
    return True


def _process(delivery: Delivery) -> bool:
    context = SendContext(delivery)
    if not pass_gates(context):
        return True
    return _call_webhook(delivery) if delivery.target == Target.WEBHOOK else _send(context)


def _call_webhook(delivery: Delivery) -> bool:
    attempt = _open_attempt(OpenAttempt(delivery, post.describe_request(delivery)))
    try:
        receipt = post.post_delivery(delivery)
    except ChannelError as error:
        action = Action.PERMANENT if error.action == Action.CONFIG else error.action
        retry_while_db_down(settle.fail, delivery, attempt, _build_failure(error, action))
        return True
    return retry_while_db_down(_settle, Success(delivery, attempt, response=dict(receipt.response)))


def _send(context: SendContext) -> bool:
    delivery, channel = context.delivery, context.channel
    counted = context.uses_quota
    attempt: Attempt | None = None
    try:
        outgoing = _build_outgoing(context)
        opening = OpenAttempt(delivery, _describe_request(context.peer, context.payload), **_dedup_window(context))
        attempt = window_holds.open_counted_attempt(opening) if counted else _open_attempt(opening)
        if attempt is None:
            window_holds.hold_for_window(delivery)
            return True
        receipt = channel.send(replace(outgoing, check_repeats=delivery.dedup_until is not None))
    except ChannelError as error:
        retry_while_db_down(_handle_failure, context, attempt, error, counted)
        return True
    return retry_while_db_down(_handle_success, context, attempt, receipt)


def _build_outgoing(context: SendContext) -> Outgoing:
    """Return the message with its files, which are uploaded first where the platform requires it. Raises ChannelError."""
    channel, payload = context.channel, context.payload
    handle = (
        storage.get_or_upload_handle(channel, payload.file) if payload.file and isinstance(channel, Uploads) else ""
    )
    images = storage.read_images(channel, payload)
    refused = (
        capabilities.list_refused(context.account.pk, context.message.peer_id)
        if isinstance(channel, Connection)
        else frozenset[str]()
    )
    return Outgoing(context.peer, payload, handle, context.delivery.platform_key, images=images, refused=refused)


def _handle_success(context: SendContext, attempt: Attempt, receipt: Receipt) -> bool:
    if context.account.state != Health.OK:
        context.account.set_state(Health.OK)
    response = dict(receipt.response)
    return _settle(
        Success(context.delivery, attempt, remote_id=receipt.remote_id, note=receipt.note, response=response)
    )


def _open_attempt(opening: OpenAttempt) -> Attempt:
    attempt = _begin(opening)
    if attempt is None:
        raise LostLease(opening.delivery.pk)
    return attempt


def _settle(success: Success) -> bool:
    after = _succeed(success)
    if after is None:
        raise LostLease(success.delivery.pk)
    return after.next or after.parts


def _handle_failure(context: SendContext, attempt: Attempt | None, error: ChannelError, counted: bool) -> None:
    """Settle a delivery that failed. Before its attempt was open no message was sent, so an unknown outcome (of an upload) is a retry.

    counted: the attempt took one of the messages that the person's window allows.
    """
    delivery, account, payload = context.delivery, context.account, context.payload
    action = Action.RETRY if error.action == Action.UNKNOWN and attempt is None else error.action
    is_restricted = capabilities.store_refusal(account, error, context.message.peer_id)
    if action == Action.CONFIG:
        account.set_state(Health.STOPPED, error.code, error.params)
    elif action in (Action.RETRY, Action.UNKNOWN):
        account.set_state(Health.FAILING, error.code, error.params)
    if error.gone:
        peers.set_subscribed(account.pk, context.message.peer_id, follows=False)
    if action != Action.UNKNOWN and payload.file:
        storage.forget_upload(payload.file)
    failure = _build_failure(error, action)
    if action != Action.UNKNOWN and fallbacks.send_instead(delivery, fallbacks.classify_error(error), attempt, failure):
        return
    if action == Action.PERMANENT and (other := context.channel.instead(payload, error)):
        _replace_payload(delivery, payload, other)
        action = Action.RETRY
    if action == Action.WINDOW:
        window_holds.hold_for_window(delivery, attempt, _build_failure(error, action))
        return
    if attempt is None and action == Action.RETRY:
        settle.count_try(delivery)
    uncounted = attempt if counted and action != Action.UNKNOWN else None
    then = partial(window_holds.give_back, delivery, uncounted) if uncounted else None
    waits_for_reader = is_restricted and path_for(context.channel, account.pk).must_be_fetched(delivery)
    settle.fail(delivery, attempt, _build_failure(error, Action.READABLE if waits_for_reader else action), then)


def _replace_payload(delivery: Delivery, refused: Payload, other: Payload) -> None:
    """Store another payload for the next attempt. A file also changes its kind, which the next upload uses."""
    kind = str(other.body["msgtype"])
    if other.file and other.file == refused.file:
        storage.change_kind(other.file, kind)
    delivery.payload = other.as_json()
    delivery.fingerprint = Delivery.fingerprint_of(delivery.payload)
    claimed = Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder)
    claimed.update(payload=delivery.payload, fingerprint=delivery.fingerprint)


def _build_failure(error: ChannelError, action: Action) -> Failure:
    reason = Reason.GONE if error.gone else ""
    return Failure(action, error.cause, error.retry_after, error.max_tries, error.response, reason)


def _dedup_window(context: SendContext) -> dict[str, datetime | None]:
    """Return until when the platform drops a repetition of this request; empty where it does not, or not any more.

    The platform would also drop a text that is meant to be sent twice ("好的" twice in five minutes), so the check is off where the
    same text went to the same people within its time; then a time-out leaves the delivery uncertain. A check that goes by the message's
    own key drops nothing else.
    """
    window = context.channel.repeat_window(context.peer, context.payload)
    delivery, now = context.delivery, timezone.now()
    if not window:
        return {}
    if delivery.dedup_until and delivery.dedup_until > now:
        return {"dedup_until": delivery.dedup_until}
    until = now + timedelta(seconds=window - REPEAT_MARGIN_SECONDS)
    if context.channel.repeats_by_key:
        return {"dedup_until": until}
    return {"dedup_until": until, "dedup_unless_sent_since": now - timedelta(seconds=window)}


def _fail_after_defect(delivery: Delivery, cause: Cause) -> None:
    """Settle a delivery after a defect of our own. With an open attempt its outcome is unknown, because the platform may have it."""
    open_attempt = delivery.attempts.filter(finished_at=None).last()
    failure = Failure(Action.UNKNOWN if open_attempt else Action.PERMANENT, cause, reason=Reason.INTERNAL)
    try:
        settle.fail(delivery, open_attempt, failure)
    except LostLease:
        log.warning("the lease was lost")


def _describe_request(peer: Peer, payload: Payload) -> dict[str, Any]:
    return {"to": {"kind": peer.kind, "id": peer.id}, **payload.as_json()}


# Threads of a worker that write to the database at the same moment share one commit.
_begin = GroupCommit(settle.open_attempts)
_succeed = GroupCommit(settle.mark_all_delivered)
