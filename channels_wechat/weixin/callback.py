"""What comes to an Official Account's or Mini Program's address: who may come in, and the passive answer (facts 2.1 to 2.4, 2.8).

The body is XML or JSON, told by its first byte, in the clear or encrypted. A signature in the clear does not cover the body: where
the account's mode promises encryption, a clear body is refused, and of a body that is both only the encrypted part is believed.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import Answer
from channels_wechat.contract.text import clean, clean_json
from channels_wechat.wire import xml
from channels_wechat.wire.callback_crypto import Cipher, check_clear

if TYPE_CHECKING:
    from collections.abc import Mapping

# The word that ends the repetitions without saying anything to the user; it is never encrypted.
SUCCESS = Answer(b"success")
# A byte order mark and white space, in any order, before a body: proxies put them there.
BLANKS = b"\xef\xbb\xbf \t\r\n"
# JavaScript, and so a browser, holds no larger whole numbers than 16 digits: message ids are longer.
LONGEST_NUMBER = 15


class CallbackCodec:
    """One callback address. now: Unix seconds, given by tests only. All methods raise CallbackRefused."""

    def __init__(self, app_id: str, token: str, encoding_aes_key: str, mode: str) -> None:
        self._token, self._mode = token, mode
        self._cipher = Cipher(token, encoding_aes_key, app_id) if encoding_aes_key else None

    def challenge(self, query: Mapping[str, str], *, now: float | None = None) -> Answer:
        """echostr comes in the clear in all modes; some consoles encrypt it as WeCom does."""
        echo = query.get("echostr", "")
        if self._cipher and "msg_signature" in query:
            with suppress(CallbackRefused):
                return Answer(self._cipher.open(query, echo, now=now))
        check_clear(self._token, query, now=now)
        return Answer(echo.encode(errors="replace"))

    def open(self, query: Mapping[str, str], body: bytes, *, now: float | None = None) -> bytes:
        """The message in the clear, for `read`; the same bytes for each repetition of the callback."""
        outer = read(body)
        encrypted = outer.get("Encrypt")
        if not isinstance(encrypted, str) or not encrypted:
            if self._mode != "plaintext":
                text = _(
                    "The message is not encrypted, and this account takes only encrypted ones. Choose the same mode in the console."
                )
                raise CallbackRefused(403, "downgrade", text)
            check_clear(self._token, query, now=now)
            return body
        if self._cipher is None:
            raise CallbackRefused(
                400,
                "mode",
                _("The message is encrypted, and this account has no EncodingAESKey: copy it from the console."),
            )
        return self._cipher.open(query, encrypted, now=now)

    def answer(self, query: Mapping[str, str], reply: str) -> Answer:
        """The reply in XML, encrypted where the callback was."""
        if self._cipher and query.get("encrypt_type") == "aes":
            reply = _envelope(self._cipher, reply)
        return Answer(reply.encode(), "application/xml; charset=utf-8")


def read(body: bytes) -> dict[str, Any]:
    """The message: names → text, whole numbers and nested objects. Raises CallbackRefused."""
    return _read_json(body) if body.lstrip(BLANKS)[:1] == b"{" else xml.parse(body)


def _read_json(body: bytes) -> dict[str, Any]:
    if len(body) > xml.MAX_BYTES:
        raise CallbackRefused(413, "too_large", _("The callback is larger than 1 MiB."))
    try:
        text = body.lstrip(BLANKS).decode("utf-8", "replace")
        found = clean_json(json.loads(text, strict=False, parse_int=_number))
    except (ValueError, RecursionError) as error:
        raise CallbackRefused(400, "json", _("The callback is not the JSON that the platform sends.")) from error
    return dict(found)


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


# --- the passive answer

# Type of message → the element and its children, by their names in a customer-service message.
BRANCHES = {
    "image": ("Image", {"media_id": "MediaId"}),
    "voice": ("Voice", {"media_id": "MediaId"}),
    "video": ("Video", {"media_id": "MediaId", "title": "Title", "description": "Description"}),
    "music": (
        "Music",
        {
            "title": "Title",
            "description": "Description",
            "musicurl": "MusicUrl",
            "hqmusicurl": "HQMusicUrl",
            "thumb_media_id": "ThumbMediaId",
        },
    ),
}
ARTICLE = {"title": "Title", "description": "Description", "picurl": "PicUrl", "url": "Url"}


def reply_xml(raw: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """raw: the message answered; body: a customer-service message (facts 3.1), of a type in `PASSIVE`."""
    kind = body["msgtype"]
    names = {"ToUserName": raw.get("FromUserName"), "FromUserName": raw.get("ToUserName")}
    head = _children(names, {name: name for name in names})
    return f"<xml>{head}<CreateTime>{int(time.time())}</CreateTime>{_leaf('MsgType', kind)}{_branch(kind, body[kind])}</xml>"


PASSIVE = frozenset({"text", "news", *BRANCHES})


def _branch(kind: str, data: Mapping[str, Any]) -> str:
    if kind == "text":
        return _leaf("Content", data.get("content"))
    if kind == "news":
        articles = data["articles"]
        items = "".join(f"<item>{_children(article, ARTICLE)}</item>" for article in articles)
        return f"<ArticleCount>{len(articles)}</ArticleCount><Articles>{items}</Articles>"
    element, names = BRANCHES[kind]
    return f"<{element}>{_children(data, names)}</{element}>"


def _children(data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return "".join(_leaf(element, data.get(name)) for name, element in names.items() if data.get(name))


def _leaf(element: str, value: object) -> str:
    """What XML cannot hold becomes U+FFFD; the end of a CDATA section inside one is cut in two."""
    text = xml.ILLEGAL.sub("\ufffd", clean(str(value or ""))).replace("]]>", "]]]]><![CDATA[>")
    return f"<{element}><![CDATA[{text}]]></{element}>"


def _envelope(cipher: Cipher, reply: str) -> str:
    encrypted, timestamp, nonce = cipher.seal(reply.encode()), str(int(time.time())), secrets.token_hex(8)
    signature = cipher.signature(timestamp, nonce, encrypted)
    return (
        f"<xml>{_leaf('Encrypt', encrypted)}{_leaf('MsgSignature', signature)}"
        f"<TimeStamp>{timestamp}</TimeStamp>{_leaf('Nonce', nonce)}</xml>"
    )
