"""When the messages of an account were last fetched and when next, for kinds with `Pull`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.models import Connection
from bridge.admin.accounts.panel import AccountPanel, Position, has_capability
from channels_wechat.contract.capabilities import Pull

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel


def describe_pulls(account: ChannelAccount, _channel: Channel) -> dict[str, Any]:
    return {"connection": Connection.objects.filter(account=account).defer("knock_token", "login_code").first()}


PANEL = AccountPanel(
    applies_to=has_capability(Pull),
    template="admin/accounts/panels/pulls.html",
    facts=describe_pulls,
    position=Position.STATE,
)
