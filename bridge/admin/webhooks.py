"""Webhooks: which address gets which events, and whether it accepts them. Address and secret are shown once and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import BridgeAdmin, user_of
from bridge.admin.export import Column, columns
from bridge.admin.secret_fields import HidesSecrets, SecretAddressInput
from bridge.admin.unfold import style
from bridge.models import Delivery, Event, State, Target, WebhookEndpoint
from bridge.models.webhooks import MAX_OVERLAP_HOURS, OVERLAP_HOURS
from bridge.security.permissions import hide_errors, may_read
from bridge.ui import formatting
from bridge.webhooks import events
from channels_wechat.contract.pasted import without_invisible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

    _EndpointForm = forms.ModelForm[WebhookEndpoint]
else:
    _EndpointForm = forms.ModelForm

CONFIGURATION = ["name", "url", "events", "account", "enabled", "updated_at"]
EVENTS = dict(Event.choices)
# Waiting deliveries are counted up to this.
MAX_WAITING = 1000


class EndpointForm(HidesSecrets, _EndpointForm):
    """The address goes in and never comes out in full, for many services put a secret into it; a blank keeps the stored one."""

    url = forms.CharField(
        label=_("Address"),
        required=False,
        widget=SecretAddressInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("Where events are posted to. After saving only its host is shown; then leave it empty to keep it."),
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=Event.choices,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "b-checks"}),
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("name", "enabled", "url", "events", "account")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        account: Any = self.fields.get("account")
        if account:
            account.empty_label = _("all accounts")
        if "url" not in self.fields:
            return
        self.fields["url"].required = not self.instance.url
        if self.instance.url:
            self.initial["url"] = ""
            self.fields["url"].widget.attrs["placeholder"] = f"{self.instance.origin}/…"

    def clean_url(self) -> str:
        url: str = without_invisible(self.cleaned_data["url"]) or self.instance.url
        return url


class OverlapForm(forms.Form):
    hours = forms.IntegerField(min_value=0, max_value=MAX_OVERLAP_HOURS, initial=OVERLAP_HOURS)


@admin.register(WebhookEndpoint)
class WebhookAdmin(BridgeAdmin[WebhookEndpoint]):
    form = EndpointForm
    list_display = ("name", "origin", "event_names", "account_name", "state", "problem")
    list_select_related = ("account",)
    list_filter = ("enabled",)
    search_fields = ("name",)
    search_help_text = _("Name")
    change_form_template = "admin/bridge/webhook.html"
    exported = columns(
        Column("id", _("number")),
        "name",
        Column("origin"),
        Column("events", read=lambda row: [EVENTS.get(event, event) for event in row.events]),
        "account_name",
        Column("state"),
        Column("disabled_reason", _("reason")),
        "created_at",
        "updated_at",
    )
    exported_with = ("account",)
    empty_hint = _("Add an endpoint to receive events: messages, failed deliveries and the state of accounts.")
    buttons = dict.fromkeys(("test", "switch", "rotate"), "bridge.change_webhookendpoint")

    @admin.display(description=_("host"))
    def origin(self, endpoint: WebhookEndpoint) -> str:
        return endpoint.origin

    @admin.display(description=_("events"))
    def event_names(self, endpoint: WebhookEndpoint) -> str:
        return "; ".join(str(EVENTS.get(event, event)) for event in endpoint.events)

    @admin.display(description=_("account"), ordering="account")
    def account_name(self, endpoint: WebhookEndpoint) -> str:
        return str(endpoint.account or _("all accounts"))

    @admin.display(description=_("state"), ordering="enabled")
    def state(self, endpoint: WebhookEndpoint) -> SafeString:
        return state_badge(endpoint)

    @admin.display(description=_("reason"))
    def problem(self, endpoint: WebhookEndpoint) -> SafeString | str:
        """Show why it was disabled, or the receiver's last error and the time of the next attempt."""
        stuck: Delivery | None = getattr(endpoint, "stuck", None)
        return describe_failing(stuck) if stuck else endpoint.disabled_reason or "–"

    def load_details(self, request: HttpRequest, rows: list[WebhookEndpoint]) -> None:
        heads = find_first_failing(rows, may_read(user_of(request)))
        for endpoint in rows:
            endpoint.stuck = heads.get(endpoint.pk)  # type: ignore[attr-defined]  # for the columns

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("secret", "previous_secret", "account__credentials")

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        """Show only the host, not the address, to people who may only view."""
        if obj is None or self.has_change_permission(request, obj):
            return ("name", "enabled", "url", "events", "account")
        return ("name", "enabled", "origin", "event_names", "account")

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        return () if obj is None or self.has_change_permission(request, obj) else ("origin", "event_names")

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj and not self.has_change_permission(request, obj):
            kwargs["form"] = forms.ModelForm
        made = super().get_form(request, obj, change, **kwargs)
        for field in made.base_fields.values():
            style(field)
        return made

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        endpoint = self.get_or_404(request, object_id)
        waiting = endpoint.deliveries.filter(lane=endpoint.lane, state__in=(State.PENDING, State.SENDING))
        reads = may_read(user_of(request))
        stuck = find_first_failing([endpoint], reads).get(endpoint.pk)
        endpoint.stuck = stuck  # type: ignore[attr-defined]  # for the badge
        about = {
            "badge": state_badge(endpoint),
            "problem": describe_failing(stuck) if stuck else "",
            "may_change": self.has_change_permission(request),
            "may_read": reads,
            "latest": endpoint.deliveries.filter(target=Target.WEBHOOK).order_by("-id")[:8],
            "waiting": len(waiting.order_by().values_list("pk")[:MAX_WAITING]),
            "overlapping": len(endpoint.signing_secrets(timezone.now())) > 1,
            "overlap": OVERLAP_HOURS,
            "max_overlap": MAX_OVERLAP_HOURS,
        }
        return super().change_view(request, object_id, form_url, {**about, **(extra_context or {})})

    def save_model(self, request: Any, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        """Write only the configuration, so that a secret that was rotated meanwhile stays."""
        obj.save(update_fields=CONFIGURATION) if change else obj.save()

    def response_add(self, request: Any, obj: WebhookEndpoint, post_url_continue: str | None = None) -> Any:
        """Answer with a page, not a redirect, because the secret is shown once and stored in no session, message or log."""
        return self.secret_page(request, obj, obj.secret)

    def response_change(self, request: Any, obj: WebhookEndpoint) -> Any:
        """Do the same where the address has another host."""
        return (
            self.secret_page(request, obj, obj.secret) if obj.has_new_secret else super().response_change(request, obj)
        )

    def secret_page(self, request: HttpRequest, endpoint: WebhookEndpoint, secret: str) -> HttpResponse:
        title = _("The secret of %s") % endpoint
        return self.page(request, "admin/bridge/webhook_secret.html", title, endpoint, secret=secret)

    def run_test(self, request: HttpRequest, endpoint: WebhookEndpoint) -> HttpResponse | None:
        if not endpoint.enabled:
            messages.error(request, _("Enable it first."))
            return None
        delivery = events.queue_test_event(endpoint)
        self.notify_and_audit(request, endpoint, _("A test event is queued. This is its delivery."))
        return redirect("admin:bridge_delivery_change", delivery.pk)

    def run_switch(self, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
        endpoint.enabled = not endpoint.enabled
        endpoint.save(update_fields=["enabled", "updated_at"])
        self.notify(request, endpoint, _("Enabled.") if endpoint.enabled else _("Disabled."))

    def run_rotate(self, request: HttpRequest, endpoint: WebhookEndpoint) -> HttpResponse | None:
        asked = OverlapForm(request.POST)
        if not asked.is_valid():
            messages.error(request, _("Enter whole hours, from 0 to %d.") % MAX_OVERLAP_HOURS)
            return None
        secret = endpoint.rotate(timedelta(hours=asked.cleaned_data["hours"]))
        self.log_change(request, endpoint, _("Secret rotated."))
        return self.secret_page(request, endpoint, secret)


def state_badge(endpoint: WebhookEndpoint) -> SafeString:
    if endpoint.enabled and getattr(endpoint, "stuck", None):
        return formatting.badge(_("failing – retrying"), "warn")
    if endpoint.enabled:
        return formatting.badge(_("enabled"), "good")
    return formatting.badge(_("disabled"), "bad" if endpoint.disabled_code else "quiet")


def find_first_failing(endpoints: Iterable[WebhookEndpoint], may_read_errors: bool) -> dict[int, Delivery]:
    """By endpoint: its first waiting delivery that met an error. may_read_errors: whether errors may be shown.

    Its tries say nothing of that: what the receiver asked to be sent later burned none.
    """
    enabled = [endpoint.pk for endpoint in endpoints if endpoint.enabled]
    rows = Delivery.objects.filter(
        endpoint__in=enabled, target=Target.WEBHOOK, state__in=(State.PENDING, State.SENDING)
    )
    heads = list(rows.exclude(code="", code_params={}).order_by("endpoint_id", "seq").distinct("endpoint_id"))
    if not may_read_errors:
        hide_errors(heads)
    return {head.endpoint_id: head for head in heads if head.endpoint_id}


def describe_failing(stuck: Delivery) -> SafeString:
    """Return what the receiver answered, to which delivery, and when that is sent again."""
    link = reverse("admin:bridge_delivery_change", args=[stuck.pk])
    said, again = Truncator(stuck.error).chars(140), formatting.relative_time(stuck.due_at)
    return format_html('{} <a href="{}">#{}</a> <small>{} {}</small>', said, link, stuck.pk, _("next attempt"), again)
