"""WeCom self-built app: one-to-one with members, notices to many, and group chats that the app makes itself.

A peer id of kind "direct" is a member's user id, several joined by `|`, `@all` (everyone in the app's visible scope), `party:1|2`
(departments) or `tag:1|2`; of kind "group", the chat id of a group that this app made. It hears only single members. A customer's id is
a peer too: WeCom lets the app say a welcome to a new customer, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Callbacks, EventReplies, Groups, Names, Recall, Tokens
from channels_wechat.contract.customer_messages import CreatedMessage, CustomerMessages
from channels_wechat.contract.directory import Directory
from channels_wechat.contract.errors import CallbackRefused, ChannelError
from channels_wechat.contract.explanations import Cause, all_of
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import (
    HANDLE,
    Ability,
    Answer,
    Group,
    Limit,
    Payload,
    Receipt,
    Reception,
    Token,
)
from channels_wechat.contract.unreadable import read_or_kept, unreadable_body
from channels_wechat.wecom import person_ids
from channels_wechat.wecom.app import customer_messages, directory, parsing
from channels_wechat.wecom.app.credentials import WeComAppCredentials
from channels_wechat.wecom.app.rendering import CHECKS, render
from channels_wechat.wecom.errors import WECOM_APP, for_linked_member
from channels_wechat.wecom.files import MOST, media_type
from channels_wechat.wecom.knocks import knocks_in
from channels_wechat.wecom.media import WeComMedia
from channels_wechat.wire import xml
from channels_wechat.wire.callback_crypto import Cipher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.customer_messages import CustomerMessage
    from channels_wechat.contract.directory import DirectoryPage, DirectoryPart
    from channels_wechat.contract.messages import Content, Outgoing, Peer, Upload

VOICE_TOO_LONG = "45007"
# Seconds for which message/send swallows a repetition; the platform's default, at most 14400.
REPEAT_SECONDS = 1800
NOT_IN_GROUPS = frozenset({"template_card", "miniprogram_notice"})
RECIPIENTS = {"touser": 1000, "toparty": 100, "totag": 100}
# Events of the whole company that carry the id of a system app (page 95039: 2000004) instead of ours.
COMPANY_EVENTS = frozenset({"msgaudit_notify"})
# user/get does not tell these: no such member, out of scope, no right.
NAMELESS = frozenset({"60111", "50002", "60011"})
CUSTOMERS_CONFIRMED = _(
    "WeCom lets an app say a welcome to a new customer, and nothing else: send a message for customers from the account's page, which a "
    "member confirms."
)
CHAT_ID = re.compile(r"[0-9a-zA-Z]{0,32}")


class WeComApp(Callbacks, Tokens, WeComMedia, Names, Directory, CustomerMessages, Groups, Recall, EventReplies):
    kind = "wecom_app"
    label = _("WeCom self-built app")
    Credentials = WeComAppCredentials
    explanations = WECOM_APP
    default_api_base_url = "https://qyapi.weixin.qq.com"
    receives_from = frozenset({"direct"})
    ids_in_any_case = True
    content_kinds = (*MOST, *CHECKS)
    text_options = ("safe",)
    # Page 90454, for each interface of the company.
    most_attachments = customer_messages.MOST_ATTACHMENTS
    directory_limits = (
        Limit("directory-minute", 10_000, 60, "account", _("reads of the directory a minute")),
        Limit("directory-hour", 150_000, 3600, "account", _("reads of the directory an hour")),
    )
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(
            _("Receive messages of members"),
            True,
            _("text, pictures, voice, video, places and links; WeCom passes on no files"),
        ),
        Ability(
            _("Receive group messages"),
            False,
            _("WeCom does not pass group messages to an app: use an AI bot for that"),
        ),
        Ability(
            _("Receive messages of WeChat users outside the company"), False, _("that needs WeChat customer service")
        ),
        Ability(
            _("Send first (proactive) to members"),
            True,
            _("to those in the app's visible scope, also to departments and tags"),
        ),
        Ability(
            _("Send to group chats"),
            True,
            _("only to groups that this app made; its visible scope must be the root department"),
        ),
        Ability(
            _("Send pictures, voice, video and files"),
            True,
            _("up to 20 MB; what WeCom does not show goes out as a file"),
        ),
        Ability(
            _("Welcome new customers"),
            True,
            _(
                "once, by the account's welcome, when a customer adds a member; nothing else can be said to customers at will"
            ),
        ),
        Ability(
            _("Send messages to customers and customer groups"),
            True,
            _(
                "from the account's page or by the API; nothing goes out until the named member confirms it in their client"
            ),
        ),
        Ability(_("Send cards with buttons"), True, _("to members only, not to groups")),
        Ability(_("Recall a message"), True, _("within 24 hours, one to one; it stays visible in WeChat")),
        Ability(
            _("Know names of members, customers and their groups"),
            True,
            _("those that WeCom shows to the app; read once a day, and when WeCom tells of a change"),
        ),
        Ability(_("Stream an answer"), False, _("answers arrive whole")),
        Ability(_("Know whether a message was read"), False),
    )

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return f"{credentials['corp_id']}/{credentials['agent_id']}"

    @classmethod
    def person_id(cls, user_id: str) -> str:
        return person_ids.person_id(user_id)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Page 90454. The 20 000 person-times a minute of appchat lie above the 10 000 calls, so they never bind.

        What a member gets in groups is limited for all groups together; counted for each group, it binds no group that is alone.
        """
        seats = self.identity.credentials.get("seats")
        daily = (
            (Limit("day", seats * 200, 24 * 3600, "account", _("messages a day, 200 for each seat")),) if seats else ()
        )
        return (
            Limit("member-minute", 30, 60, "direct", _("messages a minute to one member")),
            Limit("member-hour", 1000, 3600, "direct", _("messages an hour to one member")),
            Limit("group-minute", 200, 60, "group", _("messages a minute to one group")),
            Limit("group-day", 10_000, 24 * 3600, "group", _("messages a day to one group")),
            Limit("minute", 10_000, 60, "account", _("calls a minute, for the whole company")),
            Limit("hour", 150_000, 3600, "account", _("calls an hour, for the whole company")),
            *daily,
        )

    @cached_property
    def _cipher(self) -> Cipher:
        stored = self.identity.credentials
        return Cipher(stored["token"], stored["encoding_aes_key"], stored["corp_id"])

    @property
    def _agent_id(self) -> int:
        return int(self.identity.credentials["agent_id"])

    def surface(self, peer: Peer) -> str:
        markdown = self.identity.credentials.get("format") == "markdown"
        shown = (
            "Markdown is shown, but only headings, bold, links, inline code and quotes: no tables, lists or pictures."
            if markdown
            else "Only plain text is shown: Markdown marks are removed before sending."
        )
        where = (
            "a group chat made by this app; members' answers there cannot be heard"
            if peer.kind == "group"
            else "a one-to-one chat"
        )
        files = "Files up to 20 MB can be sent; JPG and PNG are shown as pictures, MP4 up to 10 MB as video."
        return f"You write to members of a company in WeCom (企业微信), in {where}. {shown} Long answers are cut into parts. {files}"

    # -- callbacks (pages 90238 to 90240) ---------------------------------------------------------------------------------

    def challenge(self, query: Mapping[str, str]) -> Answer:
        return Answer(self._cipher.open(query, query.get("echostr", "")))

    def parse(self, query: Mapping[str, str], body: bytes) -> Reception:
        envelope = xml.parse(body)
        plain = self._cipher.open(query, word(envelope, "Encrypt"))
        try:
            node = xml.parse(plain)
        except CallbackRefused:
            return Reception((unreadable_body(plain),))
        agent, event = word(node, "AgentID"), word(node, "Event")
        if agent not in ("", str(self._agent_id)) and event not in COMPANY_EVENTS:
            text = _("The callback is for another app of the company: its callback URL belongs to this account.")
            raise CallbackRefused(403, "agent", text)
        return Reception((read_or_kept(partial(parsing.read, node, plain), plain),), knocks=knocks_in(node))

    # -- sending (pages 90236 and 90248) ----------------------------------------------------------------------------------

    def render(self, content: Content) -> list[Payload]:
        return render(content, self.identity.credentials.get("format") == "markdown", self.identity.sentences)

    def instead(self, payload: Payload, error: ChannelError) -> Payload | None:
        """A voice message of more than a minute goes as a file."""
        too_long = error.code == VOICE_TOO_LONG and payload.file and payload.body.get("msgtype") == "voice"
        more = {name: value for name, value in payload.body.items() if name == "safe"}
        return Payload({"msgtype": "file", "file": {"media_id": HANDLE}, **more}, payload.file) if too_long else None

    def cannot_push(self, peer: Peer) -> _StrOrPromise:
        return CUSTOMERS_CONFIRMED if is_customer(peer) else ""

    def repeat_window(self, peer: Peer, payload: Payload) -> int:
        """Only message/send has such a check."""
        return REPEAT_SECONDS if peer.kind == "direct" and not is_customer(peer) else 0

    def send(self, outgoing: Outgoing) -> Receipt:
        if is_customer(outgoing.peer):
            return self._send_welcome(outgoing)
        peer, body = outgoing.peer, dict(outgoing.payload.body)
        kind = body["msgtype"]
        if outgoing.payload.file:
            body[kind] = {**body[kind], "media_id": outgoing.handle}
        if peer.kind == "group":
            if kind in NOT_IN_GROUPS:
                raise WECOM_APP.error("no_cards_in_groups")
            return Receipt(response=self._api.call("POST", "cgi-bin/appchat/send", json={"chatid": peer.id, **body}))
        if outgoing.check_repeats:
            body |= {"enable_duplicate_check": 1, "duplicate_check_interval": REPEAT_SECONDS}
        agent = {} if kind == "miniprogram_notice" else {"agentid": self._agent_id}
        try:
            answer = self._api.call("POST", "cgi-bin/message/send", json={**recipients(peer.id), **agent, **body})
        except ChannelError as error:
            if "/" in peer.id:
                raise for_linked_member(error) from error
            raise
        return Receipt(str(answer.get("msgid", "")), left_out(answer), answer)

    def _send_welcome(self, outgoing: Outgoing) -> Receipt:
        """Page 92137: one message by the code of the event that told of the new customer, within 20 seconds."""
        text = str(outgoing.payload.body.get(outgoing.payload.body["msgtype"], {}).get("content", ""))
        if not outgoing.peer.reply or not text:
            raise WECOM_APP.error("customer_only_welcomed")
        body = {"welcome_code": outgoing.peer.reply, "text": {"content": text}}
        return Receipt(response=self._api.call("POST", "cgi-bin/externalcontact/send_welcome_msg", json=body))

    def recall(self, remote_id: str) -> None:
        """Page 94867: within 24 hours; 40058 for a message of another app."""
        self._api.call("POST", "cgi-bin/message/recall", json={"msgid": remote_id}, harmless=True)

    def update_template_card(
        self, response_code: str, change: Mapping[str, Any], users: tuple[str, ...] = ()
    ) -> Receipt:
        """Page 94888. change: {"button": {"replace_name": …}} or {"template_card": {…}}; users: for whom, all when empty.

        The response code comes with a card's event (its `Peer.reply`), is good for 72 hours and for one call.
        """
        whom = {"userids": list(users)} if users else {"atall": 1}
        body = {**whom, "agentid": self._agent_id, "response_code": response_code, **change}
        answer = self._api.call("POST", "cgi-bin/message/update_template_card", json=body)
        return Receipt(note=left_out(answer), response=answer)

    # -- people and groups (pages 90196, 90244 to 90247) ------------------------------------------------------------------

    def name_of(self, user_id: str) -> str:
        """Customers are named by the directory; user/get knows none of their ids."""
        if person_ids.is_outside(user_id):
            return ""
        try:
            return str(self._api.call("GET", "cgi-bin/user/get", query={"userid": user_id}).get("name", ""))
        except ChannelError as error:
            if error.code in NAMELESS:
                return ""
            raise

    def read_page(self, part: DirectoryPart, cursor: str) -> DirectoryPage:
        return directory.read_page(self._api, part, cursor)

    def read_entry(self, part: DirectoryPart, entry_id: str) -> DirectoryPage:
        return directory.read_entry(self._api, part, entry_id)

    def check_customer_message(self, message: CustomerMessage, files: int = 0) -> None:
        customer_messages.check_message(message, files)

    def upload_attachment(self, file: Upload) -> Mapping[str, Any]:
        """What WeCom takes as neither a picture nor a video goes as a file."""
        kind = media_type(file.kind, file.name, file.mime, len(file.content))
        kind = kind if kind in ("image", "video") else "file"
        return {"msgtype": kind, kind: {"media_id": self.upload(replace(file, kind=kind))}}

    def create_customer_message(self, message: CustomerMessage) -> CreatedMessage:
        body = customer_messages.build_request(message)
        answer = self._api.call("POST", "cgi-bin/externalcontact/add_msg_template", json=body)
        return CreatedMessage(str(answer.get("msgid", "")), tuple(map(str, answer.get("fail_list") or ())), answer)

    def create_group(self, name: str, members: tuple[str, ...], owner: str = "", group_id: str = "") -> str:
        """The group appears to its members only with the first message. Raises ChannelError."""
        _check_group(name, group_id)
        if not 2 <= len(members) <= 2000:
            raise WECOM_APP.error("group_size")
        body = {"name": name, "owner": owner, "userlist": list(members), "chatid": group_id}
        answer = self._api.call("POST", "cgi-bin/appchat/create", json={k: v for k, v in body.items() if v})
        return str(answer.get("chatid", ""))

    def update_group(
        self, group_id: str, *, name: str = "", owner: str = "", add: tuple[str, ...] = (), remove: tuple[str, ...] = ()
    ) -> None:
        _check_group(name, group_id)
        body = {"chatid": group_id, "name": name, "owner": owner, "add_user_list": add, "del_user_list": remove}
        self._api.call("POST", "cgi-bin/appchat/update", json={k: v for k, v in body.items() if v}, harmless=True)

    def get_group(self, group_id: str) -> Group:
        answer = self._api.call("GET", "cgi-bin/appchat/get", query={"chatid": group_id}).get("chat_info") or {}
        chat_id, name, owner = (str(answer.get(key, "")) for key in ("chatid", "name", "owner"))
        return Group(chat_id, name, owner, tuple(map(str, answer.get("userlist") or ())))

    # -- the account ------------------------------------------------------------------------------------------------------

    def fetch_token(self) -> Token:
        stored = self.identity.credentials
        return self._api.fetch_token(stored["corp_id"], stored["secret"])

    def test(self) -> list[str]:
        """Page 90227. A wrong secret, an untrusted address (60020) and a wrong agent id each come out as their own error."""
        app = self._api.call("GET", "cgi-bin/agent/get", query={"agentid": str(self._agent_id)})
        if app.get("close"):
            raise WECOM_APP.error("app_disabled")
        return [
            gettext("WeCom accepts the secret and gave an access token."),
            gettext("WeCom trusts this server's IP address."),
            gettext("The AgentId belongs to the app “%(name)s”.") % {"name": app.get("name", "")},
        ]


