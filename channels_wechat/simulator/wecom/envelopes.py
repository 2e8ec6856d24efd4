"""Callbacks on the wire: sealed for an app (XML) or an AI bot (JSON), and their passive replies opened (wecom.md 2.3, 6.1).

Those of WeChat accounts are made in envelopes_weixin.py.
"""

import json
import secrets
import time

from channels_wechat.simulator.core import crypto
from channels_wechat.simulator.core.crypto import CryptoError
from channels_wechat.simulator.core.markup import from_xml, to_xml
from channels_wechat.simulator.core.sealed import Sealed
from channels_wechat.simulator.core.state import JSON, Account, App, Bot
from channels_wechat.simulator.weixin import envelopes
from channels_wechat.simulator.weixin.accounts import WeixinAccount


def signed_params(account: App | Bot, encrypted: str) -> dict[str, str]:
    timestamp, nonce = str(int(time.time())), str(secrets.randbelow(10**10))
    given = crypto.signature(account.token, timestamp, nonce, encrypted)
    return {"msg_signature": given, "timestamp": timestamp, "nonce": nonce}


def seal(account: Account, plain: bytes, openid: str = "") -> Sealed:
    """A new nonce, timestamp and random prefix every time, as in the platform's retries."""
    if isinstance(account, WeixinAccount):
        return envelopes.seal(account, plain, openid)
    encrypted = crypto.encrypt(account.aes_key, plain, account.receiveid)
    params = signed_params(account, encrypted)
    if isinstance(account, App):
        head: JSON = {"ToUserName": account.corpid, "AgentID": str(account.agentid), "Encrypt": encrypted}
        return Sealed(params, to_xml(head).encode(), "text/xml")
    return Sealed(params, json.dumps({"encrypt": encrypted}).encode(), "application/json")


def verification(account: Account, echo: str) -> dict[str, str]:
    """The query of the console's check of a callback URL; WeChat's echostr is clear in every mode."""
    if isinstance(account, WeixinAccount):
        return envelopes.signed(account) | {"echostr": echo}
    echostr = crypto.encrypt(account.aes_key, echo.encode(), account.receiveid)
    return signed_params(account, echostr) | {"echostr": echostr}


def open_reply(account: Account, body: bytes, nonce: str) -> bytes:
    """The plaintext of a passive reply, b"" for the empty 200. CryptoError where the platform would ignore it."""
    if isinstance(account, WeixinAccount):
        return envelopes.open_reply(account, body)
    if not body.strip():
        return b""
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
