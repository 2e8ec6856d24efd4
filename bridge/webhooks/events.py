"""What happened, for webhooks: one delivery for each endpoint, written in the transaction of the fact itself.

So an event is told exactly when its fact is committed, and once: `delivery_event_once` refuses the second. A webhook's own failure is
no event, or one dead address would beget deliveries for ever.
"""

from __future__ import annotations

import hashlib
from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.db import transaction
from django.db.models import F, prefetch_related_objects
from django.utils import timezone

from accounts.models import ChannelAccount
from bridge.models import Carrier, Delivery, Event, Target, WebhookEndpoint
from bridge.people import peers
from bridge.runtime.wakeups.publish import Topic, notify
from bridge.webhooks import sql
from channels_wechat.contract.text import clean_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from bridge.models import Conversation, Message

TEST = "webhook.test"


def received(messages: Sequence[Message]) -> None:
    """For the router, in its transaction. What the platform reports besides messages (somebody entered, subscribed) is not told."""
    event, news = Event.MESSAGE_RECEIVED, [message for message in messages if message.kind != "event"]
    listening = _listening(event) if news else []
    if not listening:
        return
    prefetch_related_objects(news, "attachments")
    names = peers.names((message.account_id, message.sender) for message in news)
    rows = []
    for message in news:
        said = _message(message, names.get((message.account_id, message.sender), ""))
        rows += [_delivery(one, event, str(message.uuid), said) for one in _concerned(listening, message.account_id)]
    _queue(rows)


def failed(delivery: Delivery) -> None:
    """For every arrow into `dead` and `uncertain`, in its transaction, after the row was written."""
    if delivery.target == Target.WEBHOOK:
        return

    def row() -> tuple[str, dict[str, Any]]:
        rows = Delivery.objects.select_related("account", "message__conversation")
        written = rows.get(pk=delivery.pk)
        return f"{written.pk}/{_time(written.finished_at)}", _failure(written)

    _tell(Event.DELIVERY_DEAD, delivery.account_id, row)


def tell_account_states() -> None:
    """For the sweep: what differs from the state last told. A change that went back within a second is nobody's news."""
    for pk in ChannelAccount.objects.exclude(notified_state=F("state")).values_list("pk", flat=True):
        _tell_account_state(pk)


def test(endpoint: WebhookEndpoint) -> Delivery:
    """Queue an event that says nothing, behind whatever waits in the endpoint's lane."""
    delivery = _delivery(endpoint, TEST, uuid4().hex, {"endpoint": {"id": endpoint.pk, "name": endpoint.name}})
    delivery.save()
    transaction.on_commit(lambda: notify(Topic.HOOK))
    return delivery


@transaction.atomic
def _tell_account_state(pk: int) -> None:
    account = ChannelAccount.objects.select_for_update().get(pk=pk)
    if account.notified_state == account.state:
        return  # another sweep was here
    key = f"{account.pk}/{_time(account.state_since)}/{account.state}"
    _tell(Event.ACCOUNT_STATE, account.pk, lambda: (key, _account_state(account)))
    ChannelAccount.objects.filter(pk=pk).update(notified_state=account.state)


def _tell(event: Event, account_id: int | None, what: Callable[[], tuple[str, dict[str, Any]]]) -> None:
    """what: the fact's own key, and what is said of it; asked only where somebody listens."""
    listening = _concerned(_listening(event), account_id)
    if listening:
        key, data = what()
        _queue([_delivery(endpoint, event, key, data) for endpoint in listening])


def _listening(event: Event) -> list[WebhookEndpoint]:
    """In the order they were made; nothing but whose they are and of which account they hear."""
    return [sql.ENDPOINT.build(row) for row in sql.LISTENING.fetch(event=event.value)]


def _concerned(listening: Sequence[WebhookEndpoint], account_id: int | None) -> list[WebhookEndpoint]:
    return [endpoint for endpoint in listening if endpoint.account_id in (None, account_id)]


def _queue(rows: Sequence[Delivery]) -> None:
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)
    transaction.on_commit(lambda: notify(Topic.HOOK))


def _delivery(endpoint: WebhookEndpoint, event: str, key: str, data: dict[str, Any]) -> Delivery:
    """The payload is all but the signature: `id` is the header webhook-id, `body` what is sent, at each try the same bytes."""
    fingerprint = hashlib.sha256(f"{event}:{key}".encode()).hexdigest()
    body = {"type": str(event), "timestamp": _time(timezone.now()), "data": clean_json(data)}
    return Delivery(
        target=Target.WEBHOOK,
        carrier=Carrier.WEBHOOK,
        endpoint=endpoint,
        lane=endpoint.lane,
        fingerprint=fingerprint,
        payload={"id": f"msg_{fingerprint[:32]}", "body": body},
    )


def _message(message: Message, sender_name: str) -> dict[str, Any]:
    return {
        "id": message.pk,
        "uuid": str(message.uuid),
        "account": _account(message.account),
        "conversation": _conversation(message.conversation),
        "peer": {"kind": message.peer_kind, "id": message.peer_id},
        "sender": {"id": message.sender, "name": sender_name},
        "kind": message.kind,
        "text": message.text,
        "addressed": message.addressed,
        "attachments": [{"id": item.pk, "kind": item.kind, "name": item.name} for item in message.attachments.all()],
        "occurred_at": _time(message.occurred_at),
        "received_at": _time(message.created_at),
    }


def _failure(delivery: Delivery) -> dict[str, Any]:
    message = delivery.message
    return {
        "id": delivery.pk,
        "state": delivery.state,
        "target": delivery.target,
        "reason": delivery.reason,
        "reason_text": str(delivery.get_reason_display()),
        "code": delivery.code,
        "error": delivery.error,
        "tries": delivery.tries,
        "account": _account(delivery.account),
        "conversation": _conversation(message.conversation if message else None),
        "message": delivery.message_id,
        "part": delivery.part,
        "queued_at": _time(delivery.queued_at),
        "finished_at": _time(delivery.finished_at),
    }


def _account_state(account: ChannelAccount) -> dict[str, Any]:
    return {
        "account": _account(account),
        "enabled": account.enabled,
        "state": account.state,
        "previous": account.notified_state,
        "code": account.state_code,
        "reason": account.state_reason,
        "since": _time(account.state_since),
    }


def _account(account: ChannelAccount | None) -> dict[str, Any] | None:
    return {"id": account.pk, "name": account.name, "kind": account.kind} if account else None


def _conversation(conversation: Conversation | None) -> dict[str, Any] | None:
    return {"id": conversation.pk, "title": conversation.title} if conversation else None


def _time(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
