"""An OpenClaw gateway: where agents live."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.fields import EncryptedTextField
from accounts.models import Health


class Gateway(models.Model):
    name = models.CharField(_("name"), max_length=100, unique=True)
    base_url = models.URLField(
        _("address"),
        help_text=_("For example http://127.0.0.1:18789. WebSocket and HTTP share it."),
    )
    token = EncryptedTextField(_("token"), blank=True, default="", help_text=_("gateway.auth.token in openclaw.json."))
    device_key = EncryptedTextField(blank=True, default="", editable=False)  # PEM, ed25519
    device_token = EncryptedTextField(blank=True, default="", editable=False)
    transport = models.CharField(
        _("transport"),
        max_length=8,
        choices=[("ws", _("WebSocket")), ("http", _("HTTP streaming"))],
        default="ws",
        help_text=_("HTTP streaming only where WebSocket is not let through: a lost connection there loses the turn."),
    )
    timeout_seconds = models.PositiveIntegerField(
        _("longest turn, seconds"), default=1800, validators=[MinValueValidator(5), MaxValueValidator(24 * 3600)]
    )
    max_in_flight = models.PositiveIntegerField(
        _("turns at a time"),
        default=8,
        validators=[MinValueValidator(1), MaxValueValidator(2000)],
        help_text=_("About twice the processor cores of the gateway's machine."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    state = models.CharField(_("state"), max_length=16, choices=Health.choices, default=Health.NEW, editable=False)
    state_code = models.CharField(max_length=32, blank=True, default="", editable=False)
    state_reason = models.TextField(_("reason"), blank=True, editable=False)
    state_since = models.DateTimeField(_("since"), default=timezone.now, editable=False)
    version = models.CharField(_("version"), max_length=40, blank=True, editable=False)
    boot_id = models.CharField(max_length=80, blank=True, editable=False)
    agents = models.JSONField(_("agents"), default=list, editable=False)
    # The connector that holds the connection; a fencing number tells a late writer that it lost the lease.
    owner = models.CharField(max_length=100, blank=True, default="", editable=False)
    owner_until = models.DateTimeField(null=True, editable=False)
    fence = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name, verbose_name_plural = _("gateway"), _("gateways")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """The address without a slash at its end. Raises ValidationError by field."""
        self.base_url = self.base_url.rstrip("/")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValidationError({"base_url": _now("Enter an address that begins with http:// or https://.")})
        if parts.username or parts.query or parts.fragment:
            text = _now("Only scheme, host, port and path; the token has a field of its own.")
            raise ValidationError({"base_url": text})

    def set_state(self, state: Health, code: str = "", reason: str = "") -> bool:
        """Write the state if it differs; true when it changed. Only `revive` leads out of `stopped`."""
        rows = Gateway.objects.filter(pk=self.pk).exclude(state=state, state_code=code, state_reason=reason)
        if state != Health.STOPPED:
            rows = rows.exclude(state=Health.STOPPED)
        now = timezone.now()
        return bool(rows.update(state=state, state_code=code, state_reason=reason, state_since=now))

    def revive(self) -> None:
        """Staff changed something: let the connector try again."""
        rows = Gateway.objects.filter(pk=self.pk, state=Health.STOPPED)
        rows.update(state=Health.NEW, state_code="", state_reason="", state_since=timezone.now())
