"""WeChat customer service (微信客服): people of ordinary WeChat write to the company, one to one (pages 94670 and 94677).

The platform keeps the messages for three days and only says that there are some, at the address of the app that may call the
interface. An answer needs a message of the customer: five within 48 hours. A peer id is the customer's external user id.
"""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Callbacks, EventReplies, Names, Pull, ReplyWindows, Servicers, Tokens
from channels_wechat.contract.errors import CallbackRefused, ChannelError
from channels_wechat.contract.inbound_fields import as_list, word
from channels_wechat.contract.messages import (
    HANDLE,
    Ability,
    Answer,
    Limit,
    Payload,
    Pulled,
    Receipt,
    Reception,
    Servicer,
    ServiceState,
)
from channels_wechat.contract.unreadable import read_or_kept, unreadable_body
from channels_wechat.wecom.app import parsing as notices
from channels_wechat.wecom.errors import WECOM_KF
from channels_wechat.wecom.files import MOST
from channels_wechat.wecom.kf import parsing
from channels_wechat.wecom.kf.credentials import WeComKfCredentials
from channels_wechat.wecom.kf.rendering import CHECKS, merge, render, with_handle
from channels_wechat.wecom.knocks import KIND, knocks_in
from channels_wechat.wecom.media import WeComMedia
from channels_wechat.wire import xml
from channels_wechat.wire.api_answers import whole
from channels_wechat.wire.callback_crypto import Cipher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import Content, Outgoing, Peer, Token

KNOCK_REFUSED = "95007"
# A parameter is not valid. The cursor is the only one that was not checked before.
CURSOR_REFUSED = frozenset({"40035", "40058"})
VOICE_TOO_LONG = "45007"
PAGE_SIZE = 1000
# The platform does not say for how long it knows our message ids; an hour is far below the days that it keeps messages.
REPEAT_SECONDS = 3600
# service_state, in the order of its numbers; a servicer's status.
STATES: tuple[Literal["new", "assistant", "pool", "servicer", "ended"], ...] = (
    "new",
    "assistant",
    "pool",
    "servicer",
    "ended",
)
ON_DUTY = 0
# What may be sent by the code of an event.
BY_CODE = frozenset({"text", "msgmenu"})


