"""The pages of gateways: their addresses, credentials and states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from accounts.fields import sealed
from accounts.forms import ENTER_AGAIN, STORED, OneErrorPerField
from accounts.health import Health
from accounts.models import Connection
from bridge.admin.accounts.uptime import describe_uptime
from bridge.admin.base import TESTED, ConfiguredAdmin
from bridge.admin.export import Column, columns
from bridge.admin.secret_fields import HidesSecrets
from bridge.admin.unfold import style
from bridge.connector import leases
from bridge.operations.gateway_use import list_account_uses
from bridge.security.permissions import HIDDEN
from bridge.ui import formatting
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.pasted import PastedField
from openclaw.device import Device
from openclaw.errors import Code, GatewayError
from openclaw.http import ProbeResult, test_gateway
from openclaw.models import Gateway

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

    _GatewayForm = forms.ModelForm[Gateway]
else:
    _GatewayForm = forms.ModelForm

CONFIGURATION = ["name", "base_url", "token", "transport", "timeout_seconds", "max_in_flight", "enabled", "updated_at"]

SECRETS = ("token", "device_key", "device_token")


class GatewayForm(HidesSecrets, OneErrorPerField, _GatewayForm):
    """The token goes in and never comes out; a blank keeps the stored one."""

    token = PastedField(
        label=_("Token"),
        required=False,
        help_text=_("gateway.auth.token in openclaw.json."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
    )

    class Meta:
        model = Gateway
        fields = ("name", "enabled", "base_url", "token", "transport", "timeout_seconds", "max_in_flight")
        widgets = {"base_url": forms.URLInput()}
        error_messages = {"base_url": {"invalid": _("Enter an address that begins with http:// or https://.")}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "token" in self.fields and self.instance.token:
            self.fields["token"].widget.attrs["placeholder"] = STORED

    def clean(self) -> dict[str, Any]:
        """A stored token goes only to the address it was entered for."""
        cleaned = super().clean() or self.cleaned_data
        if "token" in cleaned and not cleaned["token"]:
            if self.instance.needs_token_for(cleaned.get("base_url", self.instance.base_url)):
                self.add_error("token", ENTER_AGAIN)
            cleaned["token"] = self.instance.token
        return cleaned


@admin.register(Gateway)
class GatewayAdmin(ConfiguredAdmin[Gateway]):
    form = GatewayForm
    list_display = ("name", "base_url", "health", "reason", "agent_count", "since")
    list_filter = ("enabled", "state")
    search_fields = ("name", "base_url")
    search_help_text = _("Name or address")
    change_form_template = "admin/openclaw/gateway.html"
    exported = columns(
        Column("id", _("number")),
        "name",
        "base_url",
        "transport",
        "enabled",
        "state",
        "state_since",
        Column("state_code", _("code")),
        Column("reason", is_content=True),
        "version",
        Column("agents", _("agents"), lambda row: [agent_fields(agent)["id"] for agent in row.agents]),
        "timeout_seconds",
        "max_in_flight",
        "created_at",
    )
    empty_hint = _("Add the OpenClaw gateway where your agents are: its address and gateway.auth.token.")
    next_step = _("Next: press Test. It shows whether the gateway answers, and which agents it has.")
    masked_columns = {"reason": "hidden_reason"}
    buttons = {
        "test": "openclaw.change_gateway",
        "make_key": "openclaw.change_gateway",
        "switch": "openclaw.change_gateway",
    }
    fieldsets = (
        (None, {"fields": ("name", "enabled", "base_url", "token")}),
        (_("How turns run"), {"fields": ("transport", "timeout_seconds", "max_in_flight")}),
    )

    @admin.display(description=_("state"), ordering="state")
    def health(self, gateway: Gateway) -> SafeString:
        return formatting.health_badge(gateway)

    @admin.display(description=_("reason"))
    def reason(self, gateway: Gateway) -> str:
        return gateway.state_reason or "–"

    @admin.display(description=_("reason"))
    def hidden_reason(self, gateway: Gateway) -> str:
        return str(HIDDEN) if gateway.state_reason else "–"

    @admin.display(description=_("agents"))
    def agent_count(self, gateway: Gateway) -> str:
        return str(len(gateway.agents)) if gateway.agents else "–"

    @admin.display(description=_("since"), ordering="state_since")
    def since(self, gateway: Gateway) -> SafeString | str:
        return formatting.relative_time(gateway.state_since)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Gateway]:
        """Leave out the encrypted columns, so that nothing is decrypted for a list."""
        return super().get_queryset(request).defer(*SECRETS)

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made = super().get_form(request, obj, change, **kwargs)
        for field in made.base_fields.values():
            style(field)
        return made

    def get_fieldsets(self, request: HttpRequest, obj: Gateway | None = None) -> Any:
        """Leave out the token for people who may only view, because Django would show its value."""
        (title, first), *rest = self.fieldsets
        if self.has_change_permission(request, obj) or obj is None:
            return self.fieldsets
        return [(title, {"fields": [name for name in first["fields"] if name != "token"]}), *rest]

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        gateway = self.get_or_404(request, object_id)
        about = {
            "device_id": Device(gateway.device_key).id if gateway.device_key else "",
            "connection_facts": {"connection": Connection.objects.filter(gateway=gateway).first()},
            "pairing": gateway.state_code in (Code.PAIRING_REQUIRED, Code.MISSING_SCOPE),
            "may_change": self.has_change_permission(request),
            "agents": [agent_fields(agent) for agent in gateway.agents],
            "uses": list_account_uses(gateway),
            "uptime": describe_uptime(gateway),
        }
        return super().change_view(request, object_id, form_url, {**about, **(extra_context or {})})

    def save_model(self, request: Any, obj: Gateway, form: Any, change: bool) -> None:
        """Write only the configuration, so that columns that the connector wrote meanwhile stay. A stopped gateway is revived."""
        if change:
            obj.save(update_fields=CONFIGURATION)
            obj.revive()
        else:
            obj.save()
        for other in Gateway.objects.filter(base_url=obj.base_url).exclude(pk=obj.pk)[:3]:
            text = _("Another gateway has the same address:")
            messages.warning(request, format_html('{} <a href="{}">{}</a>', text, self.url("change", other.pk), other))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().add_view(request, form_url, {"title": _("Add: OpenClaw gateway"), **(extra_context or {})})

    def has_delete_permission(self, request: HttpRequest, obj: Gateway | None = None) -> bool:
        """Deliveries name their gateway, so one that was used is disabled instead."""
        return super().has_delete_permission(request, obj) and not (obj and obj.deliveries.exists())

    def run_test(self, request: HttpRequest, gateway: Gateway) -> None:
        gateway.revive()
        try:
            found = test_gateway(leases.make_endpoint(gateway))
        except GatewayError as error:
            state = Health.STOPPED if error.action == Action.CONFIG else Health.FAILING
            gateway.set_state(state, str(error.code), error.params)
            messages.error(request, _("The test failed. The reason is shown beside the state."))
            self.log_and_audit(request, gateway, TESTED % error.explained)
            return
        _store_probe(gateway, found)
        messages.success(request, text := _describe_probe(found))
        if found.error:
            messages.warning(request, failed := found.error.explained)
            text = f"{text} {failed}"
        self.log_and_audit(request, gateway, TESTED % text)

    def run_make_key(self, request: HttpRequest, gateway: Gateway) -> None:
        """A new device is unknown to the gateway until it is approved there; an old device token is of no use any more."""
        key = sealed(Gateway, "device_key", gateway.key, Device.generate().pem)
        Gateway.objects.filter(pk=gateway.pk).update(device_key=key, device_token="")
        gateway.revive()
        self.notify_and_audit(
            request, gateway, _("There is a new device key. Press Test, then approve it on the gateway's host.")
        )

    def run_switch(self, request: HttpRequest, gateway: Gateway) -> None:
        gateway.enabled = not gateway.enabled
        gateway.save(update_fields=["enabled", "updated_at"])
        if gateway.enabled:
            gateway.revive()
        self.notify(request, gateway, _("Enabled.") if gateway.enabled else _("Disabled."))


def agent_fields(agent: Any) -> dict[str, str]:
    """Return the fields of an agent for the page. agent: an id, or the gateway's entry: {"id", "name", "model"}."""
    if isinstance(agent, dict):
        return {name: str(agent.get(name) or "") for name in ("id", "name", "model")}
    return {"id": str(agent), "name": "", "model": ""}


def _store_probe(gateway: Gateway, found: ProbeResult) -> None:
    agents = [{"id": agent.id, "name": agent.name, "model": agent.model} for agent in found.agents]
    fields: dict[str, Any] = {"version": (found.version or "")[:40], "agents": agents}
    if found.device_token:
        fields["device_token"] = sealed(Gateway, "device_token", gateway.key, found.device_token)
    Gateway.objects.filter(pk=gateway.pk, base_url=gateway.base_url).update(**fields)
    gateway.set_state(Health.OK)


def _describe_probe(found: ProbeResult) -> str:
    return _("It answers over %(transport)s: version %(version)s, %(count)d agents, %(ms)d ms.") % {
        "transport": found.transport,
        "version": found.version or _("unknown"),
        "count": len(found.agents),
        "ms": round(found.latency_ms),
    }
