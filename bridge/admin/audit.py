"""Who did what: the audit log, newest first, for those who may see it. Nobody writes or deletes here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Q
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import ReadOnlyAdmin
from bridge.admin.paging import row_number
from bridge.models import Delivery
from bridge.ui import formatting

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

admin.site.unregister(LogEntry)
# An action on many rows is one entry of no row; it names them in its data.
_SHARED = Q(object_pk="")
ACTIONS = {
    LogEntry.Action.CREATE: _("added"),
    LogEntry.Action.UPDATE: _("changed"),
    LogEntry.Action.DELETE: _("deleted"),
}
TONES = {LogEntry.Action.CREATE: "good", LogEntry.Action.UPDATE: "info", LogEntry.Action.DELETE: "bad"}


class ModelFilter(admin.SimpleListFilter):
    """The models that are watched, not every table there is."""

    title, parameter_name = _("what"), "what"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        models = [*auditlog.get_models(), Delivery]
        kinds = ContentType.objects.get_for_models(*models)
        return sorted(
            ((str(kind.pk), model._meta.verbose_name) for model, kind in kinds.items()), key=lambda one: one[1]
        )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        number = row_number(self.value() or "")
        return queryset if number is None else queryset.filter(content_type_id=number)


class ActorFilter(admin.SimpleListFilter):
    title, parameter_name = _("who"), "who"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        return [(str(pk), name) for pk, name in User.objects.order_by("username").values_list("pk", "username")[:200]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        number = row_number(self.value() or "")
        return queryset if number is None else queryset.filter(actor_id=number)


@admin.register(LogEntry)
class AuditAdmin(ReadOnlyAdmin[LogEntry]):
    list_display = ("what", "action_done", "who", "when", "remote_addr")
    list_select_related = ("content_type", "actor")
    list_filter = (ModelFilter, ActorFilter, "action")
    search_fields = ("object_id",)
    search_help_text = _("Number, or name of the staff")
    empty_hint = _("Changes by staff and scripts are listed here.")

    @admin.display(description=_("what"))
    def what(self, entry: LogEntry) -> str:
        return f"{kind_of(entry)}: {entry.object_repr[:60]}"

    @admin.display(description=_("action"))
    def action_done(self, entry: LogEntry) -> SafeString | str:
        """What was done in words, or which fields were changed."""
        if sentence := sentence_of(entry):
            return sentence
        badge = formatting.badge(action_of(entry), TONES.get(entry.action, "quiet"))
        return format_html("{} {}", badge, ", ".join(_label(entry, name) for name in sorted(entry.changes_dict)))

    @admin.display(description=_("who"))
    def who(self, entry: LogEntry) -> str:
        return str(entry.actor or entry.actor_email or "–")

    @admin.display(description=_("when"), ordering="timestamp")
    def when(self, entry: LogEntry) -> SafeString | str:
        return formatting.relative_time(entry.timestamp)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By index only: the log grows for years."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(actor__in=list(User.objects.filter(username__icontains=term).values_list("pk", flat=True)[:200]))
        if (number := row_number(term)) is not None:
            found |= Q(object_id=number) | _SHARED & Q(additional_data__rows__contains=number)
        return queryset.filter(found), False

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        entry = self.get_or_404(request, object_id)
        context = {
            "entry": entry,
            "sentence": sentence_of(entry),
            "action": sentence_of(entry) or action_of(entry),
            "changes": changes_of(entry),
            "link": link_to(entry),
            "rows": rows_of(entry),
        }
        return self.page(request, "admin/bridge/audit.html", self.what(entry), entry, **context)


def kind_of(entry: LogEntry) -> str:
    """What sort of thing it was; a model that is gone by its stored name."""
    model = entry.content_type.model_class()
    return str(model._meta.verbose_name) if model else str(entry.content_type.model)


def action_of(entry: LogEntry) -> str:
    return str(ACTIONS.get(entry.action, entry.get_action_display()))


def sentence_of(entry: LogEntry) -> str:
    return str((entry.additional_data or {}).get("action", ""))


def changes_of(entry: LogEntry) -> list[dict[str, str]]:
    """Field by field: its label, what it was and what it became."""
    return [
        {"field": _label(entry, name), **_sides(change, _words_of(entry, name))}
        for name, change in sorted(entry.changes_dict.items())
    ]


def _label(entry: LogEntry, name: str) -> str:
    model: Any = entry.content_type.model_class()
    try:
        return str(model._meta.get_field(name).verbose_name)
    except (AttributeError, FieldDoesNotExist):
        return name


def _words_of(entry: LogEntry, name: str) -> dict[str, str]:
    """How pages call the values that are stored in this field: true and false, nothing, and the values of a choice."""
    words = {"None": "", "True": str(_("yes")), "False": str(_("no"))}
    model: Any = entry.content_type.model_class()
    try:
        choices = model._meta.get_field(name).flatchoices
    except (AttributeError, FieldDoesNotExist):
        choices = []
    return {**words, **{str(value): str(label) for value, label in choices}}


def _sides(change: Any, words: dict[str, str]) -> dict[str, str]:
    if isinstance(change, dict):
        side = "after" if change["operation"] == "add" else "before"
        return {"before": "", "after": "", side: ", ".join(change["objects"])}
    before, after = (words.get(str(value), str(value)) for value in change)
    return {"before": before, "after": after}


def rows_of(entry: LogEntry) -> list[dict[str, Any]]:
    """The numbers and pages of all rows of one action; empty where it was one row."""
    numbers = (entry.additional_data or {}).get("rows", [])
    return [{"number": number, "link": _page_of(entry, number)} for number in numbers]


def link_to(entry: LogEntry) -> str:
    """The page of what was changed, if it has one; it may be gone."""
    return "" if entry.action == LogEntry.Action.DELETE else _page_of(entry, entry.object_pk)


def _page_of(entry: LogEntry, pk: Any) -> str:
    try:
        return reverse(f"admin:{entry.content_type.app_label}_{entry.content_type.model}_change", args=[pk])
    except NoReverseMatch:
        return ""
