"""Callbacks on the wire: sealed for an app (XML) or an AI bot (JSON), and their passive replies opened (wecom.md 2.3, 6.1)."""

import json
import secrets
import time

from channels_wechat.simulator.core import crypto
from channels_wechat.simulator.core.crypto import CryptoError
from channels_wechat.simulator.core.markup import from_xml, to_xml
from channels_wechat.simulator.core.sealed import Sealed
from channels_wechat.simulator.wecom.company import Account, App


class WeComEnvelope:
    def __init__(self, account: Account) -> None:
        self._account = account

    def _signed(self, encrypted: str) -> dict[str, str]:
        timestamp, nonce = str(int(time.time())), str(secrets.randbelow(10**10))
        given = crypto.signature(self._account.token, timestamp, nonce, encrypted)
        return {"msg_signature": given, "timestamp": timestamp, "nonce": nonce}

    def seal(self, plain: bytes, openid: str = "") -> Sealed:
        account = self._account
        encrypted = crypto.encrypt(account.aes_key, plain, account.receiveid)
        params = self._signed(encrypted)
        if isinstance(account, App):
            head = {"ToUserName": account.corpid, "AgentID": str(account.agentid), "Encrypt": encrypted}
            return Sealed(params, to_xml(head).encode(), "text/xml")
        return Sealed(params, json.dumps({"encrypt": encrypted}).encode(), "application/json")

    def verification(self, echo: str) -> dict[str, str]:
        echostr = crypto.encrypt(self._account.aes_key, echo.encode(), self._account.receiveid)
        return self._signed(echostr) | {"echostr": echostr}

    def open_reply(self, body: bytes, nonce: str) -> bytes:
        if not body.strip():
            return b""
        account = self._account
        if isinstance(account, App):
            encrypted, given, timestamp, used = _xml_reply(body)
        else:
            encrypted, given, timestamp, used = _json_reply(body, nonce)
        crypto.check_signature(given, account.token, timestamp, used, encrypted)
        return crypto.decrypt(account.aes_key, encrypted, account.receiveid)


def _xml_reply(body: bytes) -> tuple[str, ...]:
    found = from_xml(body)
    try:
        return tuple(found[name] for name in ("Encrypt", "MsgSignature", "TimeStamp", "Nonce"))
    except KeyError as error:
        raise CryptoError(f"passive reply lacks {error}") from error


def _json_reply(body: bytes, nonce: str) -> tuple[str, ...]:
    try:
        found = json.loads(body)
        encrypted, given, timestamp, used = (found[n] for n in ("encrypt", "msgsignature", "timestamp", "nonce"))
    except (ValueError, KeyError, TypeError) as error:
        raise CryptoError(f"passive reply is malformed: {error!r}") from error
    if not isinstance(timestamp, int):
        raise CryptoError("timestamp must be an integer")
    if used != nonce:
        raise CryptoError("nonce must be the one of the URL")
    return encrypted, given, str(timestamp), used
