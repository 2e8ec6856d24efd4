"""What was read of the company's directory, what the platform does not show, and reading it now, for kinds with a `Directory`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from accounts import capabilities
from bridge.admin.accounts.panel import AccountPanel, Button, Page, has_capability
from bridge.models import CustomerGroup, DirectoryChange, DirectoryRead
from bridge.people import directory
from channels_wechat.contract.directory import Directory

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel

PARTS = {
    "departments": _("departments"),
    "members": _("members"),
    "customers": _("customers"),
    "groups": _("customer groups"),
}
SHOWN_GROUPS = 500


def describe_directory(account: ChannelAccount, _channel: Channel) -> dict[str, Any]:
    row = DirectoryRead.objects.filter(account=account).first()
    refused = {one.capability: one.text for one in capabilities.list_restrictions(account)}
    parts = [_describe_part(row, part, refused.get(f"directory_{part}", "")) for part in Directory.directory_parts]
    waiting = DirectoryChange.objects.filter(account=account).count()
    return {"directory": row, "parts": parts, "changes": waiting, "reads": row and PARTS.get(row.part)}


def _describe_part(row: DirectoryRead | None, part: str, refused: str) -> dict[str, Any]:
    """refused: why the platform does not show it now, and the permission that cures it."""
    result = row.results.get(part, {}) if row else {}
    failed = row.failure_of(result) if row and result.get("code") != f"directory_{part}" else ""
    return {
        "label": PARTS[part],
        "at": datetime.fromisoformat(result["at"]) if "at" in result else None,
        "count": result.get("count"),
        "skipped": result.get("skipped", 0),
        "reason": refused or failed,
    }


def read_now(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, _channel: Directory
) -> None:
    directory.request_reading(account)
    text = _("The directory is read now, one call after the other; this takes a while in a large company.")
    page_admin.notify_and_audit(request, account, text)


def show_groups(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, _channel: Directory
) -> HttpResponse:
    """Show the customer groups with their members, as they were read last."""
    rows = CustomerGroup.objects.filter(account=account).order_by("dismissed_at", "name", "pk")[:SHOWN_GROUPS]
    title = _("Customer groups of %(account)s") % {"account": account}
    template = "admin/accounts/customer_groups.html"
    return page_admin.page(request, template, title, account, _("Customer groups"), account=account, rows=rows)


PANEL = AccountPanel(
    applies_to=has_capability(Directory),
    template="admin/accounts/panels/directory.html",
    facts=describe_directory,
    buttons=(Button(name="read_directory", run=read_now),),
    pages=(
        Page(
            name="customer_groups",
            path="customer_groups/",
            view=show_groups,
            label=_("Customer groups"),
            permission="bridge.view_contact",
        ),
    ),
)