class WeComKf(Pull, Callbacks, Tokens, WeComMedia, Names, ReplyWindows, EventReplies, Servicers):
    kind = KIND
    label = _("WeChat customer service (微信客服)")
    Credentials = WeComKfCredentials
    explanations = WECOM_KF
    error_table = WECOM_KF
    default_api_base_url = "https://qyapi.weixin.qq.com"
    receives_from = frozenset({"direct"})
    # Two reply windows full.
    max_parts = 10
    content_kinds = (*MOST, *CHECKS)
    repeats_by_key = True
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(
            _("Receive messages of WeChat users outside the company"),
            True,
            _("text, pictures, voice, video, files, places, links, cards and what they pass on"),
        ),
        Ability(_("Receive group messages"), False, _("customer service is one to one")),
        Ability(_("Answer within 48 hours"), True, _("five messages after each of the customer's")),
        Ability(_("Welcome a customer who opens the chat"), True, _("within 20 seconds, once in 48 hours")),
        Ability(_("Send first (proactive) to customers"), False, _("WeChat allows it only after they write")),
        Ability(
            _("Send pictures, voice, video and files"),
            True,
            _("up to 20 MB; what WeCom does not show goes out as a file"),
        ),
        Ability(_("Send links, Mini Programs, menus and places"), True),
        Ability(_("Hand a conversation over to a human servicer"), True, _("and take it back")),
        Ability(_("Know customers' names"), True, _("their WeChat nicknames")),
        Ability(_("Recall a message"), False),
        Ability(_("Stream an answer"), False, _("answers arrive whole")),
    )

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["open_kfid"])

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Page 90454. What one customer may get is a reply window's matter."""
        return (Limit("minute", 10_000, 60, "account", _("calls a minute, for the whole company")),)

    @cached_property
    def _cipher(self) -> Cipher:
        stored = self.identity.credentials
        return Cipher(stored["token"], stored["encoding_aes_key"], stored["corp_id"])

    @property
    def _open_kfid(self) -> str:
        return str(self.identity.credentials["open_kfid"])

    def surface(self, peer: Peer) -> str:
        where = "You write to a customer in WeChat, in the one-to-one chat of a company's customer service (微信客服)."
        return (
            f"{where} Only plain text is shown: Markdown marks are removed before sending. Long answers are cut into parts of 2000 bytes,"
            " and at most five messages may follow each message of the customer, so keep answers short. Files up to 20 MB can be sent;"
            " JPG and PNG are shown as pictures."
        )

    # -- callbacks and messages (page 94670) ------------------------------------------------------------------------------

    def challenge(self, query: Mapping[str, str]) -> Answer:
        return Answer(self._cipher.open(query, query.get("echostr", "")))

    def parse(self, query: Mapping[str, str], body: bytes) -> Reception:
        """A notice that messages wait is no message itself; anything else that comes here is stored."""
        plain = self._cipher.open(query, word(xml.parse(body), "Encrypt"))
        try:
            node = xml.parse(plain)
        except CallbackRefused:
            return Reception((unreadable_body(plain),))
        if knocks := knocks_in(node):
            return Reception(knocks=knocks)
        return Reception((read_or_kept(partial(notices.read, node, plain), plain),))

    def pull(self, cursor: str, token: str = "") -> Pulled:
        """A token that is refused is left out: without one the platform only answers less often.

        A cursor that the platform does not take leads back to the oldest message that it keeps, of which most are known by their keys.
        """
        try:
            answer = self._sync(cursor, token)
        except ChannelError as error:
            if token and error.code == KNOCK_REFUSED:
                answer = self._sync(cursor, "")
            elif cursor and error.code in CURSOR_REFUSED:
                answer = self._sync("", "")
            else:
                raise
        more = answer.get("has_more") in (1, True, "1")
        return Pulled(parsing.read_page(answer, time.time()), word(answer, "next_cursor") or cursor, more)

    def _sync(self, cursor: str, token: str) -> dict[str, Any]:
        given = {"cursor": cursor, "token": token}
        body = {"open_kfid": self._open_kfid, "limit": PAGE_SIZE, "voice_format": 0}
        body |= {name: value for name, value in given.items() if value}
        return self._api.call("POST", "cgi-bin/kf/sync_msg", json=body, harmless=True)

    # -- sending (pages 94677 and 95122) ----------------------------------------------------------------------------------

    def render(self, content: Content) -> list[Payload]:
        return render(content, self.identity.sentences)

    def instead(self, payload: Payload, error: ChannelError) -> Payload | None:
        """A voice message of more than a minute goes as a file."""
        too_long = error.code == VOICE_TOO_LONG and payload.file and payload.body.get("msgtype") == "voice"
        return Payload({"msgtype": "file", "file": {"media_id": HANDLE}}, payload.file) if too_long else None

    def merge(self, first: Payload, second: Payload, *, apart: bool) -> Payload | None:
        return merge(first, second, "\n\n" if apart else "")

    def repeat_window(self, peer: Peer, payload: Payload) -> int:
        """Each message bears our own id. A code of an event is good for one call, whatever becomes of it."""
        return 0 if peer.reply else REPEAT_SECONDS

    def send(self, outgoing: Outgoing) -> Receipt:
        peer, body = outgoing.peer, with_handle(outgoing.payload, outgoing.handle)
        if peer.kind != "direct":
            raise WECOM_KF.error("no_groups")
        if outgoing.key:
            body["msgid"] = outgoing.key
        if peer.reply and body["msgtype"] not in BY_CODE:
            raise WECOM_KF.error("event_code")
        to = {"code": peer.reply} if peer.reply else {"touser": peer.id, "open_kfid": self._open_kfid}
        path = "cgi-bin/kf/send_msg_on_event" if peer.reply else "cgi-bin/kf/send_msg"
        answer = self._api.call("POST", path, json={**to, **body})
        return Receipt(word(answer, "msgid") or outgoing.key, response=answer)

    # -- human servicers (pages 94669 and 94695) --------------------------------------------------------------------------

    def servicers(self) -> list[Servicer]:
        answer = self._api.call("GET", "cgi-bin/kf/servicer/list", query={"open_kfid": self._open_kfid})
        found = [(word(one, "userid"), whole(one.get("status"))) for one in as_list(answer.get("servicer_list"))]
        return [Servicer(user_id, status == ON_DUTY) for user_id, status in found if user_id]

    def service_state(self, user_id: str) -> ServiceState:
        body = {"open_kfid": self._open_kfid, "external_userid": user_id}
        answer = self._api.call("POST", "cgi-bin/kf/service_state/get", json=body, harmless=True)
        number = whole(answer.get("service_state"))
        is_known = isinstance(number, int) and 0 <= number < len(STATES)
        return ServiceState(STATES[number] if is_known else "ended", word(answer, "servicer_userid"))

    def hand_over(self, user_id: str, servicer: str) -> None:
        self._change_state(
            user_id, "servicer" if servicer else "pool", **({"servicer_userid": servicer} if servicer else {})
        )

    def end_service(self, user_id: str) -> None:
        self._change_state(user_id, "ended")

    def _change_state(self, user_id: str, state: str, **more: str) -> None:
        """The same change once more does nothing else, so it may be repeated."""
        body = {"open_kfid": self._open_kfid, "external_userid": user_id, "service_state": STATES.index(state), **more}
        self._api.call("POST", "cgi-bin/kf/service_state/trans", json=body, harmless=True)

    # -- customers (page 95159) -------------------------------------------------------------------------------------------

    def name_of(self, user_id: str) -> str:
        """Empty for a customer who has not written to this company within 48 hours, whom the platform does not tell."""
        body = {"external_userid_list": [user_id], "need_enter_session_context": 0}
        answer = self._api.call("POST", "cgi-bin/kf/customer/batchget", json=body, harmless=True)
        customers = as_list(answer.get("customer_list"))
        return next((word(one, "nickname") for one in customers if word(one, "external_userid") == user_id), "")

    # -- the account ------------------------------------------------------------------------------------------------------

    def fetch_token(self) -> Token:
        stored = self.identity.credentials
        return self._api.fetch_token(stored["corp_id"], stored["secret"])

    def test(self) -> list[str]:
        """A wrong secret, an untrusted address (60020) and an account of another app each come out as their own error."""
        answer = self._api.call("POST", "cgi-bin/kf/account/list", json={"offset": 0, "limit": 100}, harmless=True)
        accounts = {word(one, "open_kfid"): word(one, "name") for one in as_list(answer.get("account_list"))}
        if self._open_kfid not in accounts:
            raise WECOM_KF.error("no_account")
        return [
            gettext("WeCom accepts the secret and gave an access token."),
            gettext("WeCom trusts this server's IP address."),
            gettext("The ID belongs to the customer-service account “%(name)s”.") % {"name": accounts[self._open_kfid]},
        ]
