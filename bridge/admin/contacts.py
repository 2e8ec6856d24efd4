"""People as the accounts know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from bridge import search
from bridge.admin.desk import Desk
from bridge.models import Contact

if TYPE_CHECKING:
    from django.http import HttpRequest


@admin.register(Contact)
class ContactAdmin(Desk[Contact]):
    """The name can be written by hand where the platform does not tell it."""

    list_display = ("__str__", "external_id", "account", "subscribed")
    list_select_related = ("account",)
    list_filter = ("account", "subscribed")
    search_fields = ("name", "external_id")
    sortable_by = ()  # half a million people would be sorted for one page
    fields = ("account", "external_id", "name", "subscribed")
    readonly_fields = ("account", "external_id", "subscribed")
    empty_hint = _("A person appears here with their first message.")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        return self.narrowed(request, queryset, search.contacts(queryset, term)) if term else (queryset, False)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
