"""Callbacks on the wire: sealed for an app (XML) or an AI bot (JSON), and their passive replies opened (wecom.md 2.3, 6.1)."""

import json
import secrets
import time
from dataclasses import dataclass
from xml.etree import ElementTree

from channels_wechat.simulator import crypto
from channels_wechat.simulator.crypto import CryptoError
from channels_wechat.simulator.state import JSON, Account, App


@dataclass(frozen=True)
class Sealed:
    params: dict[str, str]
    body: bytes
    content_type: str


def signed_params(account: Account, encrypted: str) -> dict[str, str]:
    timestamp, nonce = str(int(time.time())), str(secrets.randbelow(10**10))
    given = crypto.signature(account.token, timestamp, nonce, encrypted)
    return {"msg_signature": given, "timestamp": timestamp, "nonce": nonce}


def seal(account: Account, plain: bytes) -> Sealed:
    """A new nonce, timestamp and random prefix every time, as in the platform's retries."""
    encrypted = crypto.encrypt(account.aes_key, plain, account.receiveid)
    params = signed_params(account, encrypted)
    if isinstance(account, App):
        head: JSON = {"ToUserName": account.corpid, "AgentID": str(account.agentid), "Encrypt": encrypted}
        return Sealed(params, to_xml(head).encode(), "text/xml")
    return Sealed(params, json.dumps({"encrypt": encrypted}).encode(), "application/json")


def open_reply(account: Account, body: bytes, nonce: str) -> bytes:
    """The plaintext of a passive reply, b"" for the empty 200. CryptoError where the platform would ignore it."""
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


def from_xml(body: bytes) -> dict[str, str]:
    """Top-level elements and their text; CryptoError for what is not XML."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 (written by the bridge under test, read in a test tool)
    except ElementTree.ParseError as error:
        raise CryptoError("passive reply is not XML") from error
    return {child.tag: child.text or "" for child in root}


def to_xml(fields: JSON, root: str = "xml") -> str:
    """Strings become CDATA, numbers stay bare, a list repeats its element: the platform's own style."""
    return f"<{root}>" + "".join(_element(name, value) for name, value in fields.items()) + f"</{root}>"


def _element(name: str, value: object) -> str:
    if isinstance(value, dict):
        return to_xml(value, name)
    if isinstance(value, list):
        return "".join(_element(name, item) for item in value)
    if isinstance(value, str):
        safe = value.replace("]]>", "]]]]><![CDATA[>")
        return f"<{name}><![CDATA[{safe}]]></{name}>"
    return f"<{name}>{value}</{name}>"
