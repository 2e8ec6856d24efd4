"""WeCom AI bot (智能机器人): one kind of account with two modes, which exclude each other at WeCom (page 101463).

By callback URL WeCom calls us, and the bot speaks only in answer. Over a long connection we call WeCom, and it can also speak first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.capabilities import ScanToCreate
from channels_wechat.contract.messages import Ability, Scan
from channels_wechat.wecom.aibot import scan
from channels_wechat.wecom.aibot.bot import FEEDBACK_AND_RECALL, RECEIVES, STREAMS, AIBot
from channels_wechat.wecom.aibot.callback import API, AIBotByCallback
from channels_wechat.wecom.aibot.connection import AIBotByConnection
from channels_wechat.wecom.aibot.credentials import CONNECTION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.http_client import HttpClient
    from channels_wechat.contract.messages import ScanCode


class WeComAIBot(AIBot, ScanToCreate):
    """What both modes have in common, as forms and lists of kinds show it; an account's channel is one of the two."""

    default_api_base_url = API
    asked = ("bot_name",)
    scan_text = _("Somebody who may manage AI bots scans the code with WeCom and confirms.")
    content_kinds = AIBotByConnection.content_kinds
    abilities: ClassVar[tuple[Ability, ...]] = (
        *RECEIVES,
        Ability(_("Work without an address on the internet"), True, _("by long connection")),
        STREAMS,
        Ability(
            _("Answer later"), True, _("by long connection within a day; by callback URL one message within an hour")
        ),
        Ability(
            _("Send first (proactive)"),
            True,
            _("by long connection, where somebody wrote to the bot before; by callback URL it speaks only in answer"),
        ),
        Ability(
            _("Send pictures"),
            True,
            _("JPG and PNG up to 10 MB; by callback URL ten of them, at the end of the stream"),
        ),
        Ability(
            _("Send files, voice and video"),
            True,
            _("by long connection: AMR up to 2 MB, MP4 up to 10 MB, files up to 20 MB"),
        ),
        Ability(_("Send cards with buttons"), True),
        *FEEDBACK_AND_RECALL,
    )

    @classmethod
    def mode_class(cls, credentials: Mapping[str, Any]) -> type[Channel]:
        return AIBotByConnection if credentials.get("mode") == CONNECTION else AIBotByCallback

    @classmethod
    def modes(cls) -> tuple[type[Channel], ...]:
        return AIBotByCallback, AIBotByConnection

    @classmethod
    def fetch_scan_code(cls, http: HttpClient, base_url: str = "") -> ScanCode:
        """The API address is that of the long connection: codes are made elsewhere."""
        return scan.fetch_code(http)

    @classmethod
    def find_scanned(cls, http: HttpClient, code: str, typed: str = "", base_url: str = "") -> Scan:
        """A bot that is made so is one with a long connection."""
        bot = scan.find_bot(http, code)
        return Scan("done", {**bot, "mode": CONNECTION}) if bot else Scan("waiting")