def is_customer(peer: Peer) -> bool:
    return peer.kind == "direct" and person_ids.is_outside(peer.id)


def recipients(peer_id: str) -> dict[str, str]:
    """The fields of message/send that a peer id stands for. Raises ChannelError when it names too many."""
    prefix, colon, ids = peer_id.partition(":")
    name = {"party": "toparty", "tag": "totag"}.get(prefix) if colon else None
    found = {name: ids} if name else {"touser": peer_id}
    for field, value in found.items():
        if value.count("|") >= RECIPIENTS[field]:
            raise WECOM_APP.error("too_many_recipients")
    return found


def left_out(answer: Mapping[str, Any]) -> Cause:
    """Whom WeCom did not reach although it took the message; ids come back in lower case."""
    named = {name: _ids(answer.get(name)) for name in ("invaliduser", "invalidparty", "invalidtag", "unlicenseduser")}
    return all_of("left_out", [Cause(name, {"ids": ids}) for name, ids in named.items() if ids])


def _ids(value: Any) -> str:
    """message/send joins ids by `|`, update_template_card gives a list."""
    found = value if isinstance(value, list) else str(value or "").split("|")
    return ", ".join(str(part) for part in found if part)


def _check_group(name: str, group_id: str) -> None:
    if len(name) > 50:
        raise WECOM_APP.error("group_name_too_long")
    if not CHAT_ID.fullmatch(group_id):
        raise WECOM_APP.error("group_id")
