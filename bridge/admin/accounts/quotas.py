"""How many calls the platform still allows an account today, for kinds with `Quotas`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.utils.translation import gettext_lazy as _

from bridge.admin.accounts.panel import AccountPanel, Button, has_capability
from channels_wechat.contract.capabilities import Quotas
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin


def show(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, channel: Quotas
) -> HttpResponse:
    """Ask the platform for each counter, once."""
    rows, error = _fetch(channel)
    title = _("Calls left for %(account)s") % {"account": account}
    return page_admin.page(
        request, "admin/accounts/quotas.html", title, account, _("Calls left"), account=account, rows=rows, error=error
    )


def reset(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, channel: Quotas
) -> HttpResponse | None:
    """Ask for confirmation at the first POST; reset the counters at the second, with `sure`."""
    if "sure" not in request.POST:
        title = _("Reset the call counters of %(account)s?") % {"account": account}
        return page_admin.page(request, "admin/accounts/reset_quotas.html", title, account, account=account)
    try:
        channel.clear_quotas()
    except ChannelError as error:
        page_admin.notify_and_audit(request, account, str(error), messages.ERROR)
    else:
        page_admin.notify_and_audit(request, account, _("All call counters are reset."))
    return None


def _fetch(channel: Quotas) -> tuple[list[dict[str, Any]], str]:
    """Return a row for each API, and the error that stopped the calls. A refusal of one API only is in its row."""
    rows: list[dict[str, Any]] = []
    for path in channel.quota_paths:
        try:
            rows.append({"path": path, "quota": channel.quota(path)})
        except ChannelError as error:
            if error.action is not Action.PERMANENT or error.capability:
                return rows, str(error)
            rows.append({"path": path, "error": str(error)})
    return rows, ""


PANEL = AccountPanel(
    applies_to=has_capability(Quotas),
    buttons=(
        Button(name="quotas", run=show, label=_("Calls left")),
        Button(name="reset_quotas", run=reset),
    ),
)
