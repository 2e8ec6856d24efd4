"""What staff enter for an AI bot, and where in WeCom they find it: of each mode only what that mode needs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from channels_wechat.contract.pasted import PastedField
from channels_wechat.wecom.credentials import CORP_ID, CORP_ID_PLACE
from channels_wechat.wire.callback_credentials import CallbackCredentials, EncodingAESKeyField, TokenField

CALLBACK, CONNECTION = "callback", "connection"
# Mode → what it needs beside the bot's id.
NEEDED = {CALLBACK: ("token", "encoding_aes_key"), CONNECTION: ("secret",)}
MISSING = {
    CALLBACK: _("The callback URL needs this. With a long connection, choose that above and enter the secret."),
    CONNECTION: _("The long connection needs the secret, which WeCom shows in its place of Token and EncodingAESKey."),
}


class WeComAIBotCredentials(CallbackCredentials):
    """A form without a mode is of an account that was made when there was the callback URL only."""

    secrets = frozenset({"token", "encoding_aes_key", "secret"})
    sent = frozenset({"secret"})
    field_order = ("bot_id", "bot_name", "mode", "secret")

    bot_id = PastedField(
        label=_("Bot ID"),
        max_length=128,
        help_text=_("WeCom → Workbench (工作台) → AI bots (智能机器人) → the bot → API mode (API模式)."),
    )
    bot_name = forms.CharField(
        label=_("Bot name"),
        max_length=64,
        help_text=_("Exactly as it is shown in groups: @name is taken out of what people write."),
    )
    mode = forms.ChoiceField(
        label=_("How it is connected"),
        choices=[
            (CALLBACK, _("Callback URL (使用URL回调): WeCom calls this server")),
            (CONNECTION, _("Long connection (使用长连接): this server calls WeCom, and the bot can write first")),
        ],
        initial=CALLBACK,
        required=False,
        help_text=_(
            "As it is in WeCom, where one excludes the other: a switch to the callback URL cuts the connection, and with the long "
            "connection no callbacks come. Answers that wait when you switch go by the new way, or fail with the reason."
        ),
    )
    secret = PastedField(
        label=pgettext_lazy("credential", "Secret"),
        max_length=256,
        required=False,
        help_text=_("Long connection only: on the same page as the bot ID."),
    )
    token = TokenField(required=False, help_text=_("Callback URL only: on the same page as the callback URL."))
    encoding_aes_key = EncodingAESKeyField(
        required=False, help_text=_("Callback URL only: on the same page as the token, 43 characters.")
    )
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

    def clean(self) -> dict[str, Any]:
        """Require what the mode needs."""
        cleaned = super().clean() or self.cleaned_data
        if "mode" not in self.errors:
            cleaned["mode"] = mode = cleaned.get("mode") or CALLBACK
            for name in NEEDED[mode]:
                if not cleaned.get(name) and name not in self.errors:
                    self.add_error(name, forms.ValidationError(MISSING[mode], code="required"))
        return cleaned
