"""Lets another account send a message where the conversation's own cannot: the fallback senders of the conversation, in their order.

Only a whole message changes its sender: its first part, and only where nothing of it may have arrived. What another account sends is a
message of its own, in its own conversation, with `Message.instead_of`; the delivery that could not be sent is skipped, and says who sends
it and why.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import Q

from accounts.channels import build_channel
from accounts.health import Health
from bridge.media import storage
from bridge.models import Attachment, AttachmentState, Delivery, FallbackSender, Message, Reason, State, Target
from bridge.pipeline.delivery import settle
from bridge.pipeline.delivery.types import Fail, Hold, LostLease, Postpone, message_of
from bridge.pipeline.outbound import outbox, rights, window_holds
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.security import logs
from channels_wechat.contract.explanations import Action, Cause
from channels_wechat.contract.messages import Content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.files.base import File

    from accounts.models import ChannelAccount
    from bridge.models import Attempt
    from bridge.pipeline.delivery.types import Failure, GateOutcome
    from channels_wechat.contract.errors import ChannelError

log = logging.getLogger(__name__)
# A shorter wait for a rate limit is no reason for another sender.
LONG_WAIT_SECONDS = 30
# So many deliveries of stopped accounts are looked at in one run.
BATCH = 200
# The last delivery that a run looked at; 0: the next one begins anew.
_looked_until = 0
_defects = logs.Rarely()
ALL_RIGHTS = (rights.MENTION_ALL, rights.CARDS, rights.LINKS)


class Class(StrEnum):
    """Why an account cannot send; the fields of `FallbackSender` name those for which one is used."""

    QUOTA = "on_quota"
    WINDOW = "on_window"
    REFUSAL = "on_refusal"
    DOWN = "on_down"


BECAUSE = {
    Class.QUOTA: Cause("fallback_quota"),
    Class.WINDOW: Cause("fallback_window"),
    Class.REFUSAL: Cause("fallback_refusal"),
    Class.DOWN: Cause("fallback_down"),
}


def classify_outcome(outcome: GateOutcome) -> Class | None:
    """Return why a gate stopped a message, where another account may send it."""
    if isinstance(outcome, Hold):
        return Class.WINDOW if outcome.reason == Reason.WINDOW else None
    if isinstance(outcome, Postpone):
        return Class.QUOTA if outcome.seconds >= LONG_WAIT_SECONDS else None
    return Class.WINDOW if isinstance(outcome, Fail) and outcome.failure.reason == Reason.NO_REPLY else None


def classify_error(error: ChannelError) -> Class | None:
    """Return why the platform refused a message, where it was certainly not sent and another account may send it."""
    if error.action == Action.WAIT:
        return Class.QUOTA if (error.retry_after or 0) >= LONG_WAIT_SECONDS else None
    if error.action == Action.PERMANENT:
        return Class.REFUSAL if error.capability else None
    return {Action.WINDOW: Class.WINDOW, Action.CONFIG: Class.DOWN}.get(error.action)


def send_instead(
    delivery: Delivery, why: Class | None, attempt: Attempt | None = None, failure: Failure | None = None
) -> bool:
    """Have the next fallback sender send a claimed delivery's message. Return whether one does. Raises LostLease."""
    if why is None or not _has_fallbacks(delivery) or not _may_change_sender(delivery):
        return False
    with _survive_defects(delivery.pk), transaction.atomic():
        message = _send_by_next(delivery, why)
        if message is None:
            return False
        settle.hand_over(delivery, attempt, failure, _cause(message, why))
        return True
    return False


@contextmanager
def _survive_defects(pk: int) -> Iterator[None]:
    """A defect with another account's message must leave this delivery as its own account left it."""
    try:
        yield
    except (LostLease, *DB_UNAVAILABLE):
        raise
    except Exception:
        if _defects.is_due(str(pk)):
            log.exception("delivery %s: no fallback sender could be tried", pk)


def take_over_stopped() -> int:
    """Have fallback senders send what waits for accounts that staff or an error stopped. Return how many deliveries changed hands.

    Each run goes on behind the last one, so that what nobody can send keeps nothing else waiting.
    """
    global _looked_until
    rows = Delivery.objects.filter(target=Target.CHANNEL, state=State.PENDING, part=0)
    down = rows.filter(account__state=Health.STOPPED) | rows.filter(account__enabled=False)
    able = FallbackSender.objects.filter(on_down=True, account__enabled=True, account__sending_stopped_at=None)
    able = able.exclude(account__state=Health.STOPPED)
    waiting = down.filter(message__conversation__in=able.values("conversation"), pk__gt=_looked_until)
    found = list(waiting.order_by("pk").values_list("pk", flat=True)[:BATCH])
    _looked_until = found[-1] if len(found) == BATCH else 0
    return sum(_take_over(pk) for pk in found)


