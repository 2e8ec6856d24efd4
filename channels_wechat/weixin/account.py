"""What Official Accounts and Mini Programs have in common: the callback, customer-service messages, media, token and quotas.

A peer id is a user's OpenID, good for this account only. There are no groups.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import (
    Callbacks,
    Downloads,
    Forgets,
    Quotas,
    ReplyWindows,
    Tokens,
    Typing,
    Uploads,
)
from channels_wechat.contract.errors import CallbackRefused, ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Action, Cause
from channels_wechat.contract.filetypes import recognise
from channels_wechat.contract.messages import Limit, Payload, Receipt, Reception, Upload
from channels_wechat.contract.unreadable import read_or_kept, unreadable_body
from channels_wechat.weixin import parsing
from channels_wechat.weixin.api import WeixinApi
from channels_wechat.weixin.callback import SUCCESS, CallbackCodec, read
from channels_wechat.weixin.errors import WEIXIN
from channels_wechat.weixin.rendering import LABEL, MessageTypes, merged, suffix_of, with_handle
from channels_wechat.wire.http import file_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import Answer, Content, MediaItem, Outgoing, Peer, Quota, Token

SEND = "cgi-bin/message/custom/send"
TYPING = "cgi-bin/message/custom/typing"
VOICE_TOO_LONG = "45007"
UPLOAD = "cgi-bin/media/upload"
# Keys of the accounts whose interface does not know the AI label; for this process's life.
_unlabelled: set[str] = set()


class WeixinAccount(Callbacks, Tokens, Uploads, Downloads, Forgets, ReplyWindows, Typing, Quotas):
    """Base of the two kinds; `repertoire` says what each can say."""

    explanations = WEIXIN
    default_api_base_url = "https://api.weixin.qq.com"
    # Two reply windows full.
    max_parts = 10
    receives_from = frozenset({"direct"})
    quota_paths: ClassVar[tuple[str, ...]] = (SEND, TYPING, UPLOAD, "cgi-bin/media/get")
    repertoire: ClassVar[MessageTypes]

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["app_id"])

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Of a new account; the platform may grant more or less, which `quota` tells. What one person may get is a window's matter."""
        return (Limit("day", 500_000, 24 * 3600, "account", _("messages a day")),)

    @cached_property
    def _api(self) -> WeixinApi:
        return WeixinApi(self.http, self.base_url, self.tokens)

    @cached_property
    def _gate(self) -> CallbackCodec:
        stored = self.identity.credentials
        return CallbackCodec(stored["app_id"], stored["token"], stored.get("encoding_aes_key") or "", stored["mode"])

    # -- callbacks (facts 2) ----------------------------------------------------------------------------------------------

    def challenge(self, query: Mapping[str, str]) -> Answer:
        return self._gate.challenge(query)

    def parse(self, query: Mapping[str, str], body: bytes) -> Reception:
        plain = self._gate.open(query, body)
        try:
            node = read(plain)
        except CallbackRefused:
            return Reception((unreadable_body(plain),))
        return Reception((read_or_kept(partial(parsing.read, node, plain), plain),))

    def acknowledge(self, query: Mapping[str, str], reception: Reception) -> Answer:
        return SUCCESS

    # -- sending (facts 3.1, 3.3) -----------------------------------------------------------------------------------------

    def render(self, content: Content) -> list[Payload]:
        return self.repertoire.render(content, self.identity.sentences)

    def send(self, outgoing: Outgoing) -> Receipt:
        """The platform gives no message id and has no check for repetitions."""
        if outgoing.peer.kind != "direct":
            raise WEIXIN.error("no_groups")
        body = {"touser": outgoing.peer.id, **with_handle(outgoing.payload, outgoing.handle)}
        bare = {name: value for name, value in body.items() if name != LABEL}
        known = self.identity.key not in _unlabelled
        answer, without = self._api.say(SEND, body if known else bare, bare)
        if without:
            _unlabelled.add(self.identity.key)
        return Receipt(note=Cause("unlabelled") if without else NO_CAUSE, response=answer)

    def instead(self, payload: Payload, error: ChannelError) -> Payload | None:
        """WeChat takes no files here: a line tells of a voice message of more than a minute."""
        if error.code != VOICE_TOO_LONG or payload.body.get("msgtype") != "voice":
            return None
        return Payload({"msgtype": "text", "text": {"content": self.identity.sentences.get("voice_too_long")}})

    def merge(self, first: Payload, second: Payload, *, apart: bool) -> Payload | None:
        return merged(first, second, "\n\n" if apart else "")

    def show_typing(self, peer: Peer) -> None:
        self._api.call("POST", TYPING, json={"touser": peer.id, "command": "Typing"}, harmless=True)

    # -- media (facts 8) --------------------------------------------------------------------------------------------------

    def upload(self, file: Upload) -> str:
        """Under a plain name: the user's own is nobody's business, and only plain ones are sure to pass."""
        suffix = suffix_of(file.kind, file.name, file.mime)
        if file.kind not in self.repertoire.files or not suffix:
            raise WEIXIN.error("file_not_taken")
        fields = {"media": (f"file.{suffix}", file.content, file.mime or "application/octet-stream")}
        answer = self._api.call("POST", UPLOAD, query={"type": file.kind}, fields=fields, harmless=True)
        if not (handle := answer.get("media_id")):
            raise WEIXIN.error("no_media_id", max_tries=2)
        return str(handle)

    def download(self, item: MediaItem) -> Upload:
        answer = self._api.download(item.handle)
        name = file_name(answer.headers.get("Content-Disposition", "")) or item.name
        mime = recognise(answer.body, name, answer.headers.get("Content-Type", "") or item.mime).mime
        return Upload(item.kind, name, mime, answer.body)

    # -- the account (facts 1 and 12) -------------------------------------------------------------------------------------

    def fetch_token(self) -> Token:
        stored = self.identity.credentials
        return self._api.fetch_token(stored["app_id"], stored["app_secret"])

    def quota(self, path: str) -> Quota:
        return self._api.quota(path)

    def clear_quotas(self) -> None:
        self._api.clear_quotas(self.identity.credentials["app_id"])

    def test(self) -> list[str]:
        """Asks for the counter of messages: a wrong secret and an address that is not allowed (40164) come out as their own errors."""
        works = [gettext("WeChat accepts the AppID and the AppSecret, and calls from this server's IP address.")]
        try:
            quota = self.quota(SEND)
        except ChannelError as error:
            if error.action is not Action.PERMANENT:
                raise
            return [*works, gettext("WeChat does not tell how many messages may be sent today: %s") % error]
        counts = {"left": quota.left, "limit": quota.limit}
        return [*works, gettext("%(left)d of %(limit)d customer-service messages are left for today.") % counts]
