"""What the platform does not allow an account to do (`accounts.capabilities`), and trying it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from accounts import capabilities
from bridge.admin.accounts.panel import AccountPanel, Button, Position

if TYPE_CHECKING:
    from django.http import HttpRequest

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel

# The capabilities that a platform may refuse, by the names that its errors have.
CAPABILITIES = {
    "custom_send": _("messages to people"),
    "directory_customers": _("the members' customers"),
    "directory_departments": _("departments"),
    "directory_groups": _("customer groups"),
    "directory_members": _("members"),
    "media": _("files"),
    "moderation": _("the content check"),
    "push": _("messages that answer nothing"),
    "quota": _("counters of calls"),
    "stream": _("answers that grow while they are written"),
    "subscribe_send": _("subscribe messages"),
    "templates": _("templates of subscribe messages"),
    "typing": _("the typing indicator"),
    "user_info": _("names of people"),
}


def facts(account: ChannelAccount, _channel: Channel) -> dict[str, Any] | None:
    found = capabilities.list_restrictions(account)
    rows = [{"row": row, "label": CAPABILITIES.get(row.capability, row.capability)} for row in found]
    return {"restrictions": rows} if rows else None


def try_again(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, _channel: Channel
) -> None:
    if capabilities.lift_restrictions(account, request.POST.get("capability", "")):
        page_admin.notify_and_audit(request, account, _("The next message that needs it tries it again."))


PANEL = AccountPanel(
    applies_to=lambda _channel: True,
    template="admin/accounts/panels/restrictions.html",
    position=Position.ABOVE_FORM,
    facts=facts,
    buttons=(Button(name="try_again", run=try_again),),
)
