"""WeChat Official Account (公众号: 订阅号 and 服务号): one to one with its followers, within the windows that they open.

A verified account answers by customer-service messages. Any other answers in the reply to the callback itself, which the platform
repeats twice while it waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Passive, People
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.messages import Ability, Payload, Person
from channels_wechat.text.split import head
from channels_wechat.weixin import errors
from channels_wechat.weixin.account import WeixinAccount
from channels_wechat.weixin.callback import PASSIVE, SUCCESS, reply_xml
from channels_wechat.weixin.credentials import OfficialAccountCredentials
from channels_wechat.weixin.errors import WEIXIN
from channels_wechat.weixin.rendering import OFFICIAL_ACCOUNT, with_handle
from channels_wechat.wire.api_answers import whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.messages import Answer, Inbound, Peer, Reception

STRANGER = "40003"


class OfficialAccount(WeixinAccount, Passive, People):
    kind = "official_account"
    explanations = errors.OFFICIAL_ACCOUNT
    label = _("WeChat Official Account (公众号)")
    Credentials = OfficialAccountCredentials
    repertoire = OFFICIAL_ACCOUNT
    content_kinds = (*OFFICIAL_ACCOUNT.files, *OFFICIAL_ACCOUNT.checks)
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(
            _("Receive messages of followers"),
            True,
            _("text, pictures, voice, video, places, links, menu entries; no files"),
        ),
        Ability(_("Receive group messages"), False, _("Official Accounts cannot join them")),
        Ability(
            _("Answer within 48 hours"),
            True,
            _(
                "verified accounts: five messages after each of the user's, three within a minute after a menu entry or a scan"
            ),
        ),
        Ability(
            _("Answer in the reply to the callback"),
            True,
            _("any account: text of 2,048 bytes within 15 seconds; the user reads the rest by sending 1"),
        ),
        Ability(
            _("Send first (proactive) to followers"),
            False,
            _("WeChat allows it only within the windows that they open"),
        ),
        Ability(
            _("Send pictures, voice and video"),
            True,
            _("verified accounts: JPG, PNG, GIF and MP4 up to 10 MB, AMR and MP3 up to 2 MB; no other files"),
        ),
        Ability(_("Send menus, articles and Mini Program cards"), True, _("verified accounts")),
        Ability(_("Show that the agent is typing"), True, _("verified accounts")),
        Ability(_("Mark answers as written by an AI"), True, _("in grey under the message")),
        Ability(_("Know followers' names"), False, _("WeChat tells only the remark that staff gave in its console")),
        Ability(_("Recall a message"), False),
        Ability(_("Stream an answer"), False, _("answers arrive whole")),
    )

    def surface(self, peer: Peer) -> str:
        where = "You write to a follower of a WeChat Official Account (公众号), in a one-to-one chat."
        shown = "Only plain text is shown: Markdown marks are removed before sending."
        if self.answers == "passive":
            return (
                f"{where} {shown} Answer in a few seconds and at most 600 Chinese characters: what takes longer or is longer,"
                " the reader must ask for by sending 1. No files can be sent."
            )
        return (
            f"{where} {shown} Long answers are cut into parts of 2000 bytes, and at most five messages may follow each message of"
            " the reader, so keep answers short. JPG, PNG, GIF and MP4 up to 10 MB and AMR and MP3 up to 2 MB can be sent; no other files."
        )

    def cannot_push(self, peer: Peer) -> _StrOrPromise:
        return WEIXIN["passive_only"].cause if self.answers == "passive" else ""

    # -- the welcome, and the passive answer (facts 2.6 to 2.8) --------------------------------------------------------

    @property
    def answers(self) -> Literal["messages", "passive", "automatic"]:
        return cast("Literal['messages', 'passive', 'automatic']", self.identity.credentials["answers"])

    def acknowledge(self, query: Mapping[str, str], reception: Reception) -> Answer:
        """Any account may say something in the reply to an event, verified or not."""
        welcome = next(((each, text) for each in reception.inbound if (text := self.passive_text(each))), None)
        return self.passive(query, welcome[0].raw, welcome[1]) if welcome else super().acknowledge(query, reception)

    def passive_text(self, inbound: Inbound) -> str:
        return self.identity.sentences.get("welcome") if inbound.greets and self.takes_passive(inbound.raw) else ""

    def takes_passive(self, raw: Mapping[str, Any]) -> bool:
        """Numbers are text in XML: a time that is a number came as JSON, to which the form of an answer is not known."""
        return isinstance(raw.get("CreateTime"), str)

    def passive(
        self, query: Mapping[str, str], raw: Mapping[str, Any], text: str | Payload, *, handle: str = ""
    ) -> Answer:
        """text: or a payload of `render` with the handle of its file. Of types that have no such form, and of text that is longer
        than WeChat shows, as much as can be shown."""
        body = with_handle(text, handle) if isinstance(text, Payload) else _text(text)
        if body["msgtype"] == "text":
            body = _text(head(body["text"]["content"], self.passive_bytes))
        blank = body["msgtype"] == "text" and not body["text"]["content"].strip()
        if blank or body["msgtype"] not in PASSIVE or not self.takes_passive(raw):
            return SUCCESS
        return self._gate.answer(query, reply_xml(raw, body))

    def spoken(self, payload: Payload) -> str:
        return str(payload.body["text"]["content"]) if payload.body["msgtype"] == "text" else ""

    # -- people (facts 7) -------------------------------------------------------------------------------------------------

    def person(self, user_id: str) -> Person:
        """Since 2021-12-27 the platform tells no nickname: the name is the remark that staff gave, if any."""
        query = {"openid": user_id, "lang": "zh_CN"}
        answer = self._api.call("GET", "cgi-bin/user/info", query=query)
        name = str(answer.get("remark") or answer.get("nickname") or "")
        follows = whole(answer["subscribe"]) == 1 if "subscribe" in answer else None
        return Person(name, follows, str(answer.get("unionid") or ""))

    def name_of(self, user_id: str) -> str:
        try:
            return self.person(user_id).name
        except ChannelError as error:
            if error.code == STRANGER:
                return ""
            raise


def _text(content: str) -> dict[str, Any]:
    return {"msgtype": "text", "text": {"content": content}}
