"""Gateways, their two secrets and what they have taken, in memory; and their signatures (standardwebhooks.com), written on its own."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.sealed import Sealed
from channels_wechat.simulator.core.state import JSON, World

KEEP = 10_000  # deliveries whose webhook-id is known again
TOLERANCE_SECONDS = 300


@dataclass
class Gateway:
    """inbound_secret signs what it posts to `callback_url`, outbound_secret what it takes. answers_id: names an id for each message."""

    name: str
    callback_url: str = ""
    inbound_secret: str = field(default="", repr=False)
    outbound_secret: str = field(default="", repr=False)
    answers_id: bool = True

    @property
    def id(self) -> str:
        return f"own:{self.name}"


def signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def is_authentic(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not webhook_id or not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    return signature(secret, webhook_id, timestamp, body) in headers.get("webhook-signature", "").split()


class GatewayEnvelope:
    """How a gateway posts: signed anew at each try, under the id of the event."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def seal(self, plain: bytes, openid: str = "") -> Sealed:
        webhook_id, timestamp = str(json.loads(plain)["id"]), str(int(time.time()))
        signed = signature(self._gateway.inbound_secret, webhook_id, timestamp, plain)
        headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signed}
        return Sealed({}, plain, "application/json", headers)

    def verification(self, echo: str) -> dict[str, str]:
        """Nothing of the query says who asks."""
        return {}

    def open_reply(self, body: bytes, nonce: str) -> bytes:
        return body


class GatewayWorld:
    def __init__(self, world: World) -> None:
        self.world = world
        self.gateways: dict[str, Gateway] = {}
        # Gateway and webhook-id → the answer that was given.
        self.taken: Recent[tuple[str, str], JSON] = Recent(KEEP)

    def gateway(self, name: object) -> Gateway:
        found = self.gateways.get(str(name))
        if found is None:
            raise ControlError("`own` must be the name of a gateway")
        return found
