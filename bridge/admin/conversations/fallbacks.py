"""The fallback senders of a conversation on its page: who sends where the account itself cannot, in which order, and for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.models import ChannelAccount
from bridge.admin.paging import row_number
from bridge.models import Conversation, FallbackSender
from bridge.models.routes import PeerKinds
from bridge.pipeline.outbound.recipients import why_unconfirmed
from bridge.security import audit

if TYPE_CHECKING:
    from django.http import HttpRequest

    from bridge.admin.base import BridgeAdmin

CLASSES = ("on_quota", "on_window", "on_refusal", "on_down")


class FallbackForm(forms.ModelForm):  # type: ignore[type-arg]  # Django does not subscript it
    """A new fallback sender; it comes behind those that are there."""

    peer_kind = forms.ChoiceField(label=_("To"), choices=PeerKinds.choices, required=False)
    peer_id = forms.CharField(
        label=_("Group or person"),
        max_length=200,
        required=False,
        help_text=_("The id at that account. A group robot needs none: it has one group."),
    )

    class Meta:
        model = FallbackSender
        fields = ("account", "peer_kind", "peer_id", *CLASSES)

    def __init__(self, conversation: Conversation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.conversation = conversation
        if self.is_bound:
            self.instance.position = _next_position(conversation)
        self.fields["account"].queryset = ChannelAccount.objects.defer("credentials")  # type: ignore[attr-defined]  # a ModelChoiceField
        self.initial.setdefault("peer_kind", conversation.peer_kind)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if refusal := why_unconfirmed(cleaned.get("peer_kind") or "", cleaned.get("peer_id") or ""):
            self.add_error("peer_id", refusal)
        if not any(cleaned.get(name) for name in CLASSES):
            raise forms.ValidationError(_("Choose at least one case in which it sends."))
        return cleaned

    def validate_unique(self) -> None:
        """Check also the constraint that the excluded conversation is a part of."""
        try:
            self.instance.validate_constraints(exclude={"position"})
        except forms.ValidationError as error:
            self.add_error(None, error)


def _next_position(conversation: Conversation) -> int:
    last: int | None = FallbackSender.objects.filter(conversation=conversation).aggregate(last=Max("position"))["last"]
    return 0 if last is None else last + 1


def list_fallbacks(conversation: Conversation) -> list[FallbackSender]:
    return list(
        FallbackSender.objects.filter(conversation=conversation)
        .select_related("account")
        .defer("account__credentials")
        .order_by("position")
    )


def add_fallback(page_admin: BridgeAdmin[Conversation], request: HttpRequest, conversation: Conversation) -> bool:
    """Store the posted one. Return False, with the reasons as messages, where it is wrong."""
    with transaction.atomic():
        locked = Conversation.objects.select_for_update().get(pk=conversation.pk)
        form = FallbackForm(locked, request.POST)
        if form.is_valid():
            form.save()
    if not form.is_valid():
        for name, errors in form.errors.items():
            label = form.fields[name].label if name in form.fields else ""
            messages.error(request, " ".join(filter(None, (f"{label}:" if label else "", *map(str, errors)))))
        return False
    page_admin.notify(
        request, conversation, _("%(sender)s sends from now on where this account cannot.") % {"sender": form.instance}
    )
    audit.log_action(gettext_noop("added a fallback sender"), [conversation])
    return True


def remove_fallback(page_admin: BridgeAdmin[Conversation], request: HttpRequest, conversation: Conversation) -> None:
    number = request.POST.get("fallback", "")
    found = FallbackSender.objects.filter(conversation=conversation, pk=row_number(number) or 0)
    fallback = found.first()
    if fallback is None:
        messages.warning(request, _("It was removed already."))
        return
    fallback.delete()
    page_admin.notify(
        request, conversation, _("%(sender)s does not send in its place any more.") % {"sender": fallback}
    )
    audit.log_action(gettext_noop("removed a fallback sender"), [conversation])
