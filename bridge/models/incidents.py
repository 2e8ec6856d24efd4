"""Something is wrong, and somebody was told: one row from the first sign to the end."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Incident(models.Model):
    cause = models.CharField(_("cause"), max_length=100)  # "account:3", "gateway:1", "dead_letters", …
    title = models.CharField(_("what"), max_length=200)
    detail = models.TextField(_("detail"), blank=True)
    opened_at = models.DateTimeField(_("since"), default=timezone.now)
    closed_at = models.DateTimeField(_("resolved"), null=True)
    notified_at = models.DateTimeField(_("alert sent"), null=True)
    resolved_notified_at = models.DateTimeField(_("recovery alert sent"), null=True)
    error = models.TextField(_("alert error"), blank=True, default="")

    class Meta:
        verbose_name, verbose_name_plural = _("incident"), _("incidents")
        ordering = ["-opened_at"]
        constraints = [models.UniqueConstraint(fields=["cause"], condition=Q(closed_at=None), name="incident_one_open")]
        indexes = [
            # alerts.tell: what nobody was told yet.
            models.Index(
                fields=["id"],
                condition=Q(notified_at=None) | Q(closed_at__isnull=False, resolved_notified_at=None),
                name="incident_untold",
            )
        ]

    def __str__(self) -> str:
        return self.title
