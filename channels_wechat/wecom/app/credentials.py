"""What staff enter for a self-built app, and where in WeCom's console they find it."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from channels_wechat.contract.pasted import PastedField, PastedNumberField
from channels_wechat.wecom.credentials import CORP_ID, CORP_ID_PLACE
from channels_wechat.wire.callback_credentials import CallbackCredentials, TokenField


class WeComAppCredentials(CallbackCredentials):
    secrets = CallbackCredentials.secrets | {"secret"}
    sent = frozenset({"secret"})
    field_order = ("corp_id", "agent_id", "secret")

    corp_id = PastedField(
        label=_("Corp ID"),
        max_length=64,
        validators=[CORP_ID],
        help_text=CORP_ID_PLACE,
    )
    agent_id = PastedNumberField(
        label=_("AgentId"),
        min_value=1,
        help_text=_("Console (管理后台) → App management (应用管理) → the app → AgentId."),
    )
    secret = PastedField(
        label=pgettext_lazy("credential", "Secret"),
        max_length=128,
        help_text=_("On the same page: Secret → View (查看). WeCom sends it to your phone."),
    )
    token = TokenField(
        help_text=_("The app's page → Receive messages (接收消息) → Set API receiving (设置API接收) → Token."),
    )
    seats = PastedNumberField(
        label=_("Seats"),
        required=False,
        min_value=1,
        help_text=_(
            "How many accounts your company may have. WeCom lets an app send 200 messages a day for each. Empty: not counted."
        ),
    )
    format = forms.ChoiceField(
        label=_("Format of answers"),
        choices=[("text", _("Plain text")), ("markdown", _("Markdown"))],
        initial="text",
        help_text=_("Markdown is shown in the WeCom client only, not in WeChat."),
    )
