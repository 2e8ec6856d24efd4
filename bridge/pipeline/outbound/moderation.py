"""The platform's content check (`Moderated`): nothing goes on before it passed, or before a person has decided.

What people write is checked before the agent is asked, and what an agent answers before its first part is sent; the words of staff and
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
from bridge.explanations.tables import within
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
# WeChat promises a file's verdict within it.
VERDICT_MINUTES = 30
# A check that the platform lets us make only later than this is a person's matter: the conversation would not wait.
WAIT_MOST_SECONDS = 300
# While the account is stopped, it is looked at again after this.
CONFIGURATION_SECONDS = 60


def applies_to(delivery: Delivery) -> bool:
    """Whether it is one of those that are checked. No query, for every delivery is asked this."""
    checks = delivery.account.moderation_scope if delivery.account else ""
    way = ModerationScope.IN if delivery.target == Target.AGENT else ModerationScope.OUT
    return checks in (way, ModerationScope.BOTH) and delivery.target != Target.WEBHOOK


def hold_if_flagged(delivery: Delivery) -> bool:
    """Check what is still to be checked. True: it does not go on now, and its state says why. Raises LostLease."""
    outcome = check(delivery)
    if outcome:
        settle.apply(delivery, outcome)
    return outcome is not None


def check(delivery: Delivery) -> GateOutcome | None:
    """Ask the platform about what is still to be checked. None: it may go on."""
    message = _unchecked(delivery) if applies_to(delivery) else None
    channel = cached_by_id(message.account_id)[1] if message else None
    if message is None or not isinstance(channel, Moderated):
        return None
    try:
        return _check(delivery, message, channel)
    except ChannelError as error:
        return _on_error(delivery, error)


def apply_result(account_id: int, verdict: Mapping[str, Any]) -> None:
    """A file's verdict has come. verdict: the fields of `messages.Verdict`. In the caller's transaction; the same again does nothing."""
    items = Attachment.objects.filter(check_trace=verdict["trace_id"], message__account_id=account_id, verdict="")
    item = items.select_for_update(of=("self",)).first()
    if item is None:
        return
    item.verdict = verdict["suggest"]
    item.save(update_fields=["verdict"])
    waiting = Delivery.objects.filter(message=item.message_id, state=State.HELD, reason=Reason.CHECKING)
    if item.verdict != "pass":
        settle.change_hold(waiting, Reason.REVIEW, _objection(cached_by_id(account_id)[1], verdict))
    elif not Attachment.objects.filter(message=item.message_id).exclude(verdict="pass").exists() and release(waiting):
        transaction.on_commit(lambda: notify(Topic.ASK))


def release(held: QuerySet[Delivery]) -> int:
    """held → pending, at the tail, not to be checked again. Returns how many."""
    return settle.release(held, at_tail=True, reviewed=True)


def give_up_checks() -> int:
    """For the sweep: files whose verdict did not come. Returns how many."""
    late = Delivery.objects.filter(state=State.HELD, reason=Reason.CHECKING, due_at__lt=timezone.now())
    return settle.change_hold(late, Reason.REVIEW, Cause("check_unfinished", {"minutes": VERDICT_MINUTES}))


def _unchecked(delivery: Delivery) -> Message | None:
    """Its message, if that is still to be checked: what was tried since it was queued had passed, or a person had released it.

    A message is checked whole: a later part follows what became of the first.
    """
    passed = Q(state=State.DELIVERED) | Q(reviewed_at__isnull=False)
    if delivery.part and Delivery.objects.filter(passed, message=delivery.message_id, target=delivery.target, part=0):
        return None
    rows = Delivery.objects.filter(pk=delivery.pk, reviewed_at=None).exclude(attempts__started_at__gte=F("queued_at"))
    found = rows.select_related("message").defer("payload").first()
    message = found.message if found else None
    written = message is not None and message.source in (Message.Source.CHANNEL, Message.Source.AGENT)
    return message if written else None


def _check(delivery: Delivery, message: Message, channel: Moderated) -> GateOutcome | None:
    inbound = delivery.target == Target.AGENT
    person = (inbound and message.sender) or message.peer_id
    files = list(message.attachments.exclude(verdict="pass"))
    if not message.text.strip() and not files:
        return None
    _check_permission(delivery)
    if message.text.strip():
        verdict = channel.check_text(person, message.text)
        if verdict.suggest != "pass":
            return Hold(Reason.REVIEW, _objection(channel, _as_result(verdict)))
    return _check_files(message, channel, person, files) if files else None


def _check_files(message: Message, channel: Moderated, person: str, files: Sequence[Attachment]) -> Hold:
    address = channel.file_address(message.raw)
    if not address:
        return Hold(Reason.REVIEW, Cause("check_no_address"))
    traces = {item.pk: channel.check_media(person, address, item.kind) for item in files}  # type: ignore[arg-type]
    until = timezone.now() + timedelta(minutes=VERDICT_MINUTES)
    cause = Cause("checking", {"numbers": ", ".join(traces.values())})
    early = partial(_apply_early_result, message)
    return Hold(Reason.CHECKING, cause, until, before=partial(_store_traces, traces), after=early)


def _store_traces(traces: Mapping[int, str]) -> None:
    for pk, trace in traces.items():
        Attachment.objects.filter(pk=pk).update(check_trace=trace[:100], verdict="")


def _apply_early_result(message: Message) -> None:
    """A verdict that was quicker than our own commit was routed before anybody knew its number."""
    events = Message.objects.filter(conversation=message.conversation_id, kind="event", pk__gt=message.pk)
    for raw in events.values_list("raw", flat=True):
        verdict = raw.get("_bridge", {}).get("verdict")
        if verdict:
            with transaction.atomic():
                peers.lock(message.account_id, message.peer_kind, message.peer_id)
                apply_result(message.account_id, verdict)


def _check_permission(delivery: Delivery) -> None:
    """Raises ChannelError where the platform said lately that this account may not have anything checked."""
    if delivery.account_id and not capabilities.allowed(delivery.account_id, CAPABILITY):
        raise OWN.error("check_not_granted")


def _on_error(delivery: Delivery, error: ChannelError) -> GateOutcome:
    """Never let through: tried again where that may help, else a person decides."""
    account = delivery.account
    if account:
        capabilities.note(account, error)
    if account and error.action == Action.CONFIG:
        account.set_state(Health.STOPPED, error.code, error.params)
    elif account and error.action in (Action.RETRY, Action.UNKNOWN):
        account.set_state(Health.FAILING, error.code, error.params)
    again = _retry_of(delivery, error)
    if again is None:
        return Hold(Reason.REVIEW, _not_checked(delivery, error))
    return Fail(again, counts_try=again.action == Action.RETRY)


def _retry_of(delivery: Delivery, error: ChannelError) -> Failure | None:
    """How it is tried again; None: that would be of no use, or too late."""
    if error.action == Action.CONFIG:
        return Failure(Action.WAIT, _not_checked(delivery, error), CONFIGURATION_SECONDS)
    if error.action == Action.WAIT and (error.retry_after or 0) <= WAIT_MOST_SECONDS:
        return Failure(Action.WAIT, _not_checked(delivery, error), error.retry_after)
    if error.action in (Action.RETRY, Action.UNKNOWN) and delivery.tries + 1 < (error.max_tries or MAX_TRIES):
        return Failure(Action.RETRY, _not_checked(delivery, error), error.retry_after)
    return None


def _as_result(verdict: Any) -> dict[str, Any]:
    return {"trace_id": verdict.trace_id, "suggest": verdict.suggest, "label": verdict.label}


def _not_checked(delivery: Delivery, error: ChannelError) -> Cause:
    kind = delivery.account.kind if delivery.account else ""
    return Cause("not_checked", {"because": within(error.cause, "channel", kind)})


def _objection(channel: Channel, verdict: Mapping[str, Any]) -> Cause:
    """Why a person is to look at it. verdict: the fields of `messages.Verdict`."""
    label = int(verdict.get("label") or 0)
    about = within(Cause(f"label_{label}"), "channel", channel.kind)
    code = "content_risky" if verdict["suggest"] == "risky" else "content_review"
    return Cause(code, {"about": about, "label": label, "trace": str(verdict["trace_id"])})
