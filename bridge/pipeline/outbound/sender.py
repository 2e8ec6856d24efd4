"""The worker's side of the wire: one claimed delivery, one call to the platform."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import capabilities, limits
from accounts.channels import build_channel, cached_by_id
from accounts.models import Health
from bridge.media import storage
from bridge.models import Delivery, Reason, Target
from bridge.people import peers
from bridge.pipeline.delivery import lanes, retry_policy, settle
from bridge.pipeline.delivery.retry_policy import may_have_arrived
from bridge.pipeline.delivery.types import Failure, LostLease, OpenAttempt, Success, failure_for, message_of
from bridge.pipeline.outbound import moderation, reply_window
from bridge.pipeline.replies.paths import path_for
from bridge.runtime.db.batching import GroupCommit
from bridge.runtime.db.outage import DB_UNAVAILABLE, retry_while_db_down
from bridge.security import logs
from bridge.security.redaction import redact_text
from bridge.webhooks import post
from channels_wechat.contract.capabilities import Uploads
from channels_wechat.contract.errors import Action, ChannelError
from channels_wechat.contract.messages import Outgoing, Payload, Peer

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.models import Attempt
    from bridge.pipeline.replies.paths import ReplyPath
    from channels_wechat.contract.channel import Channel
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
        except (
            DB_UNAVAILABLE
        ) as error:  # the lease decides: what is in the rows is true, and nobody else may have it meanwhile
            log.warning("the database is away (%s)", type(error).__name__)
        except Exception as error:  # a defect of ours; the message must not hang in `sending`
            log.exception("a delivery failed")
            _fail_quietly(delivery, redact_text(f"{type(error).__name__}: {error}"))
    return True


def _process(delivery: Delivery) -> bool:
    if post.has_no_endpoint(delivery):
        settle.skip(delivery, None, Reason.NO_ENDPOINT)
        return True
    if lanes.is_unread_part(delivery):
        settle.skip(delivery, None, Reason.UNREAD)
        return True
    if retry_policy.is_expired(delivery):
        settle.fail(delivery, None, failure_for(Reason.TOO_OLD))
        return True
    if delivery.target == Target.WEBHOOK:
        return _call_webhook(delivery)
    message = message_of(delivery)
    channel = build_channel(message.account)
    path = path_for(channel, message.account_id)
    if reason := path.why_not_send(delivery, message):
        settle.fail(delivery, None, failure_for(reason))
        return True
    if moderation.hold_if_flagged(delivery):
        return True
    if path.must_be_fetched(delivery):
        settle.fail(delivery, None, Failure(Action.READABLE, Action.READABLE, ""))
        return True
    if not reply_window.check(delivery, channel):
        return True
    counted = limits.applicable(channel.limits, message.peer_kind)
    pause = limits.take(counted, str(message.account.key), message.peer_id)
    if pause:
        text = _("The platform's rate limit is reached; sent as soon as it allows.")
        settle.postpone(delivery, pause, text)
        return True
    return _send(delivery, channel, peers.peer_of(message.peer_kind, message.peer_id, path.address(message)))


def _call_webhook(delivery: Delivery) -> bool:
    attempt = _opened(OpenAttempt(delivery, post.request_of(delivery)))
    try:
        receipt = post.post(delivery)
    except ChannelError as error:
        action = Action.PERMANENT if error.action == Action.CONFIG else error.action
        retry_while_db_down(settle.fail, delivery, attempt, _failure(error, action))
        return True
    return retry_while_db_down(_settle, Success(delivery, attempt, response=dict(receipt.response)))


def _send(delivery: Delivery, channel: Channel, peer: Peer) -> bool:
    if _dedup_is_over(delivery):
        text = _("An earlier attempt may have been carried out, and WeCom no longer recognises a repetition of it.")
        settle.fail(delivery, None, Failure(Action.UNKNOWN, "repeat_window", text))
        return True
    payload = Payload.from_json(delivery.payload)
    counted = reply_window.uses_quota(channel, message_of(delivery), payload)
    attempt: Attempt | None = None
    try:
        handle = storage.handle_of(channel, payload.file) if payload.file and isinstance(channel, Uploads) else ""
        swallowed = _dedup_window(delivery, channel, peer, payload)
        asked = OpenAttempt(delivery, _request(peer, payload), **swallowed)
        attempt = reply_window.consume(asked) if counted else _opened(asked)
        if attempt is None:
            reply_window.hold(delivery)
            return True
        receipt = channel.send(
            Outgoing(peer, payload, handle, delivery.platform_key, check_repeats=delivery.dedup_until is not None)
        )
    except ChannelError as error:
        retry_while_db_down(_failed, delivery, attempt, error, counted)
        return True
    return retry_while_db_down(_succeeded, delivery, attempt, receipt)


def _succeeded(delivery: Delivery, attempt: Attempt, receipt: Receipt) -> bool:
    if _account(delivery).state != Health.OK:
        _account(delivery).set_state(Health.OK)
    response = dict(receipt.response)
    return _settle(Success(delivery, attempt, remote_id=receipt.remote_id, note=str(receipt.note), response=response))


def _opened(asked: OpenAttempt) -> Attempt:
    attempt = _begin(asked)
    if attempt is None:
        raise LostLease(asked.delivery.pk)
    return attempt


def _settle(done: Success) -> bool:
    after = _succeed(done)
    if after is None:
        raise LostLease(done.delivery.pk)
    return after.next or after.parts


def _failed(delivery: Delivery, attempt: Attempt | None, error: ChannelError, counted: bool) -> None:
    """Before the attempt was open nothing had left, so an unknown outcome (of an upload) is a plain retry.

    counted: the attempt took one of the messages that the person's window allows.
    """
    action = Action.RETRY if error.action == Action.UNKNOWN and attempt is None else error.action
    withheld = capabilities.note(_account(delivery), error)
    if action == Action.CONFIG:
        _account(delivery).set_state(Health.STOPPED, str(error))
    elif action in (Action.RETRY, Action.UNKNOWN):
        _account(delivery).set_state(Health.FAILING, str(error))
    if error.gone:
        peers.set_subscribed(_account(delivery).pk, message_of(delivery).peer_id, follows=False)
    payload = Payload.from_json(delivery.payload)
    if action != Action.UNKNOWN and payload.file:
        storage.forget_handle(payload.file)
    if action == Action.PERMANENT and (other := cached_by_id(delivery.account_id or 0)[1].instead(payload, error)):
        _replace(delivery, payload, other)
        action = Action.RETRY
    if action == Action.WINDOW:
        reply_window.hold(delivery, attempt, _failure(error, action))
        return
    if attempt is None and action == Action.RETRY:
        delivery.tries += 1
        Delivery.objects.filter(pk=delivery.pk, holder=delivery.holder).update(tries=delivery.tries)
    paid = attempt if counted and action != Action.UNKNOWN else None
    then = partial(reply_window.give_back, delivery, paid) if paid else None
    kept = withheld and _path_now(delivery).must_be_fetched(delivery)
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
    return Failure(action, error.code, str(error), error.retry_after, error.max_tries, error.response, reason)


def _dedup_is_over(delivery: Delivery) -> bool:
    """The platform swallowed repetitions of an attempt that may have been carried out, but only until a time that is over."""
    over = delivery.dedup_until is not None and delivery.dedup_until <= timezone.now()
    return over and bool(may_have_arrived([delivery.pk]))


def _dedup_window(delivery: Delivery, channel: Channel, peer: Peer, payload: Payload) -> dict[str, datetime | None]:
    """Until when the platform swallows a repetition of this request; nothing: it is not asked to, or can no longer.

    The check swallows an honest repetition too ("好的" twice in five minutes), so it is off where the same went to the same
    people within its window; then a time-out is uncertain.
    """
    window = channel.repeat_window(peer, payload)
    now = timezone.now()
    if not window:
        return {}
    if delivery.dedup_until and delivery.dedup_until > now:
        return {"dedup_until": delivery.dedup_until}
    until = now + timedelta(seconds=window - REPEAT_MARGIN_SECONDS)
    return {"dedup_until": until, "dedup_unless_sent_since": now - timedelta(seconds=window)}


def _fail_quietly(delivery: Delivery, text: str) -> None:
    """With an open attempt the platform may have taken it: that is no failure but an unknown outcome."""
    open_attempt = delivery.attempts.filter(finished_at=None).last()
    failure = Failure(Action.UNKNOWN if open_attempt else Action.PERMANENT, "internal", text, reason=Reason.INTERNAL)
    try:
        settle.fail(delivery, open_attempt, failure)
    except LostLease:
        log.warning("the lease was lost")


def _account(delivery: Delivery) -> Any:
    return cast("Any", delivery.account)


def _path_now(delivery: Delivery) -> ReplyPath:
    """How it can leave by what the platform has just told us."""
    account, channel = cached_by_id(delivery.account_id or 0)
    return path_for(channel, account.pk)


def _request(peer: Peer, payload: Payload) -> dict[str, Any]:
    return {"to": {"kind": peer.kind, "id": peer.id}, **payload.as_json()}


# What the threads of a worker ask of the database at one moment, they ask together.
_begin = GroupCommit(settle.open_attempts)
_succeed = GroupCommit(settle.mark_all_delivered)
