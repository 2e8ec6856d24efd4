"""Adding an account, or renewing its credentials, by a code that somebody scans with their phone, for kinds that can (`ScanToCreate`)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from accounts.channels import http
from accounts.models import ChannelAccount
from bridge.admin.accounts import scan_session, scanned
from bridge.admin.accounts.panel import CHANGE, AccountPanel, Button
from bridge.admin.accounts.qr import draw_code
from bridge.admin.accounts.scan_session import StartedScan
from bridge.admin.base import user_of
from bridge.admin.unfold import styled
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.capabilities import ScanToCreate
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel

    AccountAdmin = BridgeAdmin[ChannelAccount]

ADD = "accounts.add_channelaccount"
# A phone shows a number of a few digits.
MOST_TYPED = 20


def can_be_scanned(kind: str) -> bool:
    return kind in KINDS and issubclass(channel_class(kind), ScanToCreate)


def routes(page_admin: AccountAdmin) -> list[URLPattern]:
    """Return the pages: what is asked, the code, and whether it was scanned."""

    def ask(request: HttpRequest, kind: str) -> HttpResponse:
        return _ask(page_admin, request, kind)

    def show(request: HttpRequest, kind: str) -> HttpResponse:
        return _show(page_admin, request, kind)

    def look(request: HttpRequest, kind: str) -> HttpResponse:
        return _look(page_admin, request, kind)

    return [
        page_admin.route("scan/<str:kind>/", ask, "scan"),
        page_admin.route("scan/<str:kind>/code/", show, "scan_code"),
        page_admin.route("scan/<str:kind>/state/", require_POST(look), "scan_state"),
    ]


def _open(page_admin: AccountAdmin, request: HttpRequest, kind: str, permission: str = ADD) -> type[ScanToCreate]:
    """Raises PermissionDenied; Http404 for a kind without a code to scan."""
    page_admin.require(request, permission)
    channel = channel_class(kind) if can_be_scanned(kind) else None
    if channel is None or not issubclass(channel, ScanToCreate):
        raise Http404
    return channel


def _open_started(
    page_admin: AccountAdmin, request: HttpRequest, kind: str
) -> tuple[type[ScanToCreate], StartedScan | None]:
    """Renewing the credentials of an account takes the right to change it, a new one the right to add."""
    started = scan_session.read(request, kind)
    return _open(page_admin, request, kind, CHANGE if started and started.account else ADD), started


class ScanForm(forms.Form):
    """What the scan does not tell: the account's name, and fields of the kind (`ScanToCreate.asked`)."""

    name = forms.CharField(label=_("Name"), max_length=100)

    def __init__(self, data: Mapping[str, Any] | None, channel: type[ScanToCreate]) -> None:
        super().__init__(data)
        self.channel = channel
        self.fields |= {name: channel.Credentials().fields[name] for name in channel.asked}
        if channel.asks_address:
            self.fields["api_base_url"] = forms.CharField(
                label=_("API address"), required=False, help_text=_("Only for a proxy or the simulator.")
            )

    def clean(self) -> dict[str, Any]:
        """Let the account's own form judge them, as far as it can without what the scan will tell."""
        cleaned = super().clean() or self.cleaned_data
        judged = scanned.build_new_form(self.channel, cleaned, {})
        for name in set(self.fields) & set(judged.errors) - set(self.errors):
            self.add_error(name, list(judged.errors[name]))
        return cleaned


