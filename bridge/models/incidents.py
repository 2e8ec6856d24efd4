"""Something is wrong, and somebody was told: one row from the first sign to the end."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.health import CODE_LENGTH
from bridge.explanations import incidents


class Incident(models.Model):
    cause = models.CharField(_("cause"), max_length=100)  # "account:3", "gateway:1", "dead_letters", …
    # What it is, as `bridge.explanations.incidents` names it. params: the names and numbers of its title and detail.
    code = models.CharField(_("what"), max_length=CODE_LENGTH)
    code_params = models.JSONField(default=dict)
    opened_at = models.DateTimeField(_("since"), default=timezone.now)
    closed_at = models.DateTimeField(_("resolved"), null=True)
    notified_at = models.DateTimeField(_("alert sent"), null=True)
    resolved_notified_at = models.DateTimeField(_("recovery alert sent"), null=True)
    # Why it could not be alerted: a cause for each channel that did not accept it.
    alert_errors = models.JSONField(default=list)

    class Meta:
        verbose_name, verbose_name_plural = _("incident"), _("incidents")
        ordering = ["-opened_at"]
        constraints = [models.UniqueConstraint(fields=["cause"], condition=Q(closed_at=None), name="incident_one_open")]
        indexes = [
            # alerts.send_alerts: what nobody was alerted of yet.
            models.Index(
                fields=["id"],
                condition=Q(notified_at=None) | Q(closed_at__isnull=False, resolved_notified_at=None),
                name="incident_untold",
            )
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        """In the language that is active now, like all that follows."""
        return incidents.title_of(self.code, self.code_params)

    @property
    def detail(self) -> str:
        """Why, and what to do; empty where the title says all."""
        return incidents.detail_of(self.code, self.code_params)

    @property
    def error(self) -> str:
        """Why staff were not alerted; empty where they were, or nobody tried."""
        return " ".join(incidents.alert_error_of(error) for error in self.alert_errors)
