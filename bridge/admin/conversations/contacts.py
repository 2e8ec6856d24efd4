"""The pages of contacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import BridgeAdmin
from bridge.models import Contact, Conversation
from bridge.ui import search

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString


@admin.register(Contact)
class ContactAdmin(BridgeAdmin[Contact]):
    """Staff can enter the name where the platform does not give it."""

    list_display = ("__str__", "external_id", "account", "follows", "kind_label")
    list_select_related = ("account",)
    list_filter = ("account", "kind", "subscribed")
    search_fields = ("name", "external_id")
    search_help_text = _("Name or id")
    sortable_by = ()  # half a million people would be sorted for one page
    fields = ("account", "external_id", "name", "kind_label", "department", "remark", "follows", "conversation")
    readonly_fields = ("account", "external_id", "kind_label", "department", "remark", "follows", "conversation")
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

    @admin.display(description=_("conversation"))
    def conversation(self, contact: Contact) -> SafeString | str:
        """Link to the one-to-one conversation; a person who wrote in groups only has none yet."""
        same = {"account": contact.account_id, "peer_kind": "direct", "peer_id": contact.external_id}
        found = Conversation.objects.filter(**same).values_list("pk", flat=True).first()
        if found is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:bridge_conversation_change", args=[found]), _("Open the conversation")
        )

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        return self.search_results(request, queryset, search.contacts(queryset, term)) if term else (queryset, False)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
