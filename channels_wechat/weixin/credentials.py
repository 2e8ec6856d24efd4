"""What staff enter for an Official Account or a Mini Program, and where in WeChat's console (mp.weixin.qq.com) they find it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.pasted import PastedField
from channels_wechat.wire.callback_credentials import CallbackCredentials, EncodingAESKeyField, TokenField

_APP_ID = RegexValidator(r"^wx[A-Za-z0-9]{1,30}$", _("An AppID begins with wx, like wx0123456789abcdef."))

_TOKEN = RegexValidator(r"^[A-Za-z0-9]{3,32}$", _("A token has 3 to 32 letters and digits."))


class MiniProgramCredentials(CallbackCredentials):
    secrets = CallbackCredentials.secrets | {"app_secret"}
    sent = frozenset({"app_secret"})
    field_order = ("app_id", "app_secret")

    app_id = PastedField(
        label=_("AppID"),
        validators=[_APP_ID],
        help_text=_("WeChat console → Development (开发管理) → Development settings (开发设置) → AppID."),
    )
    app_secret = PastedField(
        label=_("AppSecret"),
        max_length=128,
        help_text=_(
            "On the same page. WeChat shows it once only; resetting it stops every other program that uses it."
        ),
    )
    token = TokenField(
        pattern=_TOKEN,
        help_text=_("Development settings (开发设置) → Message push (消息推送): choose one and enter the same there."),
    )
    encoding_aes_key = EncodingAESKeyField(
        required=False,
        help_text=_("On the same page as the token: 43 characters. Needed for all modes but plaintext."),
    )
    mode = forms.ChoiceField(
        label=_("Encryption of messages"),
        choices=[
            ("safe", _("Safe mode (安全模式)")),
            ("compatible", _("Compatible mode (兼容模式)")),
            ("plaintext", _("Plaintext mode (明文模式)")),
        ],
        initial="safe",
        help_text=_("Choose the same as in the console. Use safe mode; the other modes accept forged messages."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        given = cleaned.get("encoding_aes_key") or "encoding_aes_key" in self.errors
        if cleaned.get("mode") != "plaintext" and not given:
            self.add_error("encoding_aes_key", _("Copy the EncodingAESKey from the console: this mode needs it."))
        return cleaned


class OfficialAccountCredentials(MiniProgramCredentials):
    app_id = PastedField(
        label=_("AppID"),
        validators=[_APP_ID],
        help_text=_(
            "WeChat console → Settings and development (设置与开发) → Basic configuration (基本配置) → AppID (开发者ID)."
        ),
    )
    token = TokenField(
        pattern=_TOKEN,
        help_text=_(
            "Basic configuration (基本配置) → Server configuration (服务器配置): choose one and enter the same there."
        ),
    )
    answers = forms.ChoiceField(
        label=_("How answers are sent"),
        choices=[
            ("automatic", _("By messages, or in the reply to the callback where WeChat does not grant messages")),
            ("messages", _("By customer-service messages (verified accounts)")),
            ("passive", _("In the reply to the callback (accounts that are not verified)")),
        ],
        initial="automatic",
        help_text=_(
            "An account that is not verified must answer within 15 seconds; what takes longer is read by sending 1."
        ),
    )
