"""What the pages share: lists that never count a whole table, pages of one object, and buttons that are POST and checked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from bridge.admin.lists import ListAdmin
from bridge.admin.paging import CURSOR_PARAMETERS, UncountedPaginator, page_number
from bridge.admin.unfold import Row
from bridge.security import audit
from bridge.security.permissions import may_read

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import Model

    from bridge.ui.search import SearchResult


def user_of(request: HttpRequest) -> User:
    """Return the staff member who made a request to the admin."""
    return request.user  # type: ignore[return-value]


# The first words of the result of a test in the history and the audit log.
TESTED = _("Tested: %s")


def _in_english(text: Any) -> str:
    """Return a sentence as a row's history keeps it; what is filled in already stays as it is."""
    with override("en"):
        return str(text)


def local_path(address: str, otherwise: str) -> str:
    """Return the address if it is a path within this site's admin; anything else is not followed."""
    safe = address.startswith("/admin/") and not address.startswith("//") and "\\" not in address
    return address if safe and "/confirm/" not in address else otherwise


class TitledAdmin(ListAdmin[Row]):
    """Gives forms of new rows and histories a title."""

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": _("Add: %(kind)s") % {"kind": self.opts.verbose_name}, **(extra_context or {})}
        request.crumb = context["title"]  # type: ignore[attr-defined]  # read by the theme's header_title.html
        return super().add_view(request, form_url, context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        request.crumb = _("History")  # type: ignore[attr-defined]  # as above
        return super().history_view(request, object_id, extra_context)


class BridgeAdmin(TitledAdmin[Row]):
    """Base of every admin here.

    buttons: name of a method `run_<name>` → the permission it needs.
    masked_columns: column that holds what people wrote → the column that takes its place for those who may not read it.
    """

    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True  # it would promise a number
    buttons: ClassVar[dict[str, str]] = {}
    masked_columns: ClassVar[dict[str, str]] = {}
    empty_hint: ClassVar[Any] = ""
    pages: ClassVar[type[UncountedPaginator]] = UncountedPaginator

    def get_paginator(
        self, request: HttpRequest, queryset: Any, per_page: int, *args: Any, **kwargs: Any
    ) -> UncountedPaginator:
        return self.pages(queryset, per_page, *args, number=page_number(request), **kwargs)

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        return columns if may_read(user_of(request)) else [self.masked_columns.get(str(name), name) for name in columns]

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Allow only lookups that the list offers as filters, because another one could reveal a field's value letter by letter."""
        filters = (each[0] if isinstance(each, tuple) else each for each in self.get_list_filter(request))
        offered = {
            name for each in filters for name in getattr(each, "parameters", (getattr(each, "parameter_name", each),))
        }
        known = lookup.partition("__")[0] in offered or lookup in CURSOR_PARAMETERS
        return known and super().lookup_allowed(lookup, value, request)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Show no number of results, because the paginator does not count, and use the rows that it has read already."""
        found: Any = super().get_changelist_instance(request)
        found.full_result_count = found.result_count
        found.result_list = found.paginator.rows
        found.next_cursor = (
            found.get_query_string(found.paginator.next_cursor, ["p"]) if found.paginator.next_cursor else ""
        )
        self.load_details(request, found.result_list)
        return found

    def search_results(self, request: HttpRequest, rows: Any, found: SearchResult, by: str = "pk") -> tuple[Any, bool]:
        """Return the result of get_search_results, and say what the search left out. by: the field that has the ids of the results."""
        request.search_note = found.note  # type: ignore[attr-defined]  # read by ListAdmin, for the list's file
        if found.note and request.method == "GET":  # where the list is shown
            messages.info(request, found.note)
        return rows.filter(**{f"{by}__in": found.ids}), False

    def get_urls(self) -> list[URLPattern]:
        urls = [
            self.route(f"<int:pk>/{name}/", require_POST(partial(self._run_button, name)), name)
            for name in self.buttons
        ]
        return [*urls, *super().get_urls()]

    def url(self, name: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)

    def get_or_404(self, request: HttpRequest, pk: Any) -> Row:
        """Return the row if this person may see it. Raises PermissionDenied, Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, str(pk))
        if row is None:
            raise Http404
        return row

    def page(
        self, request: HttpRequest, template: str, title: Any, row: Model | None = None, crumb: Any = "", **more: Any
    ) -> TemplateResponse:
        """crumb: what stands behind the row at the top, where the page is not the row's own."""
        context = {**self.admin_site.each_context(request), "opts": self.opts, "original": row, "title": title, **more}
        context["may_read"] = may_read(user_of(request))
        request.crumb = crumb if row else title  # type: ignore[attr-defined]  # read by the theme's header_title.html
        return TemplateResponse(request, template, context)

    def require(self, request: HttpRequest, permission: str) -> None:
        if not user_of(request).has_perm(permission):
            raise PermissionDenied

    def redirect_to(self, row: Model) -> HttpResponseRedirect:
        return HttpResponseRedirect(self.url("change", row.pk))

    def notify(self, request: HttpRequest, row: Any, text: Any, level: int = messages.SUCCESS) -> None:
        """Show a message to the person and add it to the row's history; for changes that the audit log records by itself."""
        messages.add_message(request, level, text)
        self.log_change(request, row, _in_english(text))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Django's, with the sentences of our buttons in the language of the reader."""
        answer = super().history_view(request, object_id, extra_context)
        for entry in getattr(answer, "context_data", {}).get("action_list", ()):
            if not entry.change_message.startswith("["):
                entry.change_message = gettext(entry.change_message) if entry.change_message else ""
        return answer

    def notify_and_audit(self, request: HttpRequest, row: Any, text: Any, level: int = messages.SUCCESS) -> None:
        """Do the same for an action that changes no field of the configuration, so that the audit log does not record it by itself."""
        messages.add_message(request, level, text)
        self.log_and_audit(request, row, text)

    def log_and_audit(self, request: HttpRequest, row: Any, text: Any) -> None:
        """Add an action to the row's history and to the audit log. The text may say more than the message on the page."""
        self.log_change(request, row, _in_english(text))
        audit.log_action(text, [row])

    def _run_button(self, name: str, request: HttpRequest, pk: int) -> HttpResponse:
        self.require(request, self.buttons[name])
        row = self.get_or_404(request, pk)
        answer: HttpResponse | None = getattr(self, f"run_{name}")(request, row)
        return answer or self.redirect_to(row)


class ConfiguredAdmin(BridgeAdmin[Row]):
    """The base for rows that must be tested after they are saved: a save leads to the page of the row."""

    next_step: ClassVar[Any] = ""

    def next_step_of(self, row: Row) -> Any:
        """Return what is to be done after this row was added."""
        return self.next_step

    def response_post_save_add(self, request: HttpRequest, obj: Row) -> HttpResponseRedirect:
        if step := self.next_step_of(obj):
            messages.info(request, step)
        return self.redirect_to(obj)

    def response_post_save_change(self, request: HttpRequest, obj: Row) -> HttpResponseRedirect:
        return self.redirect_to(obj)


class ReadOnlyAdmin(BridgeAdmin[Row]):
    """The base for rows that cannot be changed in the admin."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
