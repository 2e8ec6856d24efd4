"""The pages of the audit log, newest first. Its entries cannot be changed or deleted."""

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
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from bridge.admin.base import ReadOnlyAdmin
from bridge.admin.export import Column, columns
from bridge.admin.paging import row_number
from bridge.models import Delivery, SavedFilter
from bridge.security import audit
from bridge.ui import formatting

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

admin.site.unregister(LogEntry)
# An action on many rows is one entry that belongs to no row; its data has their ids.
_SHARED = Q(object_pk="")
ACTIONS = {
    LogEntry.Action.CREATE: _("added"),
    LogEntry.Action.UPDATE: _("changed"),
    LogEntry.Action.DELETE: _("deleted"),
}
TONES = {LogEntry.Action.CREATE: "good", LogEntry.Action.UPDATE: "info", LogEntry.Action.DELETE: "bad"}


class ModelFilter(admin.SimpleListFilter):
    """A filter of the models that the audit log records, not of all tables."""

    title, parameter_name = _("what"), "what"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        models = [*auditlog.get_models(), Delivery, SavedFilter]
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
    exported = columns(
        Column("id", _("number")),
        Column("timestamp", _("when")),
        Column("who"),
        Column("what"),
        Column("action_done"),
        Column("changes", _("changes"), lambda entry: _write_changes(entry)),
        Column("rows", _("numbers"), lambda entry: (entry.additional_data or {}).get("rows", [])),
        Column("remote_addr"),
    )
    empty_hint = _("Changes by staff and scripts are listed here.")

    @admin.display(description=_("what"))
    def what(self, entry: LogEntry) -> str:
        return f"{describe_kind(entry)}: {audit.describe_rows(entry)[:60]}"

    @admin.display(description=_("action"))
    def action_done(self, entry: LogEntry) -> SafeString | str:
        """Describe the action, or name the changed fields."""
        if sentence := describe_entry(entry):
            return sentence
        badge = formatting.badge(describe_action(entry), TONES.get(entry.action, "quiet"))
        return format_html("{} {}", badge, ", ".join(_find_label(entry, name) for name in sorted(entry.changes_dict)))

    @admin.display(description=_("who"))
    def who(self, entry: LogEntry) -> str:
        return str(entry.actor or entry.actor_email or "–")

    @admin.display(description=_("when"), ordering="timestamp")
    def when(self, entry: LogEntry) -> SafeString | str:
        return formatting.relative_time(entry.timestamp)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search by index only, because the log grows for years."""
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
            "sentence": describe_entry(entry),
            "about": audit.describe_rows(entry),
            "action": describe_entry(entry) or describe_action(entry),
            "changes": list_changes(entry),
            "link": find_link(entry),
            "rows": list_rows(entry),
        }
        return self.page(request, "admin/bridge/audit.html", self.what(entry), entry, **context)


def describe_kind(entry: LogEntry) -> str:
    """Return the name of the model; the stored name where the model does not exist any more."""
    model = entry.content_type.model_class()
    return str(model._meta.verbose_name) if model else str(entry.content_type.model)


def describe_action(entry: LogEntry) -> str:
    return str(ACTIONS.get(entry.action, entry.get_action_display()))


def describe_entry(entry: LogEntry) -> str:
    """Return the sentence of an action; empty where the changed fields say what was done."""
    data = entry.additional_data or {}
    return _describe_download(data["download"]) if "download" in data else audit.describe_action(entry)


def _describe_download(download: dict[str, Any]) -> str:
    """Return what was downloaded, with the address of what it was, and whether it came to its end."""
    address = f"{reverse('admin:' + download['list'])}?{download['filter']}".rstrip("?")
    if download["rows"] is None:
        return _now("Began to download rows as CSV: %(address)s") % {"address": address}
    words = {"n": download["rows"], "address": address}
    if not download["is_whole"]:
        text = ngettext(
            "Downloaded %(n)d row as CSV, then stopped: %(address)s",
            "Downloaded %(n)d rows as CSV, then stopped: %(address)s",
            download["rows"],
        )
        return text % words
    return (
        ngettext(
            "Downloaded %(n)d row as CSV: %(address)s", "Downloaded %(n)d rows as CSV: %(address)s", download["rows"]
        )
        % words
    )


def _write_changes(entry: LogEntry) -> list[str]:
    """Return for each changed field what it was and became, as the page of the entry shows it."""
    return [f"{each['field']}: {each['before']} → {each['after']}" for each in list_changes(entry)]


def list_changes(entry: LogEntry) -> list[dict[str, str]]:
    """Return for each changed field its label, its old value and its new value."""
    return [
        {"field": _find_label(entry, name), **_before_and_after(change, _displayed_values(entry, name, change))}
        for name, change in sorted(entry.changes_dict.items())
    ]


def _find_label(entry: LogEntry, name: str) -> str:
    if name == "secret":  # no form has this field, so that its model does not name it
        return _now("Secret")
    model: Any = entry.content_type.model_class()
    try:
        return str(model._meta.get_field(name).verbose_name)
    except (AttributeError, FieldDoesNotExist):
        return name


def _displayed_values(entry: LogEntry, name: str, change: Any) -> dict[str, str]:
    """Return how pages show the stored values of this field: true and false, nothing, the values of a choice, and the names of rows."""
    words = {"None": "", "True": str(_("yes")), "False": str(_("no"))}
    model: Any = entry.content_type.model_class()
    try:
        field = model._meta.get_field(name)
    except (AttributeError, FieldDoesNotExist):
        return words
    if field.many_to_one:
        numbers = [value for value in change if str(value).isdigit()]
        return {**words, **{str(row.pk): str(row) for row in field.related_model._base_manager.filter(pk__in=numbers)}}
    return {**words, **{str(value): str(label) for value, label in getattr(field, "flatchoices", ())}}


def _before_and_after(change: Any, words: dict[str, str]) -> dict[str, str]:
    if isinstance(change, dict):
        side = "after" if change["operation"] == "add" else "before"
        return {"before": "", "after": "", side: ", ".join(change["objects"])}
    before, after = (words.get(str(value), str(value)) for value in change)
    return {"before": before, "after": after}


def list_rows(entry: LogEntry) -> list[dict[str, Any]]:
    """Return the ids and pages of all rows of one action; empty where it was one row."""
    numbers = (entry.additional_data or {}).get("rows", [])
    return [{"number": number, "link": _find_page(entry, number)} for number in numbers]


def find_link(entry: LogEntry) -> str:
    """Return the page of the changed row, if it has one; the row may be deleted."""
    return "" if entry.action == LogEntry.Action.DELETE else _find_page(entry, entry.object_pk)


def _find_page(entry: LogEntry, pk: Any) -> str:
    try:
        return reverse(f"admin:{entry.content_type.app_label}_{entry.content_type.model}_change", args=[pk])
    except NoReverseMatch:
        return ""
