"""How accounts and gateways went from one state to another: what their uptime is counted from (`accounts.uptime`)."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.health import CODE_LENGTH, Health


class StateChange(models.Model):
    """An account or a gateway went from one state to another."""

    account = models.ForeignKey(
        "accounts.ChannelAccount", on_delete=models.CASCADE, null=True, related_name="state_changes", db_index=False
    )
    gateway = models.ForeignKey(
        "openclaw.Gateway", on_delete=models.CASCADE, null=True, related_name="state_changes", db_index=False
    )
    before = models.CharField(_("state before"), max_length=16, choices=Health.choices)
    state = models.CharField(_("state"), max_length=16, choices=Health.choices)
    code = models.CharField(_("code"), max_length=CODE_LENGTH, blank=True, default="")
    at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = _("change of state"), _("changes of state")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(account=None, gateway__isnull=False) | models.Q(account__isnull=False, gateway=None),
                name="state_change_of_one",
            )
        ]
        indexes = [
            # uptime.read_uptimes and retention.
            models.Index(fields=["at"], name="state_change_at"),
            # uptime.read_uptimes of one account or gateway.
            models.Index(fields=["account", "gateway", "at"], name="state_change_side"),
        ]

    def __str__(self) -> str:
        return f"{self.before} → {self.state}"
