"""Messages to customers and customer groups, which a member has to confirm, for kinds with `CustomerMessages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django import forms
from django.contrib import messages
from django.http import HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from bridge.admin.accounts.groups import MembersField
from bridge.admin.accounts.panel import AccountPanel, Page, has_capability
from bridge.admin.base import user_of
from bridge.admin.conversations.uploads import ManyFiles
from bridge.admin.unfold import styled
from bridge.media.storage import read_upload
from bridge.models import CustomerMessage as Row
from bridge.models import CustomerMessageState
from bridge.models.routes import PeerKinds
from bridge.people import customer_messages
from channels_wechat.contract.customer_messages import CustomerMessage, CustomerMessages

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin

SHOWN = 50


class CustomerMessageForm(forms.Form):
    """key: made with the page, so that pressing the button twice asks the member once."""

    peer_kind = forms.ChoiceField(
        label=_("To"), choices=[(PeerKinds.DIRECT, _("customers")), (PeerKinds.GROUP, _("customer groups"))]
    )
    recipients = MembersField(
        label=_("Recipients"), help_text=_("Ids of customers or of groups; one a line or with commas.")
    )
    sender = forms.CharField(
        label=_("Sent by"),
        max_length=64,
        help_text=_("The user id of the member who is asked to confirm it; it goes out in their name, or not at all."),
    )
    text = forms.CharField(label=_("Text"), required=False, widget=forms.Textarea(attrs={"rows": 4}))
    uploads = ManyFiles(
        label=_("Files"), required=False, help_text=_("Pictures, videos and files; at most nine attachments.")
    )
    links = forms.CharField(
        label=_("Links"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("One a line: the address, a space, and the title."),
    )
    key = forms.CharField(widget=forms.HiddenInput, max_length=64)

    def clean_links(self) -> tuple[dict[str, Any], ...]:
        lines = [line.split(maxsplit=1) for line in self.cleaned_data["links"].splitlines() if line.strip()]
        if any(len(line) < 2 for line in lines):
            raise forms.ValidationError(_("Give each link a title behind its address."))
        return tuple({"msgtype": "link", "link": {"title": title.strip(), "url": url}} for url, title in lines)

    @property
    def message(self) -> CustomerMessage:
        given = self.cleaned_data
        return CustomerMessage(given["peer_kind"], given["sender"], given["recipients"], given["text"], given["links"])


def overview(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, _channel: CustomerMessages
) -> HttpResponse:
    """Show the form, and what was asked for lately."""
    form = styled(CustomerMessageForm(request.POST or None, request.FILES or None, initial={"key": uuid4().hex}))
    if request.method == "POST" and form.is_valid() and _create(page_admin, request, account, form):
        return HttpResponseRedirect(request.path)
    rows = Row.objects.filter(account=account).select_related("account")[:SHOWN]
    title = _("Messages to customers of %(account)s") % {"account": account}
    template = "admin/accounts/customer_messages.html"
    context: dict[str, Any] = {"account": account, "form": form, "rows": rows}
    return page_admin.page(request, template, title, account, _("Messages to customers"), **context)


def _create(
    page_admin: BridgeAdmin[ChannelAccount],
    request: HttpRequest,
    account: ChannelAccount,
    form: CustomerMessageForm,
) -> bool:
    given, client = form.cleaned_data, f"staff:{user_of(request).pk}"
    files = [read_upload(file) for file in given["uploads"]]
    try:
        row, new = customer_messages.create(account, form.message, client=client, key=given["key"], files=files)
    except customer_messages.CannotCreate as refused:
        form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        return False
    except customer_messages.KeyReused:
        form.add_error(None, _("This page was sent before with other words: open it anew."))
        return False
    if new:
        _report(page_admin, request, account, row)
    return True


def _report(page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, row: Row) -> None:
    """Say what became of it. The history names who sends it and to how many, not what it says."""
    names = {"sender": row.sender, "count": len(row.recipients)}
    text = _("Asked %(sender)s to send a message to %(count)d recipients.") % names
    if row.state == CustomerMessageState.CREATED:
        messages.success(request, _("Nothing goes out until %(sender)s confirms it in WeCom.") % names)
    else:
        messages.error(request, str(row.error))
        text = _("Could not ask %(sender)s to send a message to %(count)d recipients.") % names
    page_admin.log_and_audit(request, account, text)


PANEL = AccountPanel(
    applies_to=has_capability(CustomerMessages),
    pages=(
        Page(
            name="customer_messages",
            path="customer_messages/",
            view=overview,
            label=_("Messages to customers"),
            permission="bridge.send_to_many",
        ),
    ),
)
