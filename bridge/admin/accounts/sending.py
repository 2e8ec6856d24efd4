"""Stopping all sending of an account at once, and allowing it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from bridge.admin.accounts.panel import AccountPanel, Button, Position
from bridge.operations import sending

if TYPE_CHECKING:
    from django.http import HttpRequest

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel


def stop(page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, _c: Channel) -> None:
    """Without a question before it, because every message counts that does not go out."""
    if sending.stop_sending(account):
        page_admin.notify_and_audit(request, account, _("All sending is stopped."))


def allow(page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, _c: Channel) -> None:
    if sending.allow_sending(account):
        page_admin.notify_and_audit(request, account, _("Sending is allowed again."))


def describe_stop(account: ChannelAccount, _channel: Channel) -> dict[str, Any] | None:
    return {"waiting": sending.count_waiting(account)} if account.sending_stopped_at else None


PANEL = AccountPanel(
    applies_to=lambda _channel: True,
    template="admin/accounts/panels/sending.html",
    facts=describe_stop,
    position=Position.STATE,
    buttons=(
        Button(
            name="stop_sending",
            run=stop,
            label=_("Stop all sending"),
            is_shown=lambda account: account.sending_stopped_at is None,
            is_urgent=True,
        ),
        Button(
            name="allow_sending",
            run=allow,
            label=_("Allow sending again"),
            is_shown=lambda account: account.sending_stopped_at is not None,
        ),
    ),
)
