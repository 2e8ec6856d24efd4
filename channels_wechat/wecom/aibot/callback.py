"""WeCom AI bot (智能机器人) by callback URL: it hears one-to-one chats and the group messages that mention it.

It speaks only in answer (page 101031): the first reply opens a stream, the platform polls until a frame says `finish`, for at
most six minutes; for an hour, one more message goes to the address that the question came with (page 101138).
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from channels_wechat.contract.capabilities import Streaming
from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Ability, Answer, Receipt, Reception, message_uuid
from channels_wechat.contract.text import clean_json, sendable_json
from channels_wechat.contract.unreadable import SYSTEM, unreadable_body
from channels_wechat.wecom.aibot import rendering
from channels_wechat.wecom.aibot.bot import FEEDBACK_AND_RECALL, RECEIVES, STREAMS, AIBot, describe_chat
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.aibot.parsing import STREAM_ID, Node
from channels_wechat.wecom.aibot.protocol import read_handle
from channels_wechat.wecom.api import check
from channels_wechat.wire.callback_crypto import Cipher
from channels_wechat.wire.http import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.messages import Content, Inbound, Outgoing, Payload, Peer, Upload


API = "https://qyapi.weixin.qq.com"


class AIBotByCallback(AIBot, Streaming):
    default_api_base_url = API
    # The platform ends a stream six minutes after the message; what is ready later takes the reply address.
    stream_seconds = 340
    reply_seconds = 3600
    # `limits` stays empty: for this mode the platform states none but three answers in progress for each person.
    abilities: ClassVar[tuple[Ability, ...]] = (
        *RECEIVES,
        STREAMS,
        Ability(_("Answer later"), True, _("one more message within an hour, without pictures")),
        Ability(_("Send first (proactive)"), False, _("by callback URL the bot speaks only in answer")),
        Ability(_("Send pictures"), True, _("ten JPG or PNG of up to 10 MB, at the end of the stream")),
        Ability(_("Send files, voice and video"), False, _("a line in the text names what was left out")),
        Ability(_("Send cards with buttons"), True, _("one beside the answer")),
        *FEEDBACK_AND_RECALL,
    )

    @cached_property
    def _cipher(self) -> Cipher:
        """The bot's own corporation sends an empty receiveid."""
        stored = self.identity.credentials
        return Cipher(stored["token"], stored["encoding_aes_key"], "")

    def surface(self, peer: Peer) -> str:
        return (
            f"You are an AI bot in WeCom (企业微信), in {describe_chat(peer)}. You can only answer, never write first. Markdown is shown: "
            "headings, lists, tables, links, code. JPG and PNG pictures up to 10 MB can be sent, other files cannot. A code "
            "block with the info string template_card that holds the JSON of a WeCom template card is shown as a card with "
            "buttons. Keep an answer below 6000 Chinese characters."
        )

    def test(self) -> list[str]:
        text = _now(
            "There is nothing to call: WeCom calls this bot. Mention it in a group, and its last callback shows here."
        )
        return [text]

    # -- callbacks (pages 100719, 101027, 101033) -------------------------------------------------------------------------

    def challenge(self, query: Mapping[str, str]) -> Answer:
        return Answer(self._cipher.open(query, query.get("echostr", "")))

    def parse(self, query: Mapping[str, str], body: bytes) -> Reception:
        encrypted = _object(body).get("encrypt")
        plain = self._cipher.open(query, encrypted if isinstance(encrypted, str) else "")
        try:
            node = _object(plain)
        except CallbackRefused:
            return Reception((unreadable_body(plain),))
        if word(node, "aibotid") not in ("", self._setting("bot_id")):
            raise CallbackRefused(403, "aibotid", _("The callback is for another bot than this account's."))
        if word(node, "msgtype") == "stream":
            return Reception(poll=_stream_id(node))
        return Reception((self.read(node, plain, self.reply_seconds),))

    def acknowledge(self, query: Mapping[str, str], reception: Reception) -> Answer:
        """The platform's retry gets the same stream, because its id is the message's uuid."""
        for inbound in reception.inbound:
            if self.opens_stream(inbound.kind) and inbound.peer.id != SYSTEM:
                stream = message_uuid(self.identity.key, inbound.key).hex
                return self._sealed(query, rendering.first_frame(stream))
            if welcome := self.passive_text(inbound):
                return self._sealed(query, {"msgtype": "text", "text": {"content": welcome}})
        return Answer()

    def passive_text(self, inbound: Inbound) -> str:
        return self.welcome_text(inbound)

    def _sealed(self, query: Mapping[str, str], reply: Mapping[str, Any]) -> Answer:
        """Signed with the nonce and timestamp of the callback, which `parse` has checked."""
        timestamp, nonce = int(query["timestamp"]), query.get("nonce", "")
        ciphertext = self._cipher.seal(encode_json(sendable_json(reply)))
        signature = self._cipher.signature(str(timestamp), nonce, ciphertext)
        answer = {"encrypt": ciphertext, "msgsignature": signature, "timestamp": timestamp, "nonce": nonce}
        return Answer(encode_json(answer), "application/json; charset=utf-8")

    # -- the answer -------------------------------------------------------------------------------------------------------

    def render(self, content: Content) -> list[Payload]:
        return rendering.render(content, self.identity.sentences)

    def frame(
        self,
        query: Mapping[str, str],
        stream: str,
        payload: Payload | None,
        *,
        text: str = "",
        images: tuple[Upload, ...] = (),
        finish: bool = False,
    ) -> Answer:
        return self._sealed(query, rendering.stream(stream, payload, text, images, finish))

    def closing_text(self, reason: str) -> str:
        if reason == "skipped":
            return self.identity.sentences.get("unmapped")
        if reason == "failed":
            return self.identity.sentences.get("failed")
        if reason == "later":
            return self.identity.sentences.get("later")
        if reason in ("silent", "stopped"):
            return self.identity.sentences.get(reason)
        return ""

    def cannot_push(self, peer: Peer) -> _StrOrPromise:
        return "" if peer.reply else WECOM_AIBOT["no_reply_address"].cause

    def send(self, outgoing: Outgoing) -> Receipt:
        """The one message that the reply address takes. A time-out stays unknown: the address may be spent by it."""
        address = outgoing.peer.reply
        if not address or read_handle(address):  # what came over a long connection has no address
            raise WECOM_AIBOT.error("no_reply_address")
        self._check_host(address)
        body, note = rendering.reply(outgoing.payload)
        response = self.http.request("POST", address, json=body, harmless=False, from_message=True)
        answer = check(response, False, address.rpartition("=")[2], WECOM_AIBOT)
        return Receipt(note=note, response=answer)

    def _check_host(self, address: str) -> None:
        """The address came in a message: it may lead to the platform, or to the account's own API address, nowhere else."""
        if _origin(address) not in (_origin(self.default_api_base_url), _origin(self.base_url)):
            raise WECOM_AIBOT.error("reply_host")


def _object(data: bytes) -> Node:
    try:
        value = clean_json(json.loads(data.decode(errors="replace").lstrip("\ufeff \t\r\n"), strict=False))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CallbackRefused(400, "json", _("The body is not a JSON object."))
    return value


def _stream_id(node: Node) -> str:
    """Ours are the hex uuid of the message."""
    stream = word(node, "stream", "id")
    if not STREAM_ID.fullmatch(stream):
        raise CallbackRefused(400, "stream", _("The poll names no stream of ours."))
    return stream


def _origin(address: str) -> tuple[str, str, int] | None:
    """Scheme, host and port, read by the parser of the client that will call; None where that fails."""
    try:
        parts = parse_url(address)
    except LocationParseError:
        return None
    scheme = parts.scheme or ""
    return scheme, parts.host or "", parts.port or {"http": 80, "https": 443}.get(scheme, 0)
