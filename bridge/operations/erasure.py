"""Erases a person's data where the platform requires it: they stopped following, or withdrew what they had granted.

`pipeline.inbound.pseudonyms` replaced the person's name in their rows by a pseudonym when the event was routed. `erase_people`, which
beat starts, cancels the deliveries that still wait for them and erases their messages in batches. Each step can be repeated, so a process
may be killed in the middle. What stays is that there was a message, when, what became of it, and the key of its callback.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_noop

from bridge.media import storage
from bridge.models import (
    Attachment,
    AttachmentState,
    Attempt,
    Contact,
    Conversation,
    Delivery,
    Message,
    Reason,
    ReplayItem,
    ReplayRun,
    State,
    Target,
)
from bridge.models.deliveries import CONVERSATION_OF_EVENT
from bridge.pipeline.delivery import settle
from bridge.security import audit

# People in one run, messages in one transaction: the rows are locked for tens of milliseconds.
PEOPLE, BATCH = 100, 200
AUDIT_TEXT = gettext_noop("All data of this person was erased, as WeChat requires.")
# The payload of a delivery of an erased message, so that it can never be sent again.
ERASED_PAYLOAD = {"erased": True}


def erase_people() -> int:
    """Erase what can be erased now; a person with a delivery on its way is left for the next run. Return how many people are finished."""
    waiting = Contact.objects.filter(erasure_requested_at__isnull=False).order_by("erasure_requested_at")
    return sum(_erase_person(contact) for contact in waiting[:PEOPLE])


def _erase_person(contact: Contact) -> bool:
    talks = Conversation.objects.filter(account=contact.account_id, peer_kind="direct", peer_id=contact.external_id)
    for talk in talks:
        _cancel_deliveries(talk)
        if _has_work_under_way(talk):
            return False
        _erase_messages(talk)
        if _erase_webhook_calls(talk):
            return False
    with transaction.atomic():
        if not Contact.objects.filter(pk=contact.pk, erasure_requested_at=contact.erasure_requested_at).update(
            erasure_requested_at=None
        ):
            return False  # another process was faster
        audit.anonymise(talks, "title")
        audit.anonymise(Contact.objects.filter(pk=contact.pk))
        audit.log_action(AUDIT_TEXT, [contact])
    return True


def _cancel_deliveries(talk: Conversation) -> None:
    """Cancel the deliveries that wait, so that nothing more is sent to this person and no agent is asked for them."""
    settle.cancel(Delivery.objects.filter(message__conversation=talk), Reason.GONE)


def _has_work_under_way(talk: Conversation) -> bool:
    """Whether a request or a download is under way that would write an answer, a result or a file after the erasure."""
    now = timezone.now()
    sending = Delivery.objects.filter(message__conversation=talk, state=State.SENDING)
    fetched = Attachment.objects.filter(message__conversation=talk, state=AttachmentState.PENDING, owner_until__gt=now)
    return sending.exists() or fetched.exists()


def _erase_messages(talk: Conversation) -> None:
    last = 0
    while ids := list(talk.messages.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        _erase_batch(ids, talk.peer_id)
        last = ids[-1]


@transaction.atomic
def _erase_batch(ids: list[int], name: str) -> None:
    """Erase what these messages and their deliveries say, and what another account sent in their place. name: the pseudonym."""
    if stand_ins := list(Message.objects.filter(instead_of__in=ids).values_list("pk", flat=True)):
        _erase_content(stand_ins)
    _erase_content(ids)
    messages = Message.objects.filter(pk__in=ids)
    messages.update(peer_id=name)
    messages.exclude(sender="").update(sender=name)


def _erase_content(ids: list[int]) -> None:
    files = Attachment.objects.filter(message__in=ids)
    transaction.on_commit(partial(storage.delete_files, list(files.exclude(file="").values_list("file", flat=True))))
    erased: dict[str, Any] = {"state": AttachmentState.FAILED, "code": "erased", "code_params": {}}
    # The fence is raised so that a process which still fetches a file after its lease expired cannot store it.
    files.update(owner="", owner_until=None, fence=F("fence") + 1)
    files.update(file="", name="", handle="", handle_at=None, check_trace="", **storage.NO_SOURCE, **erased)
    Attempt.objects.filter(delivery__message__in=ids).update(request={}, response={}, code_params={})
    deliveries = Delivery.objects.filter(message__in=ids)
    deliveries.update(payload=ERASED_PAYLOAD, code_params={}, fingerprint="", remote_id="")
    items = ReplayItem.objects.filter(delivery__in=deliveries.values("pk"))
    # The text of a single answer was written for this person, also where it was never sent; a sentence before many was not.
    ReplayRun.objects.filter(pk__in=items.values("run"), total=1).exclude(changes={}).update(changes={})
    items.exclude(result="").update(before={})
    messages = Message.objects.filter(pk__in=ids)
    messages.update(text="", data={}, raw={}, reply_address="", request_hash="")


def _erase_webhook_calls(talk: Conversation) -> bool:
    """Erase the webhook calls about this conversation. Return True where one is on its way at this moment."""
    calls = Delivery.objects.annotate(talk=CONVERSATION_OF_EVENT).filter(target=Target.WEBHOOK, talk=str(talk.pk))
    while ids := list(calls.exclude(state=State.SENDING).values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            rows = Delivery.objects.filter(pk__in=ids).exclude(state=State.SENDING)
            settle.cancel(rows, Reason.GONE)
            Attempt.objects.filter(delivery__in=ids).update(request={}, response={}, code_params={})
            rows.update(payload=ERASED_PAYLOAD, code_params={})
    return calls.exists()
