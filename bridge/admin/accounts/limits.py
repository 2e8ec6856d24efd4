"""The platform's limits on what an account may send, and what is left of them now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.limits import list_remaining
from bridge.admin.accounts.panel import AccountPanel
from channels_wechat.contract.capabilities import Uploads
from channels_wechat.contract.directory import Directory

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel


def facts(account: ChannelAccount, channel: Channel) -> dict[str, Any] | None:
    """Return the limits. How many calls are left is known only for limits that all peers of the account share."""
    uploads = channel.upload_limits if isinstance(channel, Uploads) else ()
    reads = channel.directory_limits if isinstance(channel, Directory) else ()
    found = list_remaining((*channel.limits, *uploads, *reads), str(account.key))
    rows = [{"limit": limit, "left": left if limit.scope == "account" else None} for limit, left in found]
    return {"limits": rows} if rows else None


PANEL = AccountPanel(
    applies_to=lambda channel: bool(channel.limits), template="admin/accounts/panels/limits.html", facts=facts
)
