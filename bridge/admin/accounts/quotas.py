"""What the platform lets an account do: its counters of calls (`Quotas`), and what it does not grant (`accounts.capabilities`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import capabilities
from accounts.channels import build_channel
from channels_wechat.contract.capabilities import Quotas
from channels_wechat.contract.errors import Action, ChannelError

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.accounts.pages import AccountAdmin

# What a platform may refuse, by the names that its errors bring.
CAPABILITIES = {
    "custom_send": gettext_lazy("messages to people"),
    "media": gettext_lazy("files"),
    "moderation": gettext_lazy("the content check"),
    "quota": gettext_lazy("counters of calls"),
    "subscribe_send": gettext_lazy("subscribe messages"),
    "templates": gettext_lazy("templates of subscribe messages"),
    "typing": gettext_lazy("the sign “is typing”"),
    "user_info": gettext_lazy("names of people"),
}


def restrictions(account: ChannelAccount) -> list[dict[str, Any]]:
    """Those in force, each with its name in words."""
    found = capabilities.restrictions(account)
    return [{"row": row, "label": CAPABILITIES.get(row.capability, row.capability)} for row in found]


def show(desk: AccountAdmin, request: HttpRequest, account: ChannelAccount) -> HttpResponse:
    """Each counter, asked once, now."""
    rows, error = _asked(_counting(account))
    title = _("Calls left for %(account)s") % {"account": account}
    return desk.page(
        request, "admin/accounts/quotas.html", title, account, _("Calls left"), account=account, rows=rows, error=error
    )


def clear(desk: AccountAdmin, request: HttpRequest, account: ChannelAccount) -> HttpResponse | None:
    """The first POST asks; the second, with `sure`, does it."""
    channel = _counting(account)
    if "sure" not in request.POST:
        title = _("Clear the counters of %(account)s?") % {"account": account}
        return desk.page(request, "admin/accounts/clear_quotas.html", title, account, account=account)
    try:
        channel.clear_quotas()
    except ChannelError as error:
        desk.did(request, account, str(error), messages.ERROR)
    else:
        desk.did(request, account, _("All counters of calls begin anew."))
    return None


def ask_again(desk: AccountAdmin, request: HttpRequest, account: ChannelAccount) -> None:
    """What the platform refused is tried again with the next message that needs it."""
    if capabilities.lift(account, request.POST.get("capability", "")):
        desk.did(request, account, _("The next message that needs it tries it again."))


def _counting(account: ChannelAccount) -> Quotas:
    channel = build_channel(account)
    if not isinstance(channel, Quotas):
        raise Http404
    return channel


def _asked(channel: Quotas) -> tuple[list[dict[str, Any]], str]:
    """A row for each interface, and what ended the asking: what the platform refuses for one of them is that row's."""
    rows: list[dict[str, Any]] = []
    for path in channel.quota_paths:
        try:
            rows.append({"path": path, "quota": channel.quota(path)})
        except ChannelError as error:
            if error.action is not Action.PERMANENT or error.capability:
                return rows, str(error)
            rows.append({"path": path, "error": str(error)})
    return rows, ""
