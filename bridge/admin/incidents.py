"""Incidents: what is or was wrong, since when, and whether staff were alerted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.db.models import Q
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_POST

from bridge.admin.alerts import show_test
from bridge.admin.attention import describe_attention, find_mend, list_chats, list_examples
from bridge.admin.base import ReadOnlyAdmin, local_path, user_of
from bridge.admin.export import Column, columns
from bridge.models import AlertDelivery, Incident, Reason
from bridge.models.incidents import NOTE_LENGTH, select_muted
from bridge.operations import incidents
from bridge.operations.alerts import channels, planning, sending
from bridge.security import audit
from bridge.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

# Incidents about which deliveries wait.
WAITING = ("account_down", "gateway_down", "gateway_takes_no_turns", "webhook_failing", "stuck", "backlog")
# The alerts of an incident that its page shows.
MAX_ALERTS = 50


class ActiveFilter(admin.SimpleListFilter):
    title, parameter_name = _("state"), "open"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [
            ("1", str(_("active"))),
            ("acknowledged", str(_("acknowledged"))),
            ("muted", str(_("muted"))),
            ("0", str(_("resolved"))),
        ]

    def queryset(self, request, queryset):  # type: ignore[no-untyped-def]
        choices = {
            "1": Q(closed_at=None),
            "acknowledged": Q(closed_at=None, acknowledged_at__isnull=False),
            "muted": select_muted(timezone.now()),
            "0": Q(closed_at__isnull=False),
        }
        chosen = choices.get(self.value() or "")
        return queryset.filter(chosen) if chosen else queryset


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin[Incident]):
    list_display = ("what", "state", "since", "closed", "alert_sent")
    list_filter = (ActiveFilter, "severity", "account", "gateway", "endpoint", "owner")
    buttons = dict.fromkeys(("acknowledge", "mute", "take", "note"), "bridge.handle_incident")
    search_fields = ("code", "cause", "code_params__name")
    search_help_text = _("Name of account or gateway")
    change_list_template = "admin/bridge/incident_list.html"
    exported = columns(
        Column("id", _("number")),
        Column("what"),
        Column("state", _("state"), lambda row: _("resolved") if row.closed_at else _("active")),
        "severity",
        "count",
        "account",
        "gateway",
        "endpoint",
        "conversation",
        Column("reason", read=lambda row: Reason(row.reason).label if row.reason in Reason.values else row.reason),
        "error_code",
        Column("opened_at"),
        "first_seen_at",
        "last_seen_at",
        "closed_at",
        "notified_at",
        "acknowledged_at",
        "acknowledged_by",
        "muted_until",
        "muted_to_end",
        "owner",
        "note",
    )
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
        """Nothing is claimed: a time only where a channel accepted the alert, and that it goes only where one waits and will be sent."""
        if incident.notified_at:
            return formatting.relative_time(incident.notified_at)
        if incident.error:
            return formatting.badge(_("could not be sent"), "warn")
        dropped = incident.is_muted or getattr(incident, "alert_is_dropped", False)
        waits = getattr(incident, "alert_waits", False) and not dropped
        return formatting.badge(_("on its way"), "info") if waits else str(_("no"))

    def get_queryset(self, request: HttpRequest) -> Any:
        dropped = planning.settled() | planning.ended_silently()
        return super().get_queryset(request).annotate(alert_waits=channels.has_waiting(), alert_is_dropped=dropped)

    def get_urls(self) -> list[URLPattern]:
        test = self.route("test-alert/", require_POST(self.test_alert_view), "test_alert")
        rows = self.route("attention/", self.attention_view, "attention")
        return [test, rows, *super().get_urls()]

    def attention_view(self, request: HttpRequest) -> HttpResponse:
        """Answer the rows of the first page, for its script."""
        self.require(request, "bridge.view_incident")
        return TemplateResponse(request, "admin/bridge/attention_rows.html", describe_attention(request))

    def run_acknowledge(self, request: HttpRequest, incident: Incident) -> None:
        self._handle(request, lambda: incidents.acknowledge(incident, user_of(request)), _("Acknowledged."))

    def run_mute(self, request: HttpRequest, incident: Incident) -> None:
        given = request.POST.get("how_long", "")
        if given not in list(incidents.Mute):
            raise BadRequest
        how_long = incidents.Mute(given)
        words = _("It is no longer muted.") if how_long is incidents.Mute.NONE else _("It is muted.")
        self._handle(request, lambda: incidents.mute(incident, how_long), words)

    def run_take(self, request: HttpRequest, incident: Incident) -> None:
        user = user_of(request)
        owner = None if incident.owner_id == user.pk else user
        words = _("You deal with it.") if owner else _("Nobody deals with it now.")
        self._handle(request, lambda: incidents.assign(incident, owner), words)

    def run_note(self, request: HttpRequest, incident: Incident) -> None:
        text = request.POST.get("note", "").replace("\0", "").strip()
        if len(text) > NOTE_LENGTH:
            messages.error(request, _("A note has at most %(most)d characters.") % {"most": NOTE_LENGTH})
            return
        self._handle(request, lambda: incidents.write_note(incident, text), _("The note is saved."))

    def _handle(self, request: HttpRequest, work: Callable[[], None], words: Any) -> None:
        try:
            work()
        except incidents.IsResolved:
            messages.warning(request, _("It was resolved meanwhile."))
        else:
            messages.success(request, words)

    def test_alert_view(self, request: HttpRequest) -> HttpResponse:
        """Send a test alert and say for each channel what became of it."""
        self.require(request, "accounts.change_channelaccount")
        active = channels.list_active()
        for channel in active:
            show_test(request, channel, sending.send_test(channel))
        if not active:
            messages.warning(request, _("Nothing was sent: there is no channel for alerts."))
        audit.log_action(gettext_noop("sent a test alert"), [user_of(request)])
        return HttpResponseRedirect(local_path(request.POST.get("back", ""), self.url("changelist")))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**describe_alerts(), **(extra_context or {})})

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        incident = self.get_or_404(request, object_id)
        earlier = Incident.objects.filter(cause=incident.cause).exclude(pk=incident.pk).order_by("-opened_at")
        mend = find_mend(incident, user_of(request)) if incident.closed_at is None else None
        context = {
            **describe_alerts(),
            "incident": incident,
            "links": [link for link in _list_links(incident) if mend is None or link["url"] != mend.url],
            "mend": mend,
            "chats": list_chats(incident),
            "examples": list_examples(incident),
            "mutes": [(value, label) for value, label in incidents.MUTE_LABELS.items()],
            "earlier": earlier[:5],
            "alerts": _list_alerts(incident),
        }
        return self.page(request, "admin/bridge/incident.html", incident.title, incident, **context)


def describe_alerts() -> dict[str, Any]:
    """For alerts.html: the channels by which staff are alerted, in words; an empty list means that alerts are off."""
    return {"alert_channels": [channel.name for channel in channels.list_active()]}


def _list_alerts(incident: Incident) -> list[AlertDelivery]:
    """Return who was told of it and when, and who was not and why."""
    return list(incident.alerts.select_related("channel", "message").order_by("id")[:MAX_ALERTS])


def _list_links(incident: Incident) -> list[dict[str, str]]:
    """Return where to go on from an incident: the list of the deliveries that it is about, and the page of what does not work."""
    found = [*_list_delivery_links(incident), *_list_page_links(incident)]
    return [{"url": url, "text": str(text)} for url, text in found]


def _list_page_links(incident: Incident) -> list[tuple[str, Any]]:
    pages = (
        (incident.account_id, "accounts_channelaccount", _("Open the account")),
        (incident.gateway_id, "openclaw_gateway", _("Open the gateway")),
        (incident.endpoint_id, "bridge_webhookendpoint", _("Open the webhook")),
    )
    return [(reverse(f"admin:{name}_change", args=[pk]), text) for pk, name, text in pages if pk]


def _list_delivery_links(incident: Incident) -> list[tuple[str, Any]]:
    letters, work = reverse("admin:bridge_delivery_dead_letters"), reverse("admin:bridge_delivery_changelist")
    place = urlencode(
        {
            f"{name}__id__exact": pk
            for name in ("account", "gateway", "endpoint")
            if (pk := getattr(incident, f"{name}_id"))
        }
    )
    if incident.code.endswith("_failures") or incident.code == "uncertain":
        return [(f"{letters}?{place}", _("Show the failed deliveries"))]
    if incident.code.startswith("spool"):
        return [(f"{reverse('admin:index')}#on-disk", _("Show what lies on disk"))]
    return [(f"{work}?open=waiting&{place}".rstrip("&"), _("Show what waits"))] if incident.code in WAITING else []
