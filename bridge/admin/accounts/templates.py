"""Subscribe messages, for kinds that have them (`Templates`): their list, and the form that sends one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from bridge.admin.accounts.panel import AccountPanel, Page, has_capability
from bridge.admin.base import user_of
from bridge.admin.unfold import styled
from bridge.models import Message
from bridge.pipeline.outbound import outbox
from bridge.security import audit
from channels_wechat.contract.capabilities import Templates
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.messages import Content

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.messages import Template


class SubscribeForm(forms.Form):
    """A form with a field for each line of the template, the receiver, and the page that the message opens."""

    peer_id = forms.CharField(label=_("OpenID of the person"), max_length=200)
    page = forms.CharField(
        label=_("Page it opens"),
        required=False,
        max_length=1024,
        help_text=_("A page of the Mini Program, for example pages/index?id=1. Empty: it opens nothing."),
    )

    def __init__(self, template: Template, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.template = template
        for label, name in template.lines:
            self.fields[f"line_{name}"] = forms.CharField(label=label or name, help_text=name, max_length=200)

    @property
    def content(self) -> Content:
        given = self.cleaned_data
        lines = {name: {"value": given[f"line_{name}"]} for _label, name in self.template.lines}
        page = {"page": given["page"]} if given["page"] else {}
        return Content(kind="subscribe", data={"template_id": self.template.id, **page, "data": lines})


def overview(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, channel: Templates
) -> HttpResponse:
    """Show the account's templates as the platform has them now; with ?template= the form that sends it."""
    try:
        found, error = channel.templates(), ""
    except ChannelError as refused:
        found, error = [], str(refused)
    chosen = next((each for each in found if each.id == request.GET.get("template")), None)
    form = styled(SubscribeForm(chosen, request.POST or None)) if chosen else None
    if form and request.method == "POST" and form.is_valid() and (message := _send(request, account, form)):
        page_admin.log_change(request, account, gettext_noop("sent a subscribe message"))
        return HttpResponseRedirect(reverse("admin:bridge_conversation_change", args=[message.conversation_id]))
    title = _("Subscribe messages of %(account)s") % {"account": account}
    context = {"account": account, "templates": found, "error": error, "chosen": chosen, "form": form}
    return page_admin.page(request, "admin/accounts/templates.html", title, account, _("Subscribe messages"), **context)


def _send(request: HttpRequest, account: ChannelAccount, form: SubscribeForm) -> Message | None:
    where, client = (account, "direct", form.cleaned_data["peer_id"].strip()), f"staff:{user_of(request).pk}"
    try:
        message = outbox.send(*where, form.content, source=Message.Source.STAFF, client=client)
    except outbox.CannotSend as refused:
        form.add_error(None, str(refused))
        return None
    if message.conversation:
        audit.log_action(gettext_noop("sent a message"), [message.conversation])
    return message


PANEL = AccountPanel(
    applies_to=has_capability(Templates),
    pages=(
        Page(
            name="templates",
            path="templates/",
            view=overview,
            label=_("Subscribe messages"),
            permission="bridge.send_message",
        ),
    ),
)
