"""The access token of an account, for kinds with `Tokens`: its age, its last failure, and fetching a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.utils.translation import gettext_lazy as _

from accounts.channels import stored_tokens
from accounts.models import AccessToken
from bridge.admin.accounts.panel import AccountPanel, Button, has_capability
from channels_wechat.contract.capabilities import Tokens
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from django.http import HttpRequest

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel


def facts(account: ChannelAccount, _channel: Channel) -> dict[str, Any]:
    return {"token": AccessToken.objects.filter(account=account).defer("value").first()}


def refresh(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, _channel: Channel
) -> None:
    account.revive()  # this also marks the stored token as expired
    try:
        stored_tokens(account).renew(refused="")
    except ChannelError as error:
        page_admin.notify_and_audit(request, account, str(error), messages.ERROR)
    else:
        page_admin.notify_and_audit(request, account, _("There is a new access token."))


PANEL = AccountPanel(
    applies_to=has_capability(Tokens),
    template="admin/accounts/panels/token.html",
    facts=facts,
    buttons=(Button(name="refresh_token", run=refresh, label=_("Refresh token")),),
)
