"""What every list has: its rows as a file, and filters that staff save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from bridge.admin import export, saved_filters
from bridge.admin.unfold import ModelAdmin, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http.response import HttpResponseBase

EXPORT = "bridge.export_list"


class ListAdmin(ModelAdmin[Row]):
    """Gives a list its download and its saved filters.

    exported: the columns of the file. exported_with: what is read along with each page of it.
    """

    exported: ClassVar[tuple[export.Column, ...]] = ()
    exported_with: ClassVar[tuple[str, ...]] = ()

    @property
    def list_name(self) -> str:
        """The name of the list's address within the admin."""
        return f"{self.opts.app_label}_{self.opts.model_name}_changelist"

    @property
    def file_name(self) -> str:
        return str(self.opts.model_name)

    def list_address(self, query: str) -> str:
        address = reverse(f"admin:{self.list_name}")
        return f"{address}?{query}" if query else address

    def load_details(self, request: HttpRequest, rows: list[Row]) -> None:
        """Give rows that are to be shown what their columns need beside them, in a fixed number of queries."""

    def route(self, pattern: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
        """Return the route of a page of this admin, for staff only; its name has the same prefix as Django's own."""
        full_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(pattern, self.admin_site.admin_view(view), name=full_name)

    def list_routes(self, below: str = "", prefix: str = "") -> list[URLPattern]:
        """Return the addresses of what a list has beside itself. below, prefix: of a list that is not the model's first."""
        return [
            self.route(f"{below}export.csv", require_POST(self.export_view), f"{prefix}export"),
            self.route(f"{below}filters/", require_POST(self.save_filter_view), f"{prefix}save_filter"),
            self.route(
                f"{below}filters/<int:pk>/remove/", require_POST(self.remove_filter_view), f"{prefix}remove_filter"
            ),
        ]

    def get_urls(self) -> list[URLPattern]:
        return [*self.list_routes(), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with all rows that match the filter and search of the address. A POST, because it is written in the audit log."""
        self._require_list(request)
        if not request.user.has_perm(EXPORT):
            raise PermissionDenied
        try:
            found = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            messages.warning(request, saved_filters.NOT_UNDERSTOOD)
            return HttpResponseRedirect(self.list_address(""))
        if stale := saved_filters.list_stale(found):
            messages.error(request, saved_filters.describe_stale(stale))
            return HttpResponseRedirect(self.list_address(saved_filters.normalise(request.GET)))
        query, left_out = saved_filters.without_search(request.GET), _find_search_note(request)
        return export.stream(self, request, found.queryset, query, left_out)

    def save_filter_view(self, request: HttpRequest) -> HttpResponse:
        self._require_list(request)
        return saved_filters.save(self, request)

    def remove_filter_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        self._require_list(request)
        return saved_filters.remove(self, request, pk)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Add the bar above the list, and say where a filter of the address does not work (any more)."""
        try:
            answer: HttpResponse = super().changelist_view(request, extra_context)
        except DisallowedModelAdminLookup:
            saved = saved_filters.find_by_query(request, self.list_name)
            if saved is None:
                raise
            return self._refuse_filter(
                request, _("The saved filter “%(name)s” does not work any more.") % {"name": saved}
            )
        if isinstance(answer, HttpResponseRedirect) and answer.url == f"{request.path}?{ERROR_FLAG}=1":
            return self._refuse_filter(request, saved_filters.NOT_UNDERSTOOD)
        if (found := getattr(answer, "context_data", None)) and "cl" in found:
            found["list_bar"] = self._describe_bar(request, found["cl"])
        return answer

    def _refuse_filter(self, request: HttpRequest, why: Any) -> HttpResponseRedirect:
        messages.warning(request, why)
        return HttpResponseRedirect(self.list_address(""))

    def _describe_bar(self, request: HttpRequest, changelist: Any) -> dict[str, Any]:
        query = saved_filters.normalise(request.GET)
        stale = saved_filters.list_stale(changelist)
        return {
            "query": query,
            "address": self.list_address(""),
            "filters": saved_filters.show_filters(request, self.list_name, query),
            "may_export": request.user.has_perm(EXPORT),
            "left_out": _find_search_note(request),
            "may_share": request.user.has_perm(saved_filters.SHARE),
            "problem": saved_filters.describe_stale(stale) if stale else "",
        }

    def _require_list(self, request: HttpRequest) -> None:
        """Raise PermissionDenied for those who may not see the list; leave nothing of the address but its filter."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        request.GET = QueryDict(saved_filters.normalise(request.GET))


def _find_search_note(request: HttpRequest) -> str:
    """Return what the search of this list left out, as a sentence; empty: nothing, or there was none."""
    return str(getattr(request, "search_note", ""))
