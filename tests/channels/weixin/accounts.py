"""An Official Account and a Mini Program to test with, and callbacks for them in every form the platform has."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from wechatpy.crypto import WeChatCrypto

from channels_wechat.contract.messages import Identity
from channels_wechat.contract.sentences import Sentences
from channels_wechat.weixin.mini_program import MiniProgram
from channels_wechat.weixin.official_account import OfficialAccount
from channels_wechat.wire.callback_crypto import Cipher, _signature
from channels_wechat.wire.http import Http
from tests.channels.harness import FixedTokens, Recorder

if TYPE_CHECKING:
    from channels_wechat.weixin.account import WeixinAccount

APP, SECRET, TOKEN = "wx5823bf96d3bd56c7", "geheim+/geheim", "QDG6eK"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CREDENTIALS = {"app_id": APP, "app_secret": SECRET, "token": TOKEN, "encoding_aes_key": KEY, "mode": "safe"}
OPENID = "o9AgO5Kd5ggOC-bXrbNODIiE3bGY"


def official_account(
    url: str = "", key: str = "key", sentences: Sentences | None = None, **credentials: object
) -> OfficialAccount:
    stored = {**CREDENTIALS, "answers": "automatic", **credentials}
    identity = Identity(key, APP, stored, url, sentences or Sentences())
    return OfficialAccount(
        identity, Http(["127.0.0.1:*"], allowed_in_messages=["127.0.0.1:*"], timeout=(2, 0.5)), FixedTokens()
    )


def mini_program(url: str = "", key: str = "key", **credentials: object) -> MiniProgram:
    identity = Identity(key, APP, {**CREDENTIALS, **credentials}, url)
    return MiniProgram(
        identity, Http(["127.0.0.1:*"], allowed_in_messages=["127.0.0.1:*"], timeout=(2, 0.5)), FixedTokens()
    )


def tokens_of(channel: WeixinAccount) -> FixedTokens:
    assert isinstance(channel.tokens, FixedTokens)
    return channel.tokens


def clear(at: float | None = None, token: str = TOKEN) -> dict[str, str]:
    """The query of a callback in the clear."""
    timestamp = str(int(time.time() if at is None else at))
    query = {"timestamp": timestamp, "nonce": "nonce", "openid": OPENID}
    return {**query, "signature": _signature(token, timestamp, "nonce")}


def sealed(
    plain: bytes, *, form: str = "xml", shown: bytes = b"", at: float | None = None
) -> tuple[dict[str, str], bytes]:
    """The query and body of an encrypted one, made by our own cipher. shown: what compatible mode leaves in the clear."""
    cipher, query = Cipher(TOKEN, KEY, APP), clear(at)
    encrypted = cipher.seal(plain)
    signature = cipher.signature(query["timestamp"], "nonce", encrypted)
    return {**query, "encrypt_type": "aes", "msg_signature": signature}, envelope(encrypted, form, shown)


def envelope(encrypted: str, form: str, shown: bytes = b"") -> bytes:
    if form == "json":
        return json.dumps({**json.loads(shown or b"{}"), "ToUserName": "gh_1", "Encrypt": encrypted}).encode()
    inner = shown.strip().removeprefix(b"<xml>").removesuffix(b"</xml>")
    return b"<xml>" + inner + f"<Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def sealed_by_wechatpy(plain: str, form: str = "xml") -> tuple[dict[str, str], bytes]:
    import xmltodict

    query = clear()
    reply = WeChatCrypto(TOKEN, KEY, APP).encrypt_message(plain, "nonce", query["timestamp"])
    made: Any = xmltodict.parse(reply)["xml"]
    query |= {"encrypt_type": "aes", "msg_signature": made["MsgSignature"], "timestamp": made["TimeStamp"]}
    return query, envelope(made["Encrypt"], form)


def recorder_of(platform: Recorder, path: str) -> list[Any]:
    return [request for request in platform.requests if request.path == f"/{path}"]
