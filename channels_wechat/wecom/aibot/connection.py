"""WeCom AI bot by long connection (page 101463): no address of ours on the internet, and the bot can write first."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.connection import Connection
from channels_wechat.contract.messages import Ability, Limit
from channels_wechat.wecom.aibot import connection_rendering, protocol
from channels_wechat.wecom.aibot.bot import FEEDBACK_AND_RECALL, RECEIVES, STREAMS, AIBot, describe_chat
from channels_wechat.wecom.aibot.serving import BotConnection
from channels_wechat.wire.request_socket import RequestSocket, open_socket

if TYPE_CHECKING:
    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.messages import Content, Payload, Peer


class AIBotByConnection(AIBot, Connection):
    default_api_base_url = "wss://openws.work.weixin.qq.com"
    content_kinds = ("template_card", "image", "voice", "video", "file")
    shows_partials = True
    # The platform takes answers for a day; a minute less, because its clock counts.
    reply_seconds = 24 * 3600 - 60
    abilities: ClassVar[tuple[Ability, ...]] = (
        *RECEIVES,
        Ability(_("Work without an address on the internet"), True),
        STREAMS,
        Ability(_("Answer later"), True, _("within a day by the question, after that as a message of its own")),
        Ability(_("Send first (proactive)"), True, _("where somebody wrote to the bot before: 30 messages a minute")),
        Ability(_("Send pictures"), True, _("JPG and PNG up to 10 MB")),
        Ability(_("Send files, voice and video"), True, _("AMR up to 2 MB, MP4 up to 10 MB, files up to 20 MB")),
        Ability(_("Send cards with buttons"), True, _("after the answer")),
        *FEEDBACK_AND_RECALL,
    )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Answers, frames of streams and messages of its own count together, for each chat."""
        minute, hour = _("messages and frames a minute"), _("messages and frames an hour")
        return (
            Limit("person_minute", 30, 60, "direct", minute),
            Limit("person_hour", 1000, 3600, "direct", hour),
            Limit("group_minute", 30, 60, "group", minute),
            Limit("group_hour", 1000, 3600, "group", hour),
        )

    @property
    def upload_limits(self) -> tuple[Limit, ...]:
        return (
            Limit("uploads_minute", 30, 60, "account", _("uploads a minute")),
            Limit("uploads_hour", 1000, 3600, "account", _("uploads an hour")),
        )

    def surface(self, peer: Peer) -> str:
        return (
            f"You are an AI bot in WeCom (企业微信), in {describe_chat(peer)}. Markdown is shown: headings, lists, tables, links, code. "
            "JPG and PNG pictures and MP4 video up to 10 MB and other files up to 20 MB can be sent. A code block with the "
            "info string template_card that holds the JSON of a WeCom template card is shown as a card with buttons, after "
            "the text. Keep an answer below 6000 Chinese characters."
        )

    def test(self) -> list[str]:
        return [_now("There is nothing to call: the state of the connection shows whether WeCom takes the secret.")]

    def render(self, content: Content) -> list[Payload]:
        return connection_rendering.render(content, self.identity.sentences)

    def instead(self, payload: Payload, error: ChannelError) -> Payload | None:
        return connection_rendering.instead(payload, error)

    async def run(self, session: Session) -> None:
        async with open_socket(self.base_url, self.http.guard) as raw:
            socket = RequestSocket(raw, protocol.find_acknowledged, session.note_frame)
            await BotConnection(self, self.reply_seconds, session, socket).serve()
