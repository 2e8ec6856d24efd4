"""How calls to the company's own addresses are signed: https://www.standardwebhooks.com."""

from __future__ import annotations

from typing import TYPE_CHECKING

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

# Seconds to connect, seconds without a byte of the answer: a receiver should take an event and work on it afterwards.
TIMEOUT = (5, 15)


def build_signed_headers(event_id: str, body: bytes, secrets: Iterable[str], at: datetime) -> dict[str, str]:
    """Return the headers that the specification asks for. secrets: `whsec_…`, each gives one signature."""
    signatures = [Webhook(secret).sign(event_id, at, body.decode()) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
