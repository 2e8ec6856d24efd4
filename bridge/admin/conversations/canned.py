"""The pages of canned answers. Whoever may send messages keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import BridgeAdmin, user_of
from bridge.admin.export import Column, columns
from bridge.models import CannedAnswer

if TYPE_CHECKING:
    from django.http import HttpRequest

SHOWN = 120


@admin.register(CannedAnswer)
class CannedAnswerAdmin(BridgeAdmin[CannedAnswer]):
    list_display = ("__str__", "beginning", "account_or_all")
    list_select_related = ("account",)
    list_filter = ("account",)
    search_fields = ("shortcut", "text")
    search_help_text = _("Shortcut or text")
    sortable_by = ()
    fields = ("shortcut", "text", "account")
    exported = columns(Column("id", _("number")), "shortcut", "text", Column("account_or_all"))
    exported_with = ("account",)
    empty_hint = _("Keep a text that you often answer with; in a conversation it is inserted by its shortcut.")

    @admin.display(description=_("text"))
    def beginning(self, answer: CannedAnswer) -> str:
        return answer.text[:SHOWN] + "…" * (len(answer.text) > SHOWN)

    @admin.display(description=_("account"))
    def account_or_all(self, answer: CannedAnswer) -> str:
        return str(answer.account or _("all accounts"))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return user_of(request).has_perm("bridge.send_message")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)
