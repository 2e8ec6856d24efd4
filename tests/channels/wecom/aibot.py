"""An AI bot account, and the platform's side of its callbacks."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wechatpy.crypto import PrpCrypto

from channels_wechat.contract.messages import Identity, Inbound
from channels_wechat.contract.sentences import ENGLISH, Sentences
from channels_wechat.simulator.core import crypto as platform
from channels_wechat.wecom.aibot.callback import AIBotByCallback
from channels_wechat.wire.http import Http

if TYPE_CHECKING:
    from channels_wechat.contract.messages import Answer, Reception

FIXTURES = Path(__file__).parents[2] / "fixtures" / "wecom_aibot"
TOKEN = "QDG6eK"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
ACCOUNT = "7d3e2f10-5a4b-4c3d-8e9f-0123456789ab"


def bot(
    http: Http | None = None, api_base_url: str = "", sentences: dict[str, str] | None = None, **credentials: Any
) -> AIBotByCallback:
    stored = {"bot_id": "AIBOTID", "bot_name": "RobotA", "token": TOKEN, "encoding_aes_key": KEY, **credentials}
    own, local = Sentences(ENGLISH, sentences or {}), ["127.0.0.1:*"]
    identity = Identity(ACCOUNT, "AIBOTID", stored, api_base_url, own)
    return AIBotByCallback(identity, http or Http(local, allowed_in_messages=local))


def fixture(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return value


def query_for(ciphertext: str, nonce: str = "nonce123") -> dict[str, str]:
    timestamp = str(int(time.time()))
    signature = platform.signature(TOKEN, timestamp, nonce, ciphertext)
    return {"msg_signature": signature, "timestamp": timestamp, "nonce": nonce}


def callback(message: Any) -> tuple[dict[str, str], bytes]:
    """Query and body as the platform sends them; bytes are sent as they are."""
    plain = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode()
    ciphertext = platform.encrypt(KEY, plain, "")
    return query_for(ciphertext), json.dumps({"encrypt": ciphertext}).encode()


def parse(message: Any, **credentials: Any) -> Reception:
    return bot(**credentials).parse(*callback(message))


def heard(name: str, **credentials: Any) -> Inbound:
    reception = parse(fixture(name), **credentials)
    assert reception.poll == ""
    (inbound,) = reception.inbound
    return inbound


def opened(answer: Answer, query: dict[str, str]) -> dict[str, Any]:
    """The passive reply, checked and decrypted without our cipher."""
    assert answer.content_type == "application/json; charset=utf-8"
    sealed = json.loads(answer.body)
    assert sorted(sealed) == ["encrypt", "msgsignature", "nonce", "timestamp"]
    assert sealed["nonce"] == query["nonce"]
    assert type(sealed["timestamp"]) is int
    signed = (TOKEN, str(sealed["timestamp"]), sealed["nonce"], sealed["encrypt"])
    platform.check_signature(sealed["msgsignature"], *signed)
    plain = PrpCrypto(base64.b64decode(KEY + "=")).decrypt(sealed["encrypt"], "")
    value: dict[str, Any] = json.loads(plain)
    return value
