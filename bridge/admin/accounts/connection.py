"""The account's long connection: how it stands, who holds it, and when there was none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.models import Connection
from bridge.admin.accounts.panel import AccountPanel, Position
from channels_wechat.contract.connection import Connection as ConnectedChannel

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel

NEWEST_GAPS = 3


def describe_connection(account: ChannelAccount, channel: Channel) -> dict[str, Any]:
    return {
        "connection": Connection.objects.filter(account=account).first(),
        "gaps": account.gaps.order_by("-until")[:NEWEST_GAPS],
    }


def has_connection(channel: Channel) -> bool:
    return isinstance(channel, ConnectedChannel)


PANEL = AccountPanel(
    applies_to=has_connection,
    template="admin/accounts/panels/connection.html",
    facts=describe_connection,
    position=Position.STATE,
)
