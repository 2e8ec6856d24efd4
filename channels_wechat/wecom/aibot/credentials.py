"""What staff enter for an AI bot, and where in WeCom they find it."""

from __future__ import annotations

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.pasted import PastedField
from channels_wechat.wecom.credentials import CORP_ID, CORP_ID_PLACE
from channels_wechat.wire.callback_credentials import CallbackCredentials, TokenField


class WeComAIBotCredentials(CallbackCredentials):
    field_order = ("bot_id", "bot_name")

    bot_id = PastedField(
        label=_("Bot ID"),
        max_length=128,
        help_text=_(
            "WeCom → Workbench (工作台) → AI bots (智能机器人) → the bot → API mode (API模式), by callback URL (使用URL回调)."
        ),
    )
    bot_name = forms.CharField(
        label=_("Bot name"),
        max_length=64,
        help_text=_("Exactly as it is shown in groups: @name is taken out of what people write."),
    )
    token = TokenField(help_text=_("On the same page as the callback URL."))
    corp_id = PastedField(
        label=_("Corp ID"),
        max_length=64,
        required=False,
        validators=[CORP_ID],
        help_text=format_lazy(
            "{place} {use}",
            place=CORP_ID_PLACE,
            use=_("With it, names are looked up through the company's app account."),
        ),
    )
