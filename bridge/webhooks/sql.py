"""The statement by which every event finds the endpoints that are told of it."""

from __future__ import annotations

from typing import NamedTuple

from bridge.models import WebhookEndpoint
from bridge.runtime.db.prepared import Statement
from bridge.runtime.db.tables import Table


class Listening(NamedTuple):
    """account_id: the only account of which it hears; None: of all."""

    id: int
    account_id: int | None


ENDPOINT = Table(WebhookEndpoint, "endpoint", Listening._fields)
# Return the enabled endpoints that want this event, in the order they were made. Uses no index: there are few endpoints.
LISTENING = Statement(
    Listening,
    """
SELECT id, account_id FROM bridge_webhookendpoint WHERE enabled AND %(event)s::text = ANY(events) ORDER BY id""",
)
