"""Signatures as https://www.standardwebhooks.com specifies them, by the library of the specification."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from standardwebhooks import Webhook, WebhookVerificationError

from channels_wechat.contract.errors import CallbackRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ID, TIMESTAMP, SIGNATURE = HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
# What the library tolerates too.
TOLERANCE_SECONDS = 300


def sign(webhook_id: str, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """Return the headers of a request that leaves now. Each secret gives one signature."""
    now, text = datetime.now(UTC), body.decode()
    signatures = [Webhook(secret).sign(webhook_id, now, text) for secret in secrets]
    return {ID: webhook_id, TIMESTAMP: str(int(now.timestamp())), SIGNATURE: " ".join(signatures)}


def check_signature(headers: Mapping[str, str], body: bytes, secrets: Iterable[str]) -> None:
    """Raises CallbackRefused, unless the request was signed by one of the secrets within five minutes."""
    missing = [name for name in HEADERS if not headers.get(name)]
    if missing:
        raise CallbackRefused(403, "unsigned", _("The header %s is missing.") % ", ".join(missing))
    if not _is_recent(headers[TIMESTAMP]):
        text = _("The header webhook-timestamp must be the time of now in Unix seconds, to within five minutes.")
        raise CallbackRefused(403, "stale", text)
    if not any(_is_signed_by(secret, headers, body) for secret in secrets):
        text = _("The signature is not that of the secret of messages over webhook-id, webhook-timestamp and the body.")
        raise CallbackRefused(403, "secret", text)


def _is_recent(timestamp: str) -> bool:
    try:
        return abs(time.time() - float(timestamp)) <= TOLERANCE_SECONDS
    except ValueError:
        return False


def _is_signed_by(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """The library raises ValueError for a header or a body that it cannot read."""
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True
