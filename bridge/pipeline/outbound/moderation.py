"""The platform's content check (`Moderated`): a message goes on only when it passed, or when staff released it.

A person's message is checked before the agent is asked, and an agent's answer before its first part is sent; messages of staff and
of scripts are not checked. A text's verdict comes at once, a file's within half an hour, as an event.

    passed ──▶ it goes on
    objected to ──▶ held: REVIEW
    the platform does not check this: not granted, the person away for hours, a file without a public address ──▶ held: REVIEW
    a file's verdict is awaited ──▶ held: CHECKING ── passed ──▶ it goes on
                                                   └─ objected to, or no verdict in time ──▶ held: REVIEW
    the call failed as any may: network, rate limit ──▶ pending: checked again; after all tries, or where the wait is long: REVIEW
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts import capabilities
from accounts.channels import cached_by_id
from accounts.health import Health
from accounts.models import ModerationScope
from bridge.explanations.own import OWN
from bridge.explanations.tables import nest_cause
from bridge.models import Attachment, Delivery, Message, Reason, State, Target
from bridge.people import peers
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.retry_policy import MAX_TRIES
from bridge.pipeline.delivery.types import Fail, Failure, Hold
from bridge.runtime.wakeups.publish import Topic, notify
from channels_wechat.contract.capabilities import Moderated
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action, Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models import QuerySet

    from bridge.pipeline.delivery.types import GateOutcome
    from channels_wechat.contract.channel import Channel

CAPABILITY = "moderation"
# WeChat promises the verdict on a file within this time.
VERDICT_MINUTES = 30
# Where the platform allows the check only later than this, staff decide, because the conversation would have to wait too long.
MAX_WAIT_SECONDS = 300
# The seconds until the next check while the account is stopped.
STOPPED_SECONDS = 60


def is_moderated(delivery: Delivery) -> bool:
    """Whether deliveries of this kind are checked. It makes no query, because it is called for every delivery."""
    checks = delivery.account.moderation_scope if delivery.account else ""
    direction = ModerationScope.IN if delivery.target == Target.AGENT else ModerationScope.OUT
    return checks in (direction, ModerationScope.BOTH) and delivery.target != Target.WEBHOOK


def hold_if_flagged(delivery: Delivery) -> bool:
    """Check the delivery. Return True where it does not go on now; then its state is written. Raises LostLease."""
    outcome = check_delivery(delivery)
    if outcome:
        settle.apply(delivery, outcome)
    return outcome is not None


def check_delivery(delivery: Delivery) -> GateOutcome | None:
    """Ask the platform about a delivery that was not checked yet. None: it may go on."""
    message = _message_to_check(delivery) if is_moderated(delivery) else None
    channel = cached_by_id(message.account_id)[1] if message else None
    if message is None or not isinstance(channel, Moderated):
        return None
    try:
        return _check_message(delivery, message, channel)
    except ChannelError as error:
        return _handle_error(delivery, error)


def apply_verdict(account_id: int, verdict: Mapping[str, Any]) -> None:
    """Store the verdict on a file, in the caller's transaction; a repetition does nothing. verdict: the fields of `messages.Verdict`."""
    items = Attachment.objects.filter(check_trace=verdict["trace_id"], message__account_id=account_id, verdict="")
    item = items.select_for_update(of=("self",)).first()
    if item is None:
        return
    item.verdict = verdict["suggest"]
    item.save(update_fields=["verdict"])
    waiting = Delivery.objects.filter(message=item.message_id, state=State.HELD, reason=Reason.CHECKING)
    if item.verdict != "pass":
        settle.change_hold(waiting, Reason.REVIEW, _cause_of_objection(cached_by_id(account_id)[1], verdict))
    elif not Attachment.objects.filter(message=item.message_id).exclude(verdict="pass").exists() and release(waiting):
        transaction.on_commit(lambda: notify(Topic.ASK))


def release(held: QuerySet[Delivery]) -> int:
    """held → pending, at the end of the lane and without another check. Return how many."""
    return settle.release(held, at_tail=True, reviewed=True)


def give_up_checks() -> int:
    """Leave the decision to staff where the verdict on a file did not come in time. Return how many. The sweep calls it."""
    late = Delivery.objects.filter(state=State.HELD, reason=Reason.CHECKING, due_at__lt=timezone.now())
    return settle.change_hold(late, Reason.REVIEW, Cause("check_unfinished", {"minutes": VERDICT_MINUTES}))


def _message_to_check(delivery: Delivery) -> Message | None:
    """Return the message if it must still be checked; None after an attempt since it was queued, or after a release by staff.

    A message is checked as a whole, so a later part is not checked again when the first one passed.
    """
    passed = Q(state=State.DELIVERED) | Q(reviewed_at__isnull=False)
    if delivery.part and Delivery.objects.filter(passed, message=delivery.message_id, target=delivery.target, part=0):
        return None
    rows = Delivery.objects.filter(pk=delivery.pk, reviewed_at=None).exclude(attempts__started_at__gte=F("queued_at"))
    row = rows.select_related("message").defer("payload").first()
    message = row.message if row else None
    is_checked_source = message is not None and message.source in (Message.Source.CHANNEL, Message.Source.AGENT)
    return message if is_checked_source else None


