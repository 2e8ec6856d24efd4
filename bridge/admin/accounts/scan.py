"""Adding an account by a code that somebody scans with their phone, for kinds that can (`ScanToCreate`)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import segno
from django import forms
from django.forms.models import model_to_dict
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from accounts.channels import http
from accounts.fields import decrypt, encrypt
from accounts.forms import AccountForm, account_form
from accounts.models import ChannelAccount
from bridge.admin.unfold import styled
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.capabilities import ScanToCreate
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

    from bridge.admin.base import BridgeAdmin

    AccountAdmin = BridgeAdmin[ChannelAccount]

ADD = "accounts.add_channelaccount"
# The session keeps what is asked, the code and when it was made; the platform's answer is stored nowhere but in the account.
SESSION_KEY = "scan_to_create"


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


def _open(page_admin: AccountAdmin, request: HttpRequest, kind: str) -> type[ScanToCreate]:
    """Raises PermissionDenied; Http404 for a kind without a code to scan."""
    page_admin.require(request, ADD)
    channel = channel_class(kind) if can_be_scanned(kind) else None
    if channel is None or not issubclass(channel, ScanToCreate):
        raise Http404
    return channel


class ScanForm(forms.Form):
    """What the scan does not tell: the account's name, and fields of the kind (`ScanToCreate.asked`)."""

    name = forms.CharField(label=_("Name"), max_length=100)

    def __init__(self, data: Mapping[str, Any] | None, channel: type[ScanToCreate]) -> None:
        super().__init__(data)
        self.channel = channel
        self.fields |= {name: channel.Credentials().fields[name] for name in channel.asked}

    def clean(self) -> dict[str, Any]:
        """Let the account's own form judge them, as far as it can without what the scan will tell."""
        cleaned = super().clean() or self.cleaned_data
        judged = _account_form(self.channel, cleaned, {})
        for name in set(self.fields) & set(judged.errors) - set(self.errors):
            self.add_error(name, list(judged.errors[name]))
        return cleaned


def _account_form(channel: type[ScanToCreate], asked: Mapping[str, Any], scanned: Mapping[str, str]) -> AccountForm:
    """Return the form of the account as if somebody had filled it in."""
    new = ChannelAccount(kind=channel.kind)
    fields = {name: value for name, value in model_to_dict(new, AccountForm.Meta.fields).items() if value is not None}
    return account_form(channel.kind)({**fields, "enabled": "on", **asked, **scanned})


def _ask(page_admin: AccountAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    channel = _open(page_admin, request, kind)
    form = styled(ScanForm(request.POST or None, channel))
    if request.method == "POST" and form.is_valid():
        try:
            code = channel.fetch_scan_code(http())
        except ChannelError as error:
            form.add_error(None, str(error))
        else:
            begun = {"kind": kind, "fields": form.cleaned_data, "code": code.code, "address": code.address}
            _keep(request, {**begun, "started": time.time(), "asked_at": 0.0})
            return HttpResponseRedirect(page_admin.url("scan_code", kind))
    title = _("Add by QR code: %(kind)s") % {"kind": channel.label}
    return page_admin.page(request, "admin/accounts/scan.html", title, form=form, kind=kind)


def _show(page_admin: AccountAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    channel = _open(page_admin, request, kind)
    started = _started(request, kind)
    if started is None:
        return HttpResponseRedirect(page_admin.url("scan", kind))
    title = _("Add by QR code: %(kind)s") % {"kind": channel.label}
    picture = _draw(started["address"])
    return page_admin.page(
        request, "admin/accounts/scan_code.html", title, picture=picture, kind=kind, started=channel.scan_text
    )


def _draw(address: str) -> SafeString:
    """The code as SVG, made of nothing but a path: what the address says stands nowhere in it as text."""
    return mark_safe(segno.make(address, error="m").svg_inline(scale=6, dark="#000", light="#fff"))  # noqa: S308 - segno's own path, no text


def _started(request: HttpRequest, kind: str) -> dict[str, Any] | None:
    kept = request.session.get(SESSION_KEY)
    found: dict[str, Any] = json.loads(decrypt(kept, SESSION_KEY)) if kept else {}
    return found if found.get("kind") == kind else None


def _keep(request: HttpRequest, started: dict[str, Any]) -> None:
    """Encrypted, because whoever knows the code is told the secret too."""
    request.session[SESSION_KEY] = encrypt(json.dumps(started), SESSION_KEY)


def _look(page_admin: AccountAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """Ask the platform whether the code was scanned, at most every few seconds; then add the account."""
    channel = _open(page_admin, request, kind)
    started, now = _started(request, kind), time.time()
    if started is None:
        return _say(gettext("There is no code any more: begin again."), goes_on=False)
    if now - started["started"] > channel.scan_seconds:
        return _end(request, gettext("The code has expired: begin again."))
    if now - started["asked_at"] < channel.scan_pause_seconds:
        return _say(str(channel.scan_text))
    _keep(request, {**started, "asked_at": now})
    try:
        scanned = channel.find_scanned(http(), started["code"])
    except ChannelError as error:
        if error.action in (Action.RETRY, Action.WAIT):
            return _say(str(error))
        return _end(request, str(error))
    if scanned.state != "done":
        return _say(str(channel.scan_text))
    return _add(page_admin, request, channel, started["fields"], scanned.credentials)


def _add(
    page_admin: AccountAdmin,
    request: HttpRequest,
    channel: type[ScanToCreate],
    asked: Mapping[str, Any],
    scanned: Mapping[str, str],
) -> HttpResponse:
    """Add the account; under a longer name where somebody took its name meanwhile."""
    form = _account_form(channel, asked, scanned)
    if list(form.errors) == ["name"]:
        form = _account_form(
            channel, {**asked, "name": f"{asked['name']} {channel.external_id(scanned)[-8:]}"}, scanned
        )
    if not form.is_valid():
        words = " ".join(str(error) for errors in form.errors.values() for error in errors)
        return _end(request, gettext("The bot was made, and its account could not be added: %(why)s") % {"why": words})
    account = form.save()
    del request.session[SESSION_KEY]
    page_admin.log_addition(request, account, gettext("Added by QR code."))
    return JsonResponse({"url": page_admin.url("change", account.pk), "goes_on": False})


def _end(request: HttpRequest, text: str) -> HttpResponse:
    request.session.pop(SESSION_KEY, None)
    return _say(text, goes_on=False)


def _say(text: str, *, goes_on: bool = True) -> HttpResponse:
    return JsonResponse({"text": text, "goes_on": goes_on})