def _take_over(pk: int) -> bool:
    with _survive_defects(pk):
        return _take_over_one(pk)
    return False


@transaction.atomic
def _take_over_one(pk: int) -> bool:
    delivery = (
        Delivery.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk, state=State.PENDING).first()
    )
    if delivery is None or not _may_change_sender(delivery):
        return False
    message = _send_by_next(delivery, Class.DOWN)
    if message is None:
        return False
    parts = Delivery.objects.filter(message=delivery.message_id, target=Target.CHANNEL)
    settle.cancel(parts, Reason.OTHER_SENDER, _cause(message, Class.DOWN))
    return True


def _has_fallbacks(delivery: Delivery) -> bool:
    """Whether the conversation names any; looked at first, because most name none."""
    own, stand_in = (
        Q(**{name: delivery.message_id}) for name in ("conversation__messages", "conversation__messages__stand_ins")
    )
    return FallbackSender.objects.filter(own | stand_in).exists()


def _may_change_sender(delivery: Delivery) -> bool:
    """Whether this is the beginning of a message of which nothing may have arrived, and of no other message too."""
    unproven = ("unknown", "interrupted", "ok")
    return (
        delivery.part == 0
        and not delivery.attempts.filter(outcome__in=unproven).exists()
        # Another sender would say the first of them alone.
        and not window_holds.carries_others(delivery)
    )


def _send_by_next(delivery: Delivery, why: Class) -> Message | None:
    """Send the message by the first fallback sender behind the present one that can; None: there is none."""
    message = Message.objects.select_related("account", "instead_of").get(pk=message_of(delivery).pk)
    origin = message.instead_of or message
    for fallback in _following(origin, message):
        if getattr(fallback, why) and fallback.account.may_send and (sent := _send_by(fallback, origin)):
            return sent
    return None


def _following(origin: Message, message: Message) -> Iterator[FallbackSender]:
    """The fallback senders of the conversation that were not tried for this message."""
    found = FallbackSender.objects.filter(conversation=origin.conversation_id).select_related("account")
    tried = set(origin.stand_ins.values_list("account_id", "peer_kind", "peer_id"))
    for fallback in found.order_by("position"):
        if (fallback.account_id, fallback.peer_kind, fallback.peer_id) not in tried:
            yield fallback


def _send_by(fallback: FallbackSender, origin: Message) -> Message | None:
    """Store the message for this sender, with copies of its files. None where its platform cannot carry it."""
    account, source = fallback.account, origin.source
    content = Content(kind=origin.kind, text=origin.text, data=origin.data)
    if not _can_carry(account, content):
        return None
    key = f"instead:{origin.pk}:{fallback.pk}"
    try:
        with transaction.atomic():
            sent = outbox.send_within(
                account,
                fallback.peer_kind,
                fallback.peer_id,
                content,
                source=source,
                client=origin.client,
                key=key,
                files=list(_copy_files(origin)),
                allowed=ALL_RIGHTS,  # what the agent may do was decided when its answer was stored
            )
            Message.objects.filter(pk=sent.pk).update(instead_of=origin)
    except outbox.CannotSend:
        return None
    except (OSError, Attachment.DoesNotExist):  # a file is gone: its own account would fail with it too, and says so
        return None
    return sent


def _can_carry(account: ChannelAccount, content: Content) -> bool:
    return content.kind == "text" or content.kind in build_channel(account).content_kinds


def _copy_files(origin: Message) -> Iterator[File[bytes]]:
    for item in origin.attachments.filter(state=AttachmentState.READY).order_by("position"):
        file = storage.read_attachment(str(item.pk))
        copied = ContentFile(file.content, name=file.name)
        copied.content_type = file.mime  # type: ignore[attr-defined]  # as an uploaded file has it
        yield copied


def _cause(message: Message, why: Class) -> Cause:
    because = BECAUSE[why].as_json()
    return Cause("other_sender", {"sender": message.account.name, "message": message.pk, "because": because})
