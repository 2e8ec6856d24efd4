"""The other side of a webhook account: what a gateway signs, and the channel that it speaks to."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64decode, b64encode
from typing import Any

from channels_wechat.contract.messages import Identity, Inbound
from channels_wechat.webhook_account.channel import WebhookAccount
from channels_wechat.wire.http import Http
from tests.support.factories import OWN_FIELDS

INBOUND, OUTBOUND = OWN_FIELDS["inbound_secret"], OWN_FIELDS["outbound_secret"]
OTHER = "whsec_QW5vdGhlciBzZWNyZXQgb2YgMjQgYnl0ZXMgb3I="
KEY = "00000000-0000-4000-8000-000000000001"


def channel(
    address: str = "https://gateway.example/deliveries", *, guarded: bool = True, **fields: Any
) -> WebhookAccount:
    """guarded: addresses that stand in messages may not lead to this machine."""
    credentials, here = {**OWN_FIELDS, "address": address, **fields}, ["127.0.0.1:*"]
    http = Http(here, allowed_in_messages=[] if guarded else here)
    return WebhookAccount(Identity(KEY, "own-gateway", credentials), http)


def signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """As the specification says, and without the library that the bridge uses."""
    key = b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{b64encode(digest).decode()}"


def headers(body: bytes, secret: str = INBOUND, webhook_id: str = "wh-1", age: float = 0) -> dict[str, str]:
    timestamp = str(int(time.time() - age))
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(secret, webhook_id, timestamp, body),
    }


def message(**fields: Any) -> dict[str, Any]:
    """A text of a person in a group; a field that is None is left out."""
    usual = {
        "type": "message",
        "id": "m-1",
        "conversation": {"kind": "group", "id": "room-7", "title": "Support"},
        "sender": {"id": "ann", "name": "Ann"},
        "text": "hello",
    }
    return {name: value for name, value in {**usual, **fields}.items() if value is not None}


def parse(event: Any, webhook_id: str = "wh-1", **fields: Any) -> Inbound:
    """Posted and read. event: an object, or the bytes of a body."""
    body = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
    (inbound,) = channel(**fields).parse(headers(body, webhook_id=webhook_id), body).inbound
    return inbound
