"""The statement that finds the endpoints that want an event."""

from __future__ import annotations

from typing import NamedTuple

from bridge.models import WebhookEndpoint
from bridge.runtime.db.prepared import Statement
from bridge.runtime.db.tables import Table


class SubscribedEndpoint(NamedTuple):
    """An endpoint that wants an event. account_id: the only account whose events it gets; None: of all accounts."""

    id: int
    account_id: int | None


ENDPOINT = Table(WebhookEndpoint, "endpoint", SubscribedEndpoint._fields)
# Return the enabled endpoints that want this event, in the order they were made. Uses no index: there are few endpoints.
SUBSCRIBED_ENDPOINTS = Statement(
    SubscribedEndpoint,
    """
SELECT id, account_id FROM bridge_webhookendpoint WHERE enabled AND %(event)s::text = ANY(events) ORDER BY id""",
)
