"""What staff enter for an account of WeChat customer service, and where in WeCom's console they find it."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from channels_wechat.contract.pasted import PastedField
from channels_wechat.wecom.credentials import CORP_ID, CORP_ID_PLACE
from channels_wechat.wire.callback_credentials import CallbackCredentials, TokenField

_OPEN_KFID = RegexValidator(r"^wk[A-Za-z0-9_-]{1,62}$", _("The ID of a customer-service account begins with wk."))


class WeComKfCredentials(CallbackCredentials):
    secrets = CallbackCredentials.secrets | {"secret"}
    sent = frozenset({"secret"})
    field_order = ("open_kfid", "corp_id", "secret")

    open_kfid = PastedField(
        label=_("Customer-service account ID (open_kfid)"),
        max_length=64,
        validators=[_OPEN_KFID],
        help_text=_(
            "Console (管理后台) → App management (应用管理) → WeChat customer service (微信客服) → the account (客服账号): its link"
            " or its details show the ID."
        ),
    )
    corp_id = PastedField(label=_("Corp ID"), max_length=64, validators=[CORP_ID], help_text=CORP_ID_PLACE)
    secret = PastedField(
        label=pgettext_lazy("credential", "Secret"),
        max_length=128,
        help_text=_(
            "Of the self-built app that may call the interface: WeChat customer service (微信客服) → API → Apps that may call"
            " (可调用接口的应用); then the app's page → Secret."
        ),
    )
    token = TokenField(
        help_text=_(
            "The app's page → Receive messages (接收消息) → Set API receiving (设置API接收) → Token. Where this URL belongs to an account"
            " of the app here, enter the same Token and key: the app's account passes the notices on."
        ),
    )
