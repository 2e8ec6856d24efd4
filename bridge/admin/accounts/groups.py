"""Group chats that an account makes itself, for kinds that can (`Groups`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.channels import build_channel
from accounts.person_ids import person_id
from bridge.admin.unfold import styled
from bridge.models import Contact, Conversation
from channels_wechat.contract.capabilities import Groups
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.accounts.pages import AccountAdmin


class MembersField(forms.CharField):
    """User ids, separated by anything but letters, digits and the signs ids are made of."""

    widget = forms.Textarea(attrs={"rows": 3})

    def clean(self, value: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(re.findall(r"[\w.@-]+", super().clean(value))))


class NewGroup(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=50)
    members = MembersField(
        label=gettext_lazy("Members"), help_text=gettext_lazy("User ids, at least two; one a line or with commas.")
    )
    owner = forms.CharField(
        label=gettext_lazy("Owner"), required=False, help_text=gettext_lazy("Empty: one of the members.")
    )
    group_id = forms.RegexField(
        r"^[0-9a-zA-Z]{1,32}$",
        label=gettext_lazy("Id"),
        required=False,
        help_text=gettext_lazy("Letters and digits, at most 32. Empty: the platform makes one."),
    )

    def clean_members(self) -> tuple[str, ...]:
        members: tuple[str, ...] = self.cleaned_data["members"]
        if len(members) < 2:
            raise forms.ValidationError(_("A group has at least two members."))
        return members


class ChangedGroup(forms.Form):
    name = forms.CharField(label=gettext_lazy("New name"), max_length=50, required=False)
    owner = forms.CharField(label=gettext_lazy("New owner"), required=False)
    add = MembersField(label=gettext_lazy("Add"), required=False, help_text=gettext_lazy("User ids."))
    remove = MembersField(label=gettext_lazy("Remove"), required=False, help_text=gettext_lazy("User ids."))


def overview(desk: AccountAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """The account's groups, and the form for another one."""
    account, channel = _maker(desk, request, pk)
    form = styled(NewGroup(request.POST or None))
    if request.method == "POST" and form.is_valid():
        conversation = _create(desk, request, account, channel, form)
        if conversation:
            return HttpResponseRedirect(desk.url("group", account.pk, conversation.pk))
    rows = Conversation.objects.filter(account=account, peer_kind="group")[:200]
    title = _("Groups made by %(account)s") % {"account": account}
    hears = "group" in channel.hears
    more: dict[str, Any] = {"form": form, "account": account, "rows": rows, "hears": hears}
    return desk.page(request, "admin/accounts/groups.html", title, account, _("Groups"), **more)


def one(desk: AccountAdmin, request: HttpRequest, pk: int, conversation: int) -> HttpResponse:
    """One group as the platform has it now."""
    account, channel = _maker(desk, request, pk)
    row = get_object_or_404(Conversation, pk=conversation, account=account, peer_kind="group")
    form = styled(ChangedGroup(request.POST or None))
    if request.method == "POST" and form.is_valid() and _change(desk, request, account, channel, row, form):
        return HttpResponseRedirect(request.path)
    context: dict[str, Any] = {"form": form, "account": account, "conversation": row, "hears": "group" in channel.hears}
    try:
        context["group"] = group = channel.get_group(row.peer_id)
        context["members"] = _named(account, group.members)
    except ChannelError as error:
        context["error"] = str(error)
    return desk.page(request, "admin/accounts/group.html", str(row), account, str(row), **context)


def _maker(desk: AccountAdmin, request: HttpRequest, pk: int) -> tuple[ChannelAccount, Groups]:
    account = desk.seen(request, pk)
    if not desk.has_change_permission(request):
        raise PermissionDenied
    channel = build_channel(account)
    if not isinstance(channel, Groups):
        raise Http404
    return account, channel


def _create(
    desk: AccountAdmin, request: HttpRequest, account: ChannelAccount, channel: Groups, form: NewGroup
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
    desk.did(request, account, _("Made the group “%(name)s”.") % {"name": data["name"]})
    return row


def _change(
    desk: AccountAdmin,
    request: HttpRequest,
    account: ChannelAccount,
    channel: Groups,
    row: Conversation,
    form: ChangedGroup,
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
    desk.did(request, account, _("The group is changed."), messages.SUCCESS)
    return True


def _named(account: ChannelAccount, members: tuple[str, ...]) -> list[tuple[str, str]]:
    known = {member: person_id(account, "direct", member) for member in members}
    contacts = Contact.objects.filter(account=account, external_id__in=known.values())
    names = dict(cast("list[tuple[str, str]]", list(contacts.values_list("external_id", "name"))))
    return [(member, names.get(known[member], "")) for member in members]
