"""The pages of contacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import BridgeAdmin, user_of
from bridge.admin.export import Column, columns
from bridge.models import Contact, Conversation, Message
from bridge.security.permissions import may_read
from bridge.ui import formatting, search

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString


# So many newest messages tell the groups of a person, and so many of them are shown.
LOOKED_AT, SHOWN = 50, 10


@admin.register(Contact)
class ContactAdmin(BridgeAdmin[Contact]):
    """Staff can enter the name where the platform does not give it."""

    list_display = ("__str__", "external_id", "account", "follows", "kind_label")
    list_select_related = ("account",)
    list_filter = ("account", "kind", "subscribed")
    search_fields = ("name", "external_id")
    search_help_text = _("Name, id, #number or code")
    sortable_by = ()  # half a million people would be sorted for one page
    fields = (
        "account",
        "external_id",
        "name",
        "kind_label",
        "department",
        "remark",
        "follows",
        "conversations",
        "last_messages",
    )
    exported = columns(
        Column("id", _("number")),
        "external_id",
        "name",
        "account",
        "kind",
        "department",
        "remark",
        "subscribed",
        "left_at",
        "created_at",
    )
    empty_hint = _("A person appears here with their first message.")

    @admin.display(description=_("follows"), ordering="subscribed")
    def follows(self, contact: Contact) -> str:
        """Show a dash where the platform has no followers, as with a WeCom app."""
        return "–" if contact.subscribed is None else str(_("yes") if contact.subscribed else _("no"))

    @admin.display(description=_("who it is"), ordering="kind")
    def kind_label(self, contact: Contact) -> str:
        """Show a dash for somebody whom no directory tells."""
        if not contact.kind:
            return "–"
        label = str(contact.get_kind_display())
        return f"{label} · {_('left')}" if contact.left_at else label

    def get_fields(self, request: HttpRequest, obj: Contact | None = None) -> Any:
        """Leave out messages for those who may not see their list."""
        may_see = {
            "conversations": user_of(request).has_perm("bridge.view_conversation"),
            "last_messages": user_of(request).has_perm("bridge.view_message"),
        }
        return [name for name in self.fields if may_see.get(name, True)]

    def get_readonly_fields(self, request: HttpRequest, obj: Contact | None = None) -> Any:
        return [name for name in self.get_fields(request, obj) if name != "name"]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Contact | None:
        """Load the newest messages of the person, which two fields show."""
        found = super().get_object(request, object_id, from_field)
        if found:
            found.said = _find_last_messages(found)  # type: ignore[attr-defined]
            found.may_read = may_read(user_of(request))  # type: ignore[attr-defined]
        return found

    @admin.display(description=_("conversations"))
    def conversations(self, contact: Contact) -> SafeString | str:
        """Link to the one-to-one conversation, and to the groups in which their newest messages are."""
        direct = Conversation.objects.filter(
            account=contact.account_id, peer_kind="direct", peer_id=contact.external_id
        ).first()
        talks = {talk.pk: talk for talk in (direct, *(message.conversation for message in _said(contact))) if talk}
        links = ((reverse("admin:bridge_conversation_change", args=[pk]), talk) for pk, talk in talks.items())
        return format_html_join(" · ", '<a href="{}">{}</a>', links) or "–"

    @admin.display(description=_("last messages"))
    def last_messages(self, contact: Contact) -> SafeString | str:
        may_see = getattr(contact, "may_read", False)
        rows = (
            (
                reverse("admin:bridge_message_change", args=[message.pk]),
                message,
                message.preview if may_see else f"[{message.kind}]",
                formatting.relative_time(message.created_at),
            )
            for message in _said(contact)[:SHOWN]
        )
        return format_html_join("", '<div><a href="{}">{}</a> {} <small>{}</small></div>', rows) or "–"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        return self.search_results(request, queryset, search.contacts(queryset, term)) if term else (queryset, False)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


def _find_last_messages(contact: Contact) -> list[Message]:
    """Return the newest messages of the person, by the index message_sender."""
    rows = Message.objects.filter(sender=contact.external_id, account=contact.account_id).order_by("-id")
    return list(
        rows.only("kind", "text", "created_at", "conversation__title", "conversation__peer_id").select_related(
            "conversation"
        )[:LOOKED_AT]
    )


def _said(contact: Contact) -> list[Message]:
    return getattr(contact, "said", [])
