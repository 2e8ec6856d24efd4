"""The worker's side of the wire: one claimed delivery, one call to the platform."""

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
from bridge.pipeline.outbound import reply_window
from bridge.pipeline.outbound.gates import SendContext, pass_gates
from bridge.pipeline.replies.paths import path_for
from bridge.runtime.db.batching import GroupCommit
from bridge.runtime.db.outage import DB_UNAVAILABLE, retry_while_db_down
from bridge.security import logs
from bridge.webhooks import post
from channels_wechat.contract.capabilities import Uploads
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Outgoing, Payload, Peer

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.models import Attempt
    from channels_wechat.contract.explanations import Cause
    from channels_wechat.contract.messages import Receipt

log = logging.getLogger(__name__)
# A repetition is sent only this long before the platform's duplicate check ends, so that it arrives within it.
REPEAT_MARGIN_SECONDS = 60


def process_delivery(delivery: Delivery) -> bool:
    """Settle one claimed delivery. Never raises: whatever happens becomes its state. Returns whether its lane may go on."""
    with logs.about(account=delivery.account_id, message=delivery.message_id, delivery=delivery.pk):
        try:
            return _process(delivery)
        except LostLease:
            log.warning("the lease was lost")
        except DB_UNAVAILABLE as error:
            # The lease decides: what is in the rows is true, and nobody else may have it meanwhile.
            log.warning("the database is away (%s)", type(error).__name__)
        except Exception as error:  # a defect of ours; the message must not hang in `sending`
            log.exception("a delivery failed")
            _fail_quietly(delivery, internal(error))
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
        retry_while_db_down(settle.fail, delivery, attempt, _failure(error, action))
        return True
    return retry_while_db_down(_settle, Success(delivery, attempt, response=dict(receipt.response)))


def _send(context: SendContext) -> bool:
    delivery, channel = context.delivery, context.channel
    counted = context.uses_quota
    attempt: Attempt | None = None
    try:
        outgoing = _outgoing(context)
        asked = OpenAttempt(delivery, _request(context.peer, context.payload), **_dedup_window(context))
        attempt = reply_window.consume(asked) if counted else _open_attempt(asked)
        if attempt is None:
            reply_window.hold(delivery)
            return True
        receipt = channel.send(replace(outgoing, check_repeats=delivery.dedup_until is not None))
    except ChannelError as error:
        retry_while_db_down(_failed, context, attempt, error, counted)
        return True
    return retry_while_db_down(_succeeded, context, attempt, receipt)


def _outgoing(context: SendContext) -> Outgoing:
    """With its files, those uploaded that the platform takes beforehand. Raises ChannelError."""
    channel, payload = context.channel, context.payload
    handle = storage.handle_of(channel, payload.file) if payload.file and isinstance(channel, Uploads) else ""
    images = storage.images_of(channel, payload)
    return Outgoing(context.peer, payload, handle, context.delivery.platform_key, images=images)


def _succeeded(context: SendContext, attempt: Attempt, receipt: Receipt) -> bool:
    if context.account.state != Health.OK:
        context.account.set_state(Health.OK)
    response = dict(receipt.response)
    return _settle(
        Success(context.delivery, attempt, remote_id=receipt.remote_id, note=receipt.note, response=response)
    )


def _open_attempt(asked: OpenAttempt) -> Attempt:
    attempt = _begin(asked)
    if attempt is None:
        raise LostLease(asked.delivery.pk)
    return attempt


def _settle(done: Success) -> bool:
    after = _succeed(done)
    if after is None:
        raise LostLease(done.delivery.pk)
    return after.next or after.parts


def _failed(context: SendContext, attempt: Attempt | None, error: ChannelError, counted: bool) -> None:
    """Before the attempt was open nothing had left, so an unknown outcome (of an upload) is a plain retry.

    counted: the attempt took one of the messages that the person's window allows.
    """
    delivery, account, payload = context.delivery, context.account, context.payload
    action = Action.RETRY if error.action == Action.UNKNOWN and attempt is None else error.action
    withheld = capabilities.note(account, error)
    if action == Action.CONFIG:
        account.set_state(Health.STOPPED, error.code, error.params)
    elif action in (Action.RETRY, Action.UNKNOWN):
        account.set_state(Health.FAILING, error.code, error.params)
    if error.gone:
        peers.set_subscribed(account.pk, context.message.peer_id, follows=False)
    if action != Action.UNKNOWN and payload.file:
        storage.forget_upload(payload.file)
    if action == Action.PERMANENT and (other := context.channel.instead(payload, error)):
        _replace(delivery, payload, other)
        action = Action.RETRY
    if action == Action.WINDOW:
        reply_window.hold(delivery, attempt, _failure(error, action))
        return
    if attempt is None and action == Action.RETRY:
        settle.count_try(delivery)
    paid = attempt if counted and action != Action.UNKNOWN else None
    then = partial(reply_window.give_back, delivery, paid) if paid else None
    kept = withheld and path_for(context.channel, account.pk).must_be_fetched(delivery)
    settle.fail(delivery, attempt, _failure(error, Action.READABLE if kept else action), then)


def _replace(delivery: Delivery, refused: Payload, other: Payload) -> None:
    """Say something else from now on. A file is sent as one of another kind, by its row too, for uploads go by that."""
    kind = str(other.body["msgtype"])
    if other.file and other.file == refused.file:
        storage.change_kind(other.file, kind)
    delivery.payload = other.as_json()
    delivery.fingerprint = Delivery.fingerprint_of(delivery.payload)
    mine = Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder)
    mine.update(payload=delivery.payload, fingerprint=delivery.fingerprint)


def _failure(error: ChannelError, action: Action) -> Failure:
    reason = Reason.GONE if error.gone else ""
    return Failure(action, error.cause, error.retry_after, error.max_tries, error.response, reason)


def _dedup_window(context: SendContext) -> dict[str, datetime | None]:
    """Until when the platform swallows a repetition of this request; nothing: it is not asked to, or can no longer.

    The check swallows an honest repetition too ("好的" twice in five minutes), so it is off where the same went to the same
    people within its window; then a time-out is uncertain.
    """
    window = context.channel.repeat_window(context.peer, context.payload)
    delivery, now = context.delivery, timezone.now()
    if not window:
        return {}
    if delivery.dedup_until and delivery.dedup_until > now:
        return {"dedup_until": delivery.dedup_until}
    until = now + timedelta(seconds=window - REPEAT_MARGIN_SECONDS)
    return {"dedup_until": until, "dedup_unless_sent_since": now - timedelta(seconds=window)}


def _fail_quietly(delivery: Delivery, cause: Cause) -> None:
    """With an open attempt the platform may have taken it: that is no failure but an unknown outcome."""
    open_attempt = delivery.attempts.filter(finished_at=None).last()
    failure = Failure(Action.UNKNOWN if open_attempt else Action.PERMANENT, cause, reason=Reason.INTERNAL)
    try:
        settle.fail(delivery, open_attempt, failure)
    except LostLease:
        log.warning("the lease was lost")


def _request(peer: Peer, payload: Payload) -> dict[str, Any]:
    return {"to": {"kind": peer.kind, "id": peer.id}, **payload.as_json()}


# What the threads of a worker ask of the database at one moment, they ask together.
_begin = GroupCommit(settle.open_attempts)
_succeed = GroupCommit(settle.mark_all_delivered)
