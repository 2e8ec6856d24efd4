"""Queues events for webhooks: one delivery for each endpoint, written in the transaction of what the event reports.

So an event is sent exactly when that is committed, and once: `delivery_event_once` refuses a second row. A webhook's own failure is
no event, or an address that does not answer would cause new deliveries for ever.
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


def queue_message_events(messages: Sequence[Message]) -> None:
    """Queue an event for each message, in the router's transaction. The platform's own events (somebody entered, followed) are left out."""
    event, received = Event.MESSAGE_RECEIVED, [message for message in messages if message.kind != "event"]
    endpoints = _find_endpoints(event) if received else []
    if not endpoints:
        return
    prefetch_related_objects(received, "attachments")
    names = peers.load_names((message.account_id, message.sender) for message in received)
    rows = []
    for message in received:
        data = _describe_message(message, names.get((message.account_id, message.sender), ""))
        rows += [
            _build_delivery(one, event, str(message.uuid), data)
            for one in _select_for_account(endpoints, message.account_id)
        ]
    _store_deliveries(rows)


def queue_failure_event(delivery: Delivery) -> None:
    """Queue an event for a delivery that just became `dead` or `uncertain`; in that transaction, after the row was written."""
    if delivery.target == Target.WEBHOOK:
        return

    def row() -> tuple[str, dict[str, Any]]:
        rows = Delivery.objects.select_related("account", "message__conversation")
        written = rows.get(pk=delivery.pk)
        return f"{written.pk}/{_format_time(written.finished_at)}", _describe_failure(written)

    _queue_event(Event.DELIVERY_DEAD, delivery.account_id, row)


def queue_handover_event(conversation: Conversation, entry: int, by: str, why: str) -> None:
    """Queue an event for a conversation that was just handed to staff, in that transaction. by: staff, person or agent; entry: its row."""

    def row() -> tuple[str, dict[str, Any]]:
        peer = {"kind": conversation.peer_kind, "id": conversation.peer_id}
        told = {
            "account": _describe_account(conversation.account),
            "conversation": _describe_conversation(conversation),
        }
        colleague = conversation.assignee.get_username() if conversation.assignee else None
        return str(entry), {**told, "peer": peer, "by": by, "why": why, "assignee": colleague}

    _queue_event(Event.CONVERSATION_HANDED_OVER, conversation.account_id, row)


def queue_account_state_events() -> None:
    """Queue an event for each account whose state differs from the one last reported; called by the sweep, once a second."""
    for pk in ChannelAccount.objects.exclude(notified_state=F("state")).values_list("pk", flat=True):
        _queue_account_state_event(pk)


def queue_test_event(endpoint: WebhookEndpoint) -> Delivery:
    """Queue a test event at the end of the endpoint's lane."""
    delivery = _build_delivery(endpoint, TEST, uuid4().hex, {"endpoint": {"id": endpoint.pk, "name": endpoint.name}})
    delivery.save()
    transaction.on_commit(lambda: notify(Topic.HOOK))
    return delivery


@transaction.atomic
def _queue_account_state_event(pk: int) -> None:
    account = ChannelAccount.objects.select_for_update().get(pk=pk)
    if account.notified_state == account.state:
        return  # another sweep was here
    key = f"{account.pk}/{_format_time(account.state_since)}/{account.state}"
    _queue_event(Event.ACCOUNT_STATE, account.pk, lambda: (key, _describe_account_state(account)))
    ChannelAccount.objects.filter(pk=pk).update(notified_state=account.state)


def _queue_event(event: Event, account_id: int | None, describe: Callable[[], tuple[str, dict[str, Any]]]) -> None:
    """Queue an event for the endpoints that want it. describe: gives its key and its data; called only where there is such an endpoint."""
    endpoints = _select_for_account(_find_endpoints(event), account_id)
    if endpoints:
        key, data = describe()
        _store_deliveries([_build_delivery(endpoint, event, key, data) for endpoint in endpoints])


def _find_endpoints(event: Event) -> list[WebhookEndpoint]:
    """Return the endpoints that want this event, in the order they were made; only their id and account are loaded."""
    return [sql.ENDPOINT.build(row) for row in sql.SUBSCRIBED_ENDPOINTS.fetch(event=event.value)]


def _select_for_account(endpoints: Sequence[WebhookEndpoint], account_id: int | None) -> list[WebhookEndpoint]:
    return [endpoint for endpoint in endpoints if endpoint.account_id in (None, account_id)]


def _store_deliveries(rows: Sequence[Delivery]) -> None:
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)
    transaction.on_commit(lambda: notify(Topic.HOOK))


def _build_delivery(endpoint: WebhookEndpoint, event: str, key: str, data: dict[str, Any]) -> Delivery:
    """Build a delivery whose payload is all but the signature: `id` is the header webhook-id; `body` is sent, the same bytes each time."""
    fingerprint = hashlib.sha256(f"{event}:{key}".encode()).hexdigest()
    body = {"type": str(event), "timestamp": _format_time(timezone.now()), "data": clean_json(data)}
    return Delivery(
        target=Target.WEBHOOK,
        carrier=Carrier.WEBHOOK,
        endpoint=endpoint,
        lane=endpoint.lane,
        fingerprint=fingerprint,
        payload={"id": f"msg_{fingerprint[:32]}", "body": body},
    )


def _describe_message(message: Message, sender_name: str) -> dict[str, Any]:
    return {
        "id": message.pk,
        "uuid": str(message.uuid),
        "account": _describe_account(message.account),
        "conversation": _describe_conversation(message.conversation),
        "peer": {"kind": message.peer_kind, "id": message.peer_id},
        "sender": {"id": message.sender, "name": sender_name},
        "kind": message.kind,
        "text": message.text,
        "addressed": message.addressed,
        "attachments": [{"id": item.pk, "kind": item.kind, "name": item.name} for item in message.attachments.all()],
        "occurred_at": _format_time(message.occurred_at),
        "received_at": _format_time(message.created_at),
    }


def _describe_failure(delivery: Delivery) -> dict[str, Any]:
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
        "account": _describe_account(delivery.account),
        "conversation": _describe_conversation(message.conversation if message else None),
        "message": delivery.message_id,
        "part": delivery.part,
        "queued_at": _format_time(delivery.queued_at),
        "finished_at": _format_time(delivery.finished_at),
    }


def _describe_account_state(account: ChannelAccount) -> dict[str, Any]:
    return {
        "account": _describe_account(account),
        "enabled": account.enabled,
        "state": account.state,
        "previous": account.notified_state,
        "code": account.state_code,
        "reason": account.state_reason,
        "since": _format_time(account.state_since),
    }


def _describe_account(account: ChannelAccount | None) -> dict[str, Any] | None:
    return {"id": account.pk, "name": account.name, "kind": account.kind} if account else None


def _describe_conversation(conversation: Conversation | None) -> dict[str, Any] | None:
    return {"id": conversation.pk, "title": conversation.title} if conversation else None


def _format_time(moment: datetime | None) -> str | None:
    """Return the time as ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
