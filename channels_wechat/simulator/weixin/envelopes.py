"""Callbacks of WeChat accounts on the wire: three modes, XML or JSON (facts: official_account.md 2.1, 2.2)."""

import json
import secrets
import time
from xml.etree import ElementTree

from channels_wechat.simulator.core import crypto
from channels_wechat.simulator.core.crypto import CryptoError
from channels_wechat.simulator.core.markup import from_xml, to_xml
from channels_wechat.simulator.core.sealed import Sealed
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.weixin.accounts import WeixinAccount

SUCCESS = (b"", b"success")  # never encrypted, in every mode


class WeixinEnvelope:
    def __init__(self, account: WeixinAccount) -> None:
        self._account = account

    def _signed(self) -> dict[str, str]:
        """Three parts: it says that the platform speaks, and nothing of the body."""
        timestamp, nonce = str(int(time.time())), str(secrets.randbelow(10**10))
        return {
            "signature": crypto.signature(self._account.token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
        }

    def seal(self, plain: bytes, openid: str = "") -> Sealed:
        account = self._account
        kind = "text/xml" if account.format == "xml" else "application/json"
        params = self._signed() | ({"openid": openid} if openid else {})
        if account.mode == "plaintext":
            return Sealed(params, plain, kind)
        encrypted = crypto.encrypt(account.aes_key, plain, account.appid)
        given = crypto.signature(account.token, params["timestamp"], params["nonce"], encrypted)
        params |= {"encrypt_type": "aes", "msg_signature": given}
        return Sealed(params, wrapped(account, plain, encrypted), kind)

    def verification(self, echo: str) -> dict[str, str]:
        """The echostr is clear in every mode."""
        return self._signed() | {"echostr": echo}

    def open_reply(self, body: bytes, nonce: str = "") -> bytes:
        """CryptoError where the user would read that the account is out of service."""
        return open_reply(self._account, body)


def wrapped(account: WeixinAccount, plain: bytes, encrypted: str) -> bytes:
    """In compatible mode the clear fields stand beside the encrypted ones."""
    head: JSON = {"ToUserName": account.original_id, "Encrypt": encrypted}
    if account.format == "json":
        clear = json.loads(plain) if account.mode == "compatible" else {}
        return json.dumps({**clear, **head}, ensure_ascii=False).encode(errors="replace")
    if account.mode == "safe":
        return to_xml(head).encode()
    return plain.removesuffix(b"</xml>") + f"<Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def open_reply(account: WeixinAccount, body: bytes) -> bytes:
    if body.strip() in SUCCESS:
        return b""
    found = from_json(body) if account.format == "json" else from_xml(body)
    if "Encrypt" not in found:
        if account.mode == "safe":
            raise CryptoError("clear passive reply in safe mode")
        return body
    if account.mode == "plaintext":
        raise CryptoError("encrypted passive reply in plaintext mode")
    try:
        encrypted, given, timestamp, nonce = (
            str(found[name]) for name in ("Encrypt", "MsgSignature", "TimeStamp", "Nonce")
        )
    except KeyError as error:
        raise CryptoError(f"passive reply lacks {error}") from error
    crypto.check_signature(given, account.token, timestamp, nonce, encrypted)
    return crypto.decrypt(account.aes_key, encrypted, account.appid)


def from_json(body: bytes) -> JSON:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise CryptoError("passive reply is not JSON") from error
    if not isinstance(found, dict):
        raise CryptoError("passive reply is not a JSON object")
    return found


def reply_fields(account: WeixinAccount, plain: bytes) -> JSON:
    """A clear reply as nested fields; CryptoError for what is not in the account's format."""
    if account.format == "json":
        return from_json(plain)
    try:
        return nested(ElementTree.fromstring(plain))  # noqa: S314 (written by the bridge under test, read in a test tool)
    except ElementTree.ParseError as error:
        raise CryptoError("passive reply is not XML") from error


def nested(element: ElementTree.Element) -> JSON:
    return {child.tag: nested(child) if len(child) else child.text or "" for child in element}
