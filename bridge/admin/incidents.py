"""Incidents: what is or was wrong, since when, and whether staff were alerted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from bridge.admin.base import ReadOnlyAdmin, local_path, user_of
from bridge.models import Incident
from bridge.operations import alerts
from bridge.security import audit
from bridge.ui import formatting

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

CHANNELS = {"ALERT_EMAIL": _("by e-mail"), "ALERT_WEBHOOK_URL": _("by webhook")}


class ActiveFilter(admin.SimpleListFilter):
    title, parameter_name = _("state"), "open"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [("1", str(_("active"))), ("0", str(_("resolved")))]

    def queryset(self, request, queryset):  # type: ignore[no-untyped-def]
        return queryset.filter(closed_at__isnull=self.value() == "1") if self.value() else queryset


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin[Incident]):
    list_display = ("what", "state", "since", "closed", "alert_sent")
    list_filter = (ActiveFilter,)
    search_fields = ("code", "cause", "code_params__name")
    search_help_text = _("Name of account or gateway")
    change_list_template = "admin/bridge/incident_list.html"
    empty_hint = _("No incidents. When an account or a gateway stops working, or deliveries fail, it is listed here.")

    @admin.display(description=_("what"), ordering="code")
    def what(self, incident: Incident) -> str:
        return incident.title

    @admin.display(description=_("state"))
    def state(self, incident: Incident) -> SafeString:
        return formatting.badge(_("resolved"), "quiet") if incident.closed_at else formatting.badge(_("active"), "bad")

    @admin.display(description=_("since"), ordering="opened_at")
    def since(self, incident: Incident) -> SafeString | str:
        return formatting.relative_time(incident.opened_at)

    @admin.display(description=_("resolved"), ordering="closed_at")
    def closed(self, incident: Incident) -> SafeString | str:
        return formatting.relative_time(incident.closed_at)

    @admin.display(description=_("alert sent"))
    def alert_sent(self, incident: Incident) -> SafeString | str:
        """Nothing is claimed: a time only where a channel accepted the alert."""
        if incident.notified_at:
            return formatting.relative_time(incident.notified_at)
        if incident.error:
            return formatting.badge(_("could not be sent"), "warn")
        return (
            formatting.badge(_("on its way"), "info")
            if alerts.list_channels() and not incident.closed_at
            else str(_("no"))
        )

    def get_urls(self) -> list[URLPattern]:
        test = self.route("test-alert/", require_POST(self.test_alert_view), "test_alert")
        return [test, *super().get_urls()]

    def test_alert_view(self, request: HttpRequest) -> HttpResponse:
        """Send a test alert and say for each channel what became of it."""
        self.require(request, "accounts.change_channelaccount")
        for tried in alerts.send_test():
            name = {"channel": CHANNELS[tried.channel], "error": tried.error}
            if tried.error:
                messages.error(request, _("The test alert %(channel)s was not accepted: %(error)s") % name)
            else:
                messages.success(request, _("The test alert %(channel)s was accepted.") % name)
        if not alerts.list_channels():
            messages.warning(request, _("Nothing was sent: neither ALERT_EMAIL nor ALERT_WEBHOOK_URL is set."))
        audit.log_action("sent a test alert", [user_of(request)])
        return HttpResponseRedirect(local_path(request.POST.get("back", ""), self.url("changelist")))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**describe_alerts(), **(extra_context or {})})

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        incident = self.get_or_404(request, object_id)
        context = {**describe_alerts(), "incident": incident, "links": _list_links(incident.cause)}
        return self.page(request, "admin/bridge/incident.html", incident.title, incident, **context)


def describe_alerts() -> dict[str, Any]:
    """For alerts.html: the channels by which staff are alerted, in words; an empty list means that alerts are off."""
    return {"alert_channels": [CHANNELS[name] for name in alerts.list_channels()]}


def _list_links(cause: str) -> list[dict[str, str]]:
    """Where to go on from an incident. cause: as `bridge.operations.alerts` writes it, for example "account:3", "dead:hook:2"."""
    kind, _colon, number = cause.rpartition(":")
    letters, work = reverse("admin:bridge_delivery_dead_letters"), reverse("admin:bridge_delivery_changelist")
    pages = {
        "account": [("accounts_channelaccount", _("Open the account"))],
        "gateway": [("openclaw_gateway", _("Open the gateway"))],
        "turns": [("openclaw_gateway", _("Open the gateway"))],
        "hook": [("bridge_webhookendpoint", _("Open the webhook"))],
        "dead": [("accounts_channelaccount", _("Open the account"))],
        "dead:hook": [("bridge_webhookendpoint", _("Open the webhook"))],
    }
    lists = {
        "account": [(f"{work}?open=waiting&account__id__exact={number}", _("Show what waits for it"))],
        "gateway": [(f"{work}?open=waiting&gateway__id__exact={number}", _("Show what waits for it"))],
        "turns": [(f"{work}?open=waiting&gateway__id__exact={number}", _("Show what waits for it"))],
        "dead": [(f"{letters}?account__id__exact={number}", _("Show the failed deliveries"))],
        "dead:hook": [(f"{letters}?endpoint__id__exact={number}", _("Show the failed deliveries"))],
        "stuck": [(f"{work}?open=waiting", _("Show what waits"))],
        "spool": [(f"{reverse('admin:index')}#on-disk", _("Show what lies on disk"))],
    }
    found = [(reverse(f"admin:{name}_change", args=[number]), text) for name, text in pages.get(kind, [])]
    return [{"url": url, "text": str(text)} for url, text in [*lists.get(kind or number, []), *found]]
