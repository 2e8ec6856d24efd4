"""WeChat Mini Program (小程序): one to one with those who open its customer-service chat, the check of content, and subscribe messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import Moderated, Templates
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Ability, Receipt, Template, Verdict
from channels_wechat.weixin import errors, parsing
from channels_wechat.weixin.account import WeixinAccount
from channels_wechat.weixin.credentials import MiniProgramCredentials
from channels_wechat.weixin.errors import WEIXIN
from channels_wechat.weixin.rendering import MINI_PROGRAM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import MediaKind, Outgoing, Payload, Peer

SUBSCRIBE = "cgi-bin/message/subscribe/send"
CHECK_TEXT, CHECK_MEDIA = "wxa/msg_sec_check", "wxa/media_check_async"
# msg_sec_check takes this many characters at once.
CHECK_CHARACTERS = 2500
# What people write: 1 profile, 2 comment, 3 forum, 4 social log.
SCENE = 2
MEDIA_TYPES = {"voice": 1, "image": 2}


class MiniProgram(WeixinAccount, Moderated, Templates):
    kind = "mini_program"
    explanations = errors.MINI_PROGRAM
    label = _("WeChat Mini Program (小程序)")
    Credentials = MiniProgramCredentials
    repertoire = MINI_PROGRAM
    content_kinds = (*MINI_PROGRAM.files, *MINI_PROGRAM.checks)
    quota_paths = (*WeixinAccount.quota_paths, SUBSCRIBE, CHECK_TEXT, CHECK_MEDIA)
    abilities: ClassVar[tuple[Ability, ...]] = (
        Ability(
            _("Receive messages of the customer-service chat"),
            True,
            _("text, pictures and cards of its pages; no voice or video"),
        ),
        Ability(_("Receive group messages"), False),
        Ability(
            _("Answer within 48 hours"),
            True,
            _("five messages after each of the user's, two within a minute after they open the chat"),
        ),
        Ability(_("Send first (proactive) to users"), False, _("only subscribe messages that they agreed to")),
        Ability(_("Send subscribe messages"), True, _("from a template, once for each time the user agreed")),
        Ability(_("Send pictures, links and cards of its pages"), True, _("JPG, PNG, GIF up to 10 MB; no other files")),
        Ability(_("Show that the agent is typing"), True),
        Ability(_("Mark answers as written by an AI"), True, _("in grey under the message")),
        Ability(
            _("Have WeChat check texts, pictures and voice"),
            True,
            _("of people who used the Mini Program within two hours"),
        ),
        Ability(_("Know users' names"), False),
        Ability(_("Recall a message"), False),
        Ability(_("Stream an answer"), False, _("answers arrive whole")),
    )

    def surface(self, peer: Peer) -> str:
        return (
            "You write to a user of a WeChat Mini Program (小程序), in its one-to-one customer-service chat. Only plain text is shown:"
            " Markdown marks are removed before sending. Long answers are cut into parts of 2000 bytes, and at most five messages may"
            " follow each message of the reader, so keep answers short. JPG, PNG and GIF up to 10 MB can be sent; no other files."
        )

    # -- subscribe messages (facts 13.3) ----------------------------------------------------------------------------------

    def uses_window(self, payload: Payload) -> bool:
        return bool(payload.body["msgtype"] != "subscribe")

    def send(self, outgoing: Outgoing) -> Receipt:
        body = outgoing.payload.body
        if body["msgtype"] != "subscribe":
            return super().send(outgoing)
        answer = self._api.call("POST", SUBSCRIBE, json={"touser": outgoing.peer.id, **body["subscribe"]})
        return Receipt(str(answer.get("msgid", "")), response=answer)

    def templates(self) -> list[Template]:
        found = self._api.call("GET", "wxaapi/newtmpl/gettemplate").get("data")
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        names = ("priTmplId", "title", "content", "example")
        return [Template(*(str(row.get(name, "")) for name in names)) for row in rows]

    # -- the check of content (facts 13.5) --------------------------------------------------------------------------------

    def check_text(self, openid: str, text: str) -> Verdict:
        starts = range(0, max(len(text), 1), CHECK_CHARACTERS)
        worst = self._check(openid, text[:CHECK_CHARACTERS])
        for start in starts[1:]:
            if worst.suggest == "risky":
                break
            found = self._check(openid, text[start : start + CHECK_CHARACTERS])
            worst = max(worst, found, key=lambda verdict: parsing.SUGGESTIONS.index(verdict.suggest))
        return worst

    def _check(self, openid: str, text: str) -> Verdict:
        body = {"version": 2, "openid": openid, "scene": SCENE, "content": text}
        return parsing.verdict(self._api.call("POST", CHECK_TEXT, json=body, harmless=True))

    def check_media(self, openid: str, url: str, kind: MediaKind) -> str:
        if kind not in MEDIA_TYPES:
            raise WEIXIN.error("not_checkable")
        body = {"media_url": url, "media_type": MEDIA_TYPES[kind], "version": 2, "scene": SCENE, "openid": openid}
        return str(self._api.call("POST", CHECK_MEDIA, json=body, harmless=True).get("trace_id", ""))

    def file_address(self, raw: Mapping[str, Any]) -> str:
        """Of a picture; a voice has none."""
        return word(raw, "PicUrl")
