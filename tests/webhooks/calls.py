"""What the tests of outgoing webhooks share."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

from bridge.models import Carrier, Delivery, State, Target, WebhookEndpoint
from tests.support.factories import due, work_off

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.channels.harness import Recorded


def verified(request: Recorded, secrets: Iterable[str]) -> bool:
    """As a receiver would, knowing the specification only: any of its secrets fits any of the signatures."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    given = [item.split(",", 1) for item in headers["webhook-signature"].split(" ")]
    keys = [base64.b64decode(secret.split("_", 1)[1], validate=True) for secret in secrets]
    expected = {base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys}
    return fresh and any(version == "v1" and value in expected for version, value in given)


def queued(one: WebhookEndpoint) -> list[Delivery]:
    return list(one.deliveries.order_by("seq"))


def told(one: WebhookEndpoint) -> list[tuple[str, dict[str, Any]]]:
    return [(item.payload["body"]["type"], item.payload["body"]["data"]) for item in queued(one)]


def call(*, again: bool = False) -> None:
    """The worker's part, in this thread; again: what waits for its next attempt is due now."""
    if again:
        due(*Delivery.objects.filter(target=Target.WEBHOOK, state=State.PENDING))
    work_off(carrier=Carrier.WEBHOOK)
