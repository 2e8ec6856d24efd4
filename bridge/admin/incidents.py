"""What was wrong, since when, and who was told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from bridge import shown
from bridge.admin.desk import Facts
from bridge.models import Incident

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString


class StillOpen(admin.SimpleListFilter):
    title, parameter_name = _("state"), "open"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [("1", str(_("going on"))), ("0", str(_("over")))]

    def queryset(self, request, queryset):  # type: ignore[no-untyped-def]
        return queryset.filter(closed_at__isnull=self.value() == "1") if self.value() else queryset


@admin.register(Incident)
class IncidentAdmin(Facts[Incident]):
    list_display = ("title", "state", "since", "over", "staff_told")
    list_filter = (StillOpen,)
    search_fields = ("title", "cause")
    empty_hint = _("Nothing has gone wrong. When an account or a gateway stops, it is written here and staff are told.")

    @admin.display(description=_("state"))
    def state(self, incident: Incident) -> SafeString:
        return shown.badge(_("over"), "quiet") if incident.closed_at else shown.badge(_("going on"), "bad")

    @admin.display(description=_("since"), ordering="opened_at")
    def since(self, incident: Incident) -> SafeString | str:
        return shown.ago(incident.opened_at)

    @admin.display(description=_("over"), ordering="closed_at")
    def over(self, incident: Incident) -> SafeString | str:
        return shown.ago(incident.closed_at)

    @admin.display(description=_("told"))
    def staff_told(self, incident: Incident) -> SafeString | str:
        return shown.badge(_("could not tell"), "warn") if incident.error else shown.ago(incident.told_at)

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        incident = self.seen(request, object_id)
        return self.page(request, "admin/bridge/incident.html", incident.title, incident, incident=incident)