def _check_message(delivery: Delivery, message: Message, channel: Moderated) -> GateOutcome | None:
    inbound = delivery.target == Target.AGENT
    person = (inbound and message.sender) or message.peer_id
    files = list(message.attachments.exclude(verdict="pass"))
    if not message.text.strip() and not files:
        return None
    _check_permission(delivery)
    if message.text.strip():
        verdict = channel.check_text(person, message.text)
        if verdict.suggest != "pass":
            return Hold(Reason.REVIEW, _cause_of_objection(channel, _verdict_as_dict(verdict)))
    return _check_files(message, channel, person, files) if files else None


def _check_files(message: Message, channel: Moderated, person: str, files: Sequence[Attachment]) -> Hold:
    address = channel.file_address(message.raw)
    if not address:
        return Hold(Reason.REVIEW, Cause("check_no_address"))
    traces = {item.pk: channel.check_media(person, address, item.kind) for item in files}  # type: ignore[arg-type]
    until = timezone.now() + timedelta(minutes=VERDICT_MINUTES)
    cause = Cause("checking", {"numbers": ", ".join(traces.values())})
    early = partial(_apply_early_verdict, message)
    return Hold(Reason.CHECKING, cause, until, before=partial(_store_traces, traces), after=early)


def _store_traces(traces: Mapping[int, str]) -> None:
    for pk, trace in traces.items():
        Attachment.objects.filter(pk=pk).update(check_trace=trace[:100], verdict="")


def _apply_early_verdict(message: Message) -> None:
    """Apply a verdict that arrived before the number of its check was committed, and therefore found no file."""
    events = Message.objects.filter(conversation=message.conversation_id, kind="event", pk__gt=message.pk)
    for raw in events.values_list("raw", flat=True):
        verdict = raw.get("_bridge", {}).get("verdict")
        if verdict:
            with transaction.atomic():
                peers.lock_peer(message.account_id, message.peer_kind, message.peer_id)
                apply_verdict(message.account_id, verdict)


def _check_permission(delivery: Delivery) -> None:
    """Raise ChannelError where the platform refused this account the content check within the last day."""
    if delivery.account_id and not capabilities.is_allowed(delivery.account_id, CAPABILITY):
        raise OWN.error("check_not_granted")


def _handle_error(delivery: Delivery, error: ChannelError) -> GateOutcome:
    """Decide after a failed check: it is retried where that may help, else staff decide; the message never passes unchecked."""
    account = delivery.account
    if account:
        capabilities.store_refusal(account, error)
    if account and error.action == Action.CONFIG:
        account.set_state(Health.STOPPED, error.code, error.params)
    elif account and error.action in (Action.RETRY, Action.UNKNOWN):
        account.set_state(Health.FAILING, error.code, error.params)
    retry = _choose_retry(delivery, error)
    if retry is None:
        return Hold(Reason.REVIEW, _cause_of_failed_check(delivery, error))
    return Fail(retry, counts_try=retry.action == Action.RETRY)


def _choose_retry(delivery: Delivery, error: ChannelError) -> Failure | None:
    """Return how the check is retried; None where that would not help, or come too late."""
    if error.action == Action.CONFIG:
        return Failure(Action.WAIT, _cause_of_failed_check(delivery, error), STOPPED_SECONDS)
    if error.action == Action.WAIT and (error.retry_after or 0) <= MAX_WAIT_SECONDS:
        return Failure(Action.WAIT, _cause_of_failed_check(delivery, error), error.retry_after)
    if error.action in (Action.RETRY, Action.UNKNOWN) and delivery.tries + 1 < (error.max_tries or MAX_TRIES):
        return Failure(Action.RETRY, _cause_of_failed_check(delivery, error), error.retry_after)
    return None


def _verdict_as_dict(verdict: Any) -> dict[str, Any]:
    return {"trace_id": verdict.trace_id, "suggest": verdict.suggest, "label": verdict.label}


def _cause_of_failed_check(delivery: Delivery, error: ChannelError) -> Cause:
    kind = delivery.account.kind if delivery.account else ""
    return Cause("not_checked", {"because": nest_cause(error.cause, "channel", kind)})


def _cause_of_objection(channel: Channel, verdict: Mapping[str, Any]) -> Cause:
    """Return why staff must look at the message. verdict: the fields of `messages.Verdict`."""
    label = int(verdict.get("label") or 0)
    about = nest_cause(Cause(f"label_{label}"), "channel", channel.kind)
    code = "content_risky" if verdict["suggest"] == "risky" else "content_review"
    return Cause(code, {"about": about, "label": label, "trace": str(verdict["trace_id"])})