def _ask(page_admin: AccountAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    channel = _open(page_admin, request, kind)
    form = styled(ScanForm(request.POST or None, channel))
    if request.method == "POST" and form.is_valid():
        try:
            scan_session.begin(request, channel, StartedScan(kind, form.cleaned_data))
        except ChannelError as error:
            form.add_error(None, str(error))
        else:
            return HttpResponseRedirect(page_admin.url("scan_code", kind))
    title = _("Add by QR code: %(kind)s") % {"kind": channel.label}
    return page_admin.page(
        request, "admin/accounts/scan.html", title, form=form, kind=kind, words=channel.scan_text, channel=channel
    )


def _show(page_admin: AccountAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """Show the code. With a POST get a new one for what was entered before."""
    channel, started = _open_started(page_admin, request, kind)
    if started is None:
        return HttpResponseRedirect(page_admin.url("scan", kind))
    if request.method == "POST":
        return _begin(page_admin, request, channel, started)
    account = ChannelAccount.objects.filter(pk=started.account).first()
    names = {"kind": channel.label, "account": account}
    title = (_("Log in again: %(account)s") if account else _("Add by QR code: %(kind)s")) % names
    picture = draw_code(started.address) if started.code else ""
    words = _describe(channel, started) if started.code else started.words
    shown: dict[str, Any] = {
        "kind": kind,
        "account": account,
        "picture": picture,
        "words": words,
        "asks": started.state == "asks",
    }
    return page_admin.page(request, "admin/accounts/scan_code.html", title, **shown)


def _begin(
    page_admin: AccountAdmin, request: HttpRequest, channel: type[ScanToCreate], scan: StartedScan
) -> HttpResponse:
    """Get a code and show it; where the platform gives none, say so where the person is."""
    try:
        scan_session.begin(request, channel, scan)
    except ChannelError as error:
        messages.error(request, str(error))
        if scan.account and scan_session.read(request, scan.kind) is None:
            return HttpResponseRedirect(page_admin.url("change", scan.account))
    return HttpResponseRedirect(page_admin.url("scan_code", scan.kind))


def _describe(channel: type[ScanToCreate], started: StartedScan) -> str:
    if started.state == "scanned":
        return gettext("The code is scanned: confirm on the phone.")
    if started.state == "asks":
        return gettext("The phone shows a number: type it here.")
    return str(channel.scan_text)


def _look(page_admin: AccountAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """Ask the platform what became of the code, at most every few seconds; then add or renew the account."""
    channel, started = _open_started(page_admin, request, kind)
    if started is None:
        return JsonResponse({"text": gettext("There is no code any more: begin again."), "goes_on": False})
    if not started.code:
        return _end(request, started, started.words)
    now = time.time()
    if now - started.began_at > channel.scan_seconds:
        return _end(request, started, gettext("The code has expired. Get a new one."))
    if started.state == "asks" and (typed := request.POST.get("typed", "").strip()[:MOST_TYPED]):
        started = replace(started, typed=typed)
    if now - started.asked_at < channel.scan_pause_seconds:
        return _go_on(request, channel, started)
    return _ask_platform(page_admin, request, channel, replace(started, asked_at=now))


def _ask_platform(
    page_admin: AccountAdmin, request: HttpRequest, channel: type[ScanToCreate], started: StartedScan
) -> HttpResponse:
    scan_session.keep(request, started)
    try:
        found = channel.find_scanned(http(), started.code, started.typed, started.base_url)
    except ChannelError as error:
        if error.action in (Action.RETRY, Action.WAIT):
            return _go_on(request, channel, started, str(error))
        return _end(request, started, str(error))
    if found.state == "done":
        return _take(page_admin, request, channel, started, found.credentials)
    return _go_on(request, channel, replace(started, state=found.state, code=found.code or started.code, typed=""))


def _take(
    page_admin: AccountAdmin,
    request: HttpRequest,
    channel: type[ScanToCreate],
    started: StartedScan,
    credentials: Mapping[str, str],
) -> HttpResponse:
    """Store what the scan told, and lead to the account's page."""
    known = scanned.find_account(channel, credentials)
    try:
        if started.account and (known is None or known.pk != started.account):
            raise scanned.CannotTake(_describe_stranger(known))
        if known and channel.renews:
            account = _renew(page_admin, request, known, credentials)
        else:
            account = scanned.add_account(channel, started.fields, credentials)
            page_admin.log_addition(request, account, gettext("Added by QR code."))
    except scanned.CannotTake as refused:
        return _end(request, started, str(refused))
    scan_session.forget(request)
    return JsonResponse({"url": page_admin.url("change", account.pk), "goes_on": False})


def _describe_stranger(known: ChannelAccount | None) -> str:
    if known is None:
        return gettext("Somebody else scanned the code, so nothing was changed. Add them as an account of their own.")
    text = gettext("The person of the account “%(name)s” scanned the code, so nothing was changed. Log in again there.")
    return text % {"name": known.name}


def _renew(
    page_admin: AccountAdmin, request: HttpRequest, account: ChannelAccount, credentials: Mapping[str, str]
) -> ChannelAccount:
    """Raises CannotTake."""
    if not user_of(request).has_perm(CHANGE):
        text = gettext("This person has the account “%(name)s” already, which you may not change.")
        raise scanned.CannotTake(text % {"name": account.name})
    scanned.renew_account(account, credentials)
    text = gettext("Logged in again by QR code.")
    messages.success(request, text)
    page_admin.log_and_audit(request, account, text)
    return account


def _go_on(request: HttpRequest, channel: type[ScanToCreate], started: StartedScan, text: str = "") -> HttpResponse:
    scan_session.keep(request, started)
    words = text or _describe(channel, started)
    return JsonResponse({"text": words, "goes_on": True, "asks": started.state == "asks"})


def _end(request: HttpRequest, started: StartedScan, text: str) -> HttpResponse:
    """Forget the code, and keep what was entered, so that a new code takes one click."""
    scan_session.keep(request, StartedScan(started.kind, started.fields, started.account, words=text))
    return JsonResponse({"text": text, "goes_on": False})


# --- on the page of an account


def log_in_again(
    page_admin: AccountAdmin, request: HttpRequest, account: ChannelAccount, channel: ScanToCreate
) -> HttpResponse:
    scan_session.forget(request)
    return _begin(
        page_admin, request, type(channel), StartedScan(account.kind, _address_of(account, channel), account.pk)
    )


def add_another(
    page_admin: AccountAdmin, request: HttpRequest, account: ChannelAccount, channel: ScanToCreate
) -> HttpResponse:
    """Show a code for a further account like this one, which gets a longer name."""
    entered = {name: account.credentials.get(name, "") for name in channel.asked} | _address_of(account, channel)
    scan = StartedScan(account.kind, {"name": account.name, **entered})
    try:
        scan_session.begin(request, type(channel), scan)
    except ChannelError as error:
        messages.error(request, str(error))
        return page_admin.redirect_to(account)
    return HttpResponseRedirect(page_admin.url("scan_code", account.kind))


def _address_of(account: ChannelAccount, channel: ScanToCreate) -> dict[str, str]:
    return {"api_base_url": account.api_base_url} if channel.asks_address else {}


def is_scanned_by_people(channel: Channel) -> bool:
    """Whether somebody scans for an account of their own, so that several may, and each may do it again."""
    return isinstance(channel, ScanToCreate) and channel.renews


PANEL = AccountPanel(
    applies_to=is_scanned_by_people,
    buttons=(
        Button(name="scan_again", run=log_in_again, label=_("Log in again")),
        Button(name="scan_another", run=add_another, label=_("Add another person"), permission=ADD),
    ),
)
