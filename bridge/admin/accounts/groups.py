"""Group chats that an account creates itself, for kinds that can (`Groups`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext_lazy as _

from accounts.person_ids import person_id
from bridge.admin.accounts.panel import AccountPanel, Page, has_capability
from bridge.admin.unfold import styled
from bridge.models import Contact, Conversation
from channels_wechat.contract.capabilities import Groups
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin


class MembersField(forms.CharField):
    """A field for user ids, separated by any character that an id cannot have."""

    widget = forms.Textarea(attrs={"rows": 3})

    def clean(self, value: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(re.findall(r"[\w.@-]+", super().clean(value))))


class NewGroupForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=50)
    members = MembersField(label=_("Members"), help_text=_("User ids, at least two; one a line or with commas."))
    owner = forms.CharField(label=_("Owner"), required=False, help_text=_("Empty: one of the members."))
    group_id = forms.RegexField(
        r"^[0-9a-zA-Z]{1,32}$",
        label=_("Id"),
        required=False,
        help_text=_("Letters and digits, at most 32. Empty: the platform makes one."),
    )

    def clean_members(self) -> tuple[str, ...]:
        members: tuple[str, ...] = self.cleaned_data["members"]
        if len(members) < 2:
            raise forms.ValidationError(_("A group has at least two members."))
        return members


class ChangeGroupForm(forms.Form):
    name = forms.CharField(label=_("New name"), max_length=50, required=False)
    owner = forms.CharField(label=_("New owner"), required=False)
    add = MembersField(label=_("Add"), required=False, help_text=_("User ids."))
    remove = MembersField(label=_("Remove"), required=False, help_text=_("User ids."))


def overview(
    page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, channel: Groups
) -> HttpResponse:
    """Show the account's groups, and the form for another one."""
    form = styled(NewGroupForm(request.POST or None))
    if request.method == "POST" and form.is_valid():
        conversation = _create(page_admin, request, account, channel, form)
        if conversation:
            return HttpResponseRedirect(page_admin.url("group", account.pk, conversation.pk))
    rows = Conversation.objects.filter(account=account, peer_kind="group")[:200]
    title = _("Groups created by %(account)s") % {"account": account}
    receives = "group" in channel.receives_from
    more: dict[str, Any] = {"form": form, "account": account, "rows": rows, "receives": receives}
    return page_admin.page(request, "admin/accounts/groups.html", title, account, _("Groups"), **more)


def show_group(
    page_admin: BridgeAdmin[ChannelAccount],
    request: HttpRequest,
    account: ChannelAccount,
    channel: Groups,
    conversation: int,
) -> HttpResponse:
    """Show one group as the platform has it now."""
    row = get_object_or_404(Conversation, pk=conversation, account=account, peer_kind="group")
    form = styled(ChangeGroupForm(request.POST or None))
    if request.method == "POST" and form.is_valid() and _change(page_admin, request, account, channel, row, form):
        return HttpResponseRedirect(request.path)
    receives = "group" in channel.receives_from
    context: dict[str, Any] = {"form": form, "account": account, "conversation": row, "receives": receives}
    try:
        context["group"] = group = channel.get_group(row.peer_id)
        context["members"] = _with_names(account, group.members)
    except ChannelError as error:
        context["error"] = str(error)
    return page_admin.page(request, "admin/accounts/group.html", str(row), account, str(row), **context)


def _create(
    page_admin: BridgeAdmin[ChannelAccount],
    request: HttpRequest,
    account: ChannelAccount,
    channel: Groups,
    form: NewGroupForm,
) -> Conversation | None:
    data = form.cleaned_data
    try:
        group_id = channel.create_group(data["name"], data["members"], data["owner"], data["group_id"])
    except ChannelError as error:
        form.add_error(None, str(error))
        return None
    row, _new = Conversation.objects.update_or_create(
        account=account, peer_kind="group", peer_id=group_id, defaults={"title": data["name"]}
    )
    page_admin.notify_and_audit(request, account, _("Created the group “%(name)s”.") % {"name": data["name"]})
    return row


def _change(
    page_admin: BridgeAdmin[ChannelAccount],
    request: HttpRequest,
    account: ChannelAccount,
    channel: Groups,
    row: Conversation,
    form: ChangeGroupForm,
) -> bool:
    data = form.cleaned_data
    try:
        channel.update_group(
            row.peer_id, name=data["name"], owner=data["owner"], add=data["add"], remove=data["remove"]
        )
    except ChannelError as error:
        form.add_error(None, str(error))
        return False
    if data["name"]:
        Conversation.objects.filter(pk=row.pk).update(title=data["name"])
    page_admin.notify_and_audit(request, account, _("The group is changed."))
    return True


def _with_names(account: ChannelAccount, members: tuple[str, ...]) -> list[tuple[str, str]]:
    known = {member: person_id(account, "direct", member) for member in members}
    contacts = Contact.objects.filter(account=account, external_id__in=known.values())
    names = dict(cast("list[tuple[str, str]]", list(contacts.values_list("external_id", "name"))))
    return [(member, names.get(known[member], "")) for member in members]


PANEL = AccountPanel(
    applies_to=has_capability(Groups),
    pages=(
        Page(name="groups", path="groups/", view=overview, label=_("Groups")),
        Page(name="group", path="groups/<int:conversation>/", view=show_group),
    ),
)
