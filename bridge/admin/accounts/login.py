"""Logging an account in: the code that somebody scans with their phone, shown live, and logging out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import logins
from accounts.health import Health
from accounts.models import Connection
from bridge.admin.accounts.connection import describe_connection
from bridge.admin.accounts.panel import CHANGE, AccountPanel, Page, Position, has_capability
from bridge.admin.accounts.qr import draw_code
from bridge.admin.base import user_of
from bridge.security.permissions import HIDDEN, may_read
from bridge.ui import formatting
from channels_wechat.contract.connection import ConnectionState, Login
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel

    AccountAdmin = BridgeAdmin[ChannelAccount]

WORDS = {
    ConnectionState.CONNECTING: _("Connecting to the platform…"),
    ConnectionState.SCANNED: _("The code is scanned: confirm the login on the phone now."),
    ConnectionState.KICKED: _("Another connection took this one's place: press Test to connect again."),
    ConnectionState.BAD_CREDENTIALS: _("The platform refuses the credentials: correct them below."),
    ConnectionState.STOPPED: _("The connection is stopped: press Test to connect again."),
}

TOO_LONG = _("The platform gave a code that is too long for a picture: look for it where the platform shows it itself.")


def describe_login(account: ChannelAccount, _channel: Channel | None = None) -> dict[str, Any]:
    """Return what the panel shows. picture: the code; empty while there is none to scan."""
    row = Connection.objects.filter(account=account).first()
    state = row.current_state if row and row.is_held and account.usable else None
    shows_code = row is not None and state == ConnectionState.NEEDS_LOGIN and row.login_code
    picture = draw_code(row.login_code) if row and shows_code else ""
    return {
        "words": str(TOO_LONG if shows_code and not picture else _describe_state(account, row, state)),
        "picture": picture,
        "is_logged_in": state == ConnectionState.CONNECTED,
    }


def _describe_state(account: ChannelAccount, row: Connection | None, state: ConnectionState | None) -> Any:
    if not account.enabled:
        return _("The account is disabled. Enable it, and the code to scan is shown here.")
    if account.state == Health.STOPPED:
        return _("The account is stopped, for the reason above. Press Test to try again.")
    if row is None or state is None:
        return _("No connector runs that could log the account in: start the process “connector”.")
    if state == ConnectionState.CONNECTED:
        return _describe_identity(row)
    if state == ConnectionState.NEEDS_LOGIN:
        return _("Scan this code with WeChat.") if row.login_code else _("Nobody is logged in. Waiting for a code…")
    return WORDS[state]


def _describe_identity(row: Connection) -> str:
    if row.own_name and row.own_id:
        return gettext("Logged in as %(name)s (%(id)s).") % {"name": row.own_name, "id": row.own_id}
    name = row.own_name or row.own_id
    return gettext("Logged in as %(name)s.") % {"name": name} if name else gettext("Logged in.")


def answer_state(_admin: AccountAdmin, request: HttpRequest, account: ChannelAccount, channel: Login) -> HttpResponse:
    """Answer the page, which asks every few seconds. The code is as good as a password, so nobody may keep the answer."""
    reason = account.state_reason if may_read(user_of(request)) or not account.state_reason else str(HIDDEN)
    facts = {"facts": describe_connection(account, channel)}
    shown = {**describe_login(account), "badge": formatting.health_badge(account), "reason": reason}
    shown["connection"] = render_to_string("admin/accounts/panels/connection.html", facts)
    return JsonResponse(shown, headers={"Cache-Control": "no-store"})


def log_out(page_admin: AccountAdmin, request: HttpRequest, account: ChannelAccount, channel: Login) -> HttpResponse:
    """Say what it does; with a POST do it."""
    if request.method != "POST":
        title = _("Log %(account)s out?") % {"account": account}
        return page_admin.page(request, "admin/accounts/log_out.html", title, account, _("Log out"), account=account)
    try:
        channel.log_out()
    except ChannelError as error:
        text = _("The account could not be logged out: %(error)s") % {"error": error}
        page_admin.notify_and_audit(request, account, text, messages.ERROR)
    else:
        logins.note_logged_out(account)
        page_admin.notify_and_audit(request, account, _("Logged out. To go on, somebody scans a new code below."))
    return page_admin.redirect_to(account)


PANEL = AccountPanel(
    applies_to=has_capability(Login),
    template="admin/accounts/panels/login.html",
    facts=describe_login,
    position=Position.ABOVE_FORM,
    permission=CHANGE,
    pages=(
        Page(name="login_state", path="login/", view=answer_state),
        Page(name="log_out", path="log_out/", view=log_out),
    ),
)
