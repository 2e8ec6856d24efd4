"""Sends deliveries to the company's own addresses, with the same retries, attempts and replay as messages.

A webhook endpoint is called as https://www.standardwebhooks.com specifies. The alert address of the settings is called through the
client of group robots where it belongs to one, else with the same body by a plain request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone
from standardwebhooks import Webhook

from accounts.channels import http
from bridge.explanations.webhooks import ALERT, WEBHOOK
from bridge.models import Carrier, Delivery, Target, WebhookEndpoint
from bridge.models.deliveries import ALERT_LANE
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Outgoing, Payload, Receipt
from channels_wechat.wecom.robot.channel import GROUP, robot_at
from channels_wechat.wire.http import encode_json, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from channels_wechat.contract.http_client import Response
    from channels_wechat.wecom.robot.channel import WeComRobot

# Seconds to connect, seconds without a byte of the answer: a receiver should take an event and work on it afterwards.
TIMEOUT = (5, 15)
# The seconds that an endpoint may ask for by Retry-After.
LEAST_WAIT, MOST_WAIT = 30, 3600
RETRY_STATUSES = (408, 425, 429)


def queue_alert(text: str, identity: str = "") -> Delivery:
    """Return the delivery of this alert: a new one, or the one that was queued with the same identity before."""
    queued = Delivery.objects.filter(lane=ALERT_LANE, fingerprint=identity).first() if identity else None
    if queued:
        return queued
    fields: dict[str, Any] = {
        "target": Target.WEBHOOK,
        "carrier": Carrier.WEBHOOK,
        "lane": ALERT_LANE,
        "fingerprint": identity,
    }
    return Delivery.objects.create(**fields, payload={"body": build_alert_body(text)})


def build_alert_body(text: str) -> dict[str, Any]:
    """Return the body in the form of WeCom group robots, which most other receivers read too."""
    return {"msgtype": "text", "text": {"content": text.encode()[:2000].decode("utf-8", "ignore")}}


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
    return _post_event(delivery, delivery.endpoint) if delivery.endpoint else post_alert(delivery.payload["body"])


def build_signed_headers(event_id: str, body: bytes, secrets: Iterable[str], at: datetime) -> dict[str, str]:
    """Return the headers that the specification asks for. secrets: `whsec_…`, each gives one signature."""
    signatures = [Webhook(secret).sign(event_id, at, body.decode()) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


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


def post_alert(body: Mapping[str, Any]) -> Receipt:
    """Send an alert to the address of the settings. Raises ChannelError."""
    if not settings.ALERT_WEBHOOK_URL:
        raise ALERT.error("no_address")
    if robot := robot_at(settings.ALERT_WEBHOOK_URL, http()):
        return _post_to_robot(robot, body)
    try:
        response = http().request("POST", settings.ALERT_WEBHOOK_URL, json=body, harmless=False)
    except ChannelError as error:  # its detail holds the path, in which many services put a secret
        raise ALERT.error(error.code, error.action, params=error.params) from error
    _check_alert(response)
    return Receipt(response={"status": response.status})


def _post_to_robot(robot: WeComRobot, body: Mapping[str, Any]) -> Receipt:
    try:
        return robot.send(Outgoing(GROUP, Payload(body)))
    except ChannelError as error:  # an error without an answer names the address, whose key is a secret
        if error.response is not None:
            raise
        raise ALERT.error(error.code, error.action, params=error.params) from error


def _check_alert(response: Response) -> None:
    if response.status >= 500 or response.status == 429:
        action = Action.RETRY if response.status == 429 else Action.UNKNOWN
        raise ALERT.error(f"http_{response.status}", action, params={"status": response.status})
    if response.status >= 300:
        raise ALERT.error(f"http_{response.status}", params={"status": response.status})
    code = _read_errcode(response)
    if code:  # a robot behind a proxy, or a service with the same answers
        action = Action.WAIT if code == 45009 else Action.UNKNOWN if code == -1 else Action.PERMANENT
        raise ALERT.error(code, action, retry_after=60)


def _read_errcode(response: Response) -> int:
    """Return the number that a robot names; 0 where the answer has none, as those of other receivers, which took the alert."""
    try:
        answer: Any = response.json()
        return int(answer.get("errcode") or 0) if isinstance(answer, dict) else 0
    except (ValueError, TypeError, OverflowError):
        return 0
