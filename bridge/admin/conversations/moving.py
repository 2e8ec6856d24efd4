"""The page that moves a conversation to another account: first the account, then the conversation there and what is to go along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.models import ChannelAccount
from bridge.admin.base import user_of
from bridge.admin.paging import row_number
from bridge.admin.unfold import styled
from bridge.operations import moving

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from bridge.admin.base import BridgeAdmin
    from bridge.models import Conversation

PERMISSIONS = ("bridge.change_route", "bridge.change_conversation", "bridge.pause_conversation")
# The newest of an account's conversations are offered; the id of another one can be typed.
MOST_OFFERED = 100


class MoveForm(forms.Form):
    """names: whether the mapping names who may talk to the agent; may_say: whether a sentence may be left behind."""

    target = forms.ChoiceField(label=_("Goes on in"), required=False)
    peer_id = forms.CharField(
        label=_("or the ID of a chat that is not in the list"),
        required=False,
        max_length=moving.MOST_ID,
        help_text=_("As the platform gives it. A chat is in the list once somebody has written in it."),
    )
    replaces_mapping = forms.BooleanField(
        label=_("Replace the mapping of that chat, where it has one of its own"), required=False
    )
    allowed_senders = forms.CharField(
        label=_("Allowed senders there"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=_(
            "The mapping names who may talk to the agent. Their IDs differ there: enter the new ones, one a line."
        ),
    )
    everybody = forms.BooleanField(label=_("Everybody there may talk to the agent"), required=False)
    farewell = forms.CharField(
        label=_("Say this in the old chat"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("For example where the group has gone. Empty: nothing is said."),
    )

    def __init__(
        self, conversation: Conversation, account: ChannelAccount, *args: Any, names: bool, may_say: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.account = account
        rows = list(_list_targets(conversation, account)[:MOST_OFFERED])
        choices = [("", _("choose a conversation, or enter an ID")), *((str(row.pk), _label(row)) for row in rows)]
        self.fields["target"].choices = choices  # type: ignore[attr-defined]  # a ChoiceField
        self.ids = {str(row.pk): row.peer_id for row in rows}
        if not names:
            del self.fields["allowed_senders"], self.fields["everybody"]
        if not may_say:
            del self.fields["farewell"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if bool(cleaned.get("target")) == bool(cleaned.get("peer_id")) and not self.errors:
            self.add_error("target", _("Choose a conversation, or enter an ID: one of the two."))
        return cleaned

    @property
    def destination(self) -> moving.Destination:
        given = self.cleaned_data
        return moving.Destination(
            self.account,
            self.ids.get(given["target"], "") or given["peer_id"],
            given["replaces_mapping"],
            given.get("allowed_senders", ""),
            given.get("everybody", False),
        )


def _list_targets(conversation: Conversation, account: ChannelAccount) -> QuerySet[Conversation]:
    """Return conversations of the same kind in which it can go on, the newest first."""
    rows = account.conversations.filter(peer_kind=conversation.peer_kind).exclude(pk=conversation.pk)
    return rows.filter(moved_to=None) | rows.filter(pk__in=moving.find_earlier(conversation))


def _label(row: Conversation) -> str:
    return f"{row.title} ({row.peer_id})" if row.title else row.peer_id


def may_move(request: HttpRequest) -> bool:
    return user_of(request).has_perms(PERMISSIONS)


def show(page_admin: BridgeAdmin[Conversation], request: HttpRequest, pk: int) -> HttpResponse:
    """GET: the accounts, or for one of them (`account`) the form. POST: move it, or show what is wrong."""
    if not may_move(request):
        raise PermissionDenied
    conversation = page_admin.get_or_404(request, pk)
    if reason := moving.why_not_move(conversation):
        messages.error(request, reason)
        return page_admin.redirect_to(conversation)
    asked = request.POST if request.method == "POST" else request.GET
    account = ChannelAccount.objects.filter(pk=row_number(asked.get("account", "")) or 0).first()
    if account is None:
        return _page(page_admin, request, conversation, accounts=_list_accounts(conversation))
    if reason := moving.why_not_to(account, conversation.peer_kind):
        return _page(page_admin, request, conversation, accounts=_list_accounts(conversation), refusal=reason)
    form = _form(request, conversation, account)
    if request.method == "POST" and form.is_valid() and (moved := _move(request, conversation, form)):
        page_admin.log_change(request, conversation, gettext_noop("moved"))
        messages.success(request, _("It goes on here now. The old conversation is paused."))
        for note in moved.notes:
            messages.info(request, note)
        return page_admin.redirect_to(moved.target)
    facts = {"account": account, "form": styled(form), "waiting": moving.count_waiting(conversation)}
    return _page(page_admin, request, conversation, route=moving.find_mapping(conversation), **facts)


def _form(request: HttpRequest, conversation: Conversation, account: ChannelAccount) -> MoveForm:
    route = moving.find_mapping(conversation)
    names = bool(route and route.allowed_senders) and account.pk != conversation.account_id
    may_say = user_of(request).has_perm("bridge.send_message")
    given = (request.POST,) if request.method == "POST" else ()
    return MoveForm(conversation, account, *given, names=names, may_say=may_say)


def _move(request: HttpRequest, conversation: Conversation, form: MoveForm) -> moving.Moved | None:
    """Return None, with the reason in the form, where it cannot move."""
    farewell, client = form.cleaned_data.get("farewell", ""), f"staff:{request.user.pk}"
    try:
        return moving.move_conversation(conversation, form.destination, farewell=farewell, client=client)
    except moving.CannotMove as refused:
        field = {"peer_id": "target" if form.cleaned_data["target"] else "peer_id"}.get(refused.field, refused.field)
        form.add_error(field if field in form.fields else None, str(refused))
    return None


def _list_accounts(conversation: Conversation) -> list[tuple[ChannelAccount, str]]:
    """Return every account, with the reason why the conversation cannot go on there."""
    return [(row, moving.why_not_to(row, conversation.peer_kind)) for row in ChannelAccount.objects.order_by("name")]


def _page(
    page_admin: BridgeAdmin[Conversation], request: HttpRequest, conversation: Conversation, **context: Any
) -> HttpResponse:
    title = _("Move %(conversation)s to another account") % {"conversation": conversation}
    context["conversation"] = conversation
    return page_admin.page(request, "admin/bridge/move.html", title, conversation, _("Move"), **context)
