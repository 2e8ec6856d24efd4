"""Sends deliveries to the company's own addresses, with the same retries, attempts and replay as messages.

A webhook endpoint is called as https://www.standardwebhooks.com specifies. `alerts` posts to the channels that alert staff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from accounts.channels import http
from bridge.explanations.webhooks import WEBHOOK
from bridge.models import Delivery, Target, WebhookEndpoint
from bridge.models.deliveries import ALERT_LANE
from bridge.webhooks import alerts
from bridge.webhooks.signing import TIMEOUT, build_signed_headers
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Receipt
from channels_wechat.wire.http import encode_json, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.http_client import Response

# The seconds that an endpoint may ask for by Retry-After.
LEAST_WAIT, MOST_WAIT = 30, 3600
RETRY_STATUSES = (408, 425, 429)


def has_no_endpoint(delivery: Delivery) -> bool:
    """Whether the delivery has no address any more, because staff deleted the endpoint."""
    return delivery.target == Target.WEBHOOK and delivery.endpoint_id is None and delivery.lane != ALERT_LANE


def describe_request(delivery: Delivery) -> dict[str, Any]:
    """Return the request as the attempt stores it: without what the payload has already, and without secrets."""
    if delivery.endpoint is None:
        return {"body": delivery.payload["body"]}
    return {"to": delivery.endpoint.origin, "webhook-id": delivery.payload["id"]}


def post_delivery(delivery: Delivery) -> Receipt:
    """Send one delivery. Raises ChannelError: PERMANENT, RETRY or WAIT.

    After a lost answer it is sent again: an alert that comes twice does no harm, and by the webhook-id a receiver recognises
    an event that it has already.
    """
    if delivery.endpoint:
        return _post_event(delivery, delivery.endpoint)
    # An alert that an earlier version queued for the address of the settings.
    return alerts.post_plain(settings.ALERT_WEBHOOK_URL, delivery.payload["body"])


def _post_event(delivery: Delivery, endpoint: WebhookEndpoint) -> Receipt:
    """Send an event to its endpoint. It is signed at each attempt, so that a late one is not refused as an old request that is replayed."""
    now, body = timezone.now(), encode_json(delivery.payload["body"])
    headers = build_signed_headers(delivery.payload["id"], body, endpoint.signing_secrets(now), now)
    headers["Content-Type"] = "application/json"
    try:
        response = http().request("POST", endpoint.url, content=body, headers=headers, timeout=TIMEOUT, harmless=True)
    except ChannelError as error:  # its detail holds the path, in which many services put a secret
        raise WEBHOOK.error(error.code, error.action, detail=endpoint.origin, params=error.params) from error
    if response.status == 410:
        _disable_endpoint(endpoint)
    _check_event(response)
    return Receipt(response={"status": response.status})


def _check_event(response: Response) -> None:
    status, answer = response.status, {"status": response.status}
    if status < 300:
        return
    if status >= 500 or status in RETRY_STATUSES:
        wait = _read_retry_after(response.headers)
        action = Action.WAIT if wait else Action.RETRY
        raise WEBHOOK.error(f"http_{status}", action, retry_after=wait, response=answer, params=answer)
    raise WEBHOOK.error(f"http_{status}", response=answer, params=answer)


def _disable_endpoint(endpoint: WebhookEndpoint) -> None:
    """Disable the endpoint, unless staff changed it since, because the answer is about the address that was called."""
    now = timezone.now()
    same = WebhookEndpoint.objects.filter(pk=endpoint.pk, updated_at=endpoint.updated_at)
    same.update(enabled=False, disabled_code="http_410", updated_at=now)


def _read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of the header Retry-After, within our bounds; None where the header is missing or cannot be read."""
    seconds = parse_retry_after(headers.get("Retry-After", ""))
    return None if seconds is None else min(max(seconds, LEAST_WAIT), MOST_WAIT)
