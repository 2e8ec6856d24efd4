"""The list of dead letters: what failed and nobody has dismissed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from bridge.admin.deliveries.causes import FailureCodeFilter, PossibleReasons, PossibleStates, list_causes
from bridge.admin.deliveries.lists import DeliveryListAdmin, OpenWorkFilter
from bridge.admin.filters import CodeFilter, FailedFilter, TimeFilter
from bridge.admin.paging import CountedPaginator
from bridge.operations.dashboard import DEAD

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from bridge.models import Delivery


class DeadLetterAdmin(DeliveryListAdmin):
    """The list of failures that nobody has dismissed, grouped by cause at the top. `DeliveryAdmin` has its address."""

    change_list_template = "admin/bridge/dead_letters.html"
    pages = CountedPaginator
    list_disable_select_all = False
    empty_hint = _("No open failures.")
    list_name = "bridge_delivery_dead_letters"
    file_name = "dead-letters"

    def get_list_filter(self, request: HttpRequest) -> Any:
        possible = {
            "state": ("state", PossibleStates),
            "reason": ("reason", PossibleReasons),
            TimeFilter: FailedFilter,
            CodeFilter: FailureCodeFilter,
        }
        return [possible.get(each, each) for each in self.list_filter if each is not OpenWorkFilter]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).filter(DEAD)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = _("Dead letters")
        request.crumb = title  # type: ignore[attr-defined]  # read by the theme's header_title.html
        found = [] if request.GET.get("q") else list_causes(request)
        context = {"title": title, "causes": found, **(extra_context or {})}
        return super().changelist_view(request, context)
