"""The platform's limits on what an account may send, and what is left of them now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.limits import all_limits, list_remaining
from bridge.admin.accounts.panel import AccountPanel

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel


def facts(account: ChannelAccount, channel: Channel) -> dict[str, Any] | None:
    """Return the limits. How many calls are left is known only for limits that all peers of the account share."""
    found = list_remaining(all_limits(channel), str(account.key))
    rows = [{"limit": limit, "left": left if limit.scope == "account" else None} for limit, left in found]
    return {"limits": rows} if rows else None


PANEL = AccountPanel(
    applies_to=lambda channel: bool(channel.limits), template="admin/accounts/panels/limits.html", facts=facts
)
