"""Something is wrong: one row for each cause, from its first sign to its end, with who was alerted and who deals with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.health import CODE_LENGTH
from accounts.models import ChannelAccount
from bridge.explanations import incidents
from bridge.models.deliveries import Reason
from bridge.models.routes import Conversation
from bridge.models.webhooks import WebhookEndpoint
from openclaw.models import Gateway

if TYPE_CHECKING:
    from datetime import datetime

NOTE_LENGTH = 1000


class Severity(models.IntegerChoices):
    NOTICE = 1, _("notice")
    WARNING = 2, _("warning")
    CRITICAL = 3, _("critical")


class Incident(models.Model):
    """The columns from `account` to `last_seen_at` say what it is about; `operations.incidents` keeps them up to date while it is open."""

    Severity = Severity

    # The identity of the cause: "account:3", "gateway:1", "dead:account:3:permanent:81013", …
    cause = models.CharField(_("cause"), max_length=200)
    # What it is, as `bridge.explanations.incidents` names it. params: the names and numbers of its title and detail.
    code = models.CharField(_("what"), max_length=CODE_LENGTH)
    code_params = models.JSONField(default=dict)
    severity = models.PositiveSmallIntegerField(
        _("severity"), choices=Severity.choices, default=Severity.WARNING, db_default=Severity.WARNING
    )
    account = models.ForeignKey(
        ChannelAccount, on_delete=models.SET_NULL, null=True, related_name="incidents", verbose_name=_("account")
    )
    gateway = models.ForeignKey(
        Gateway, on_delete=models.SET_NULL, null=True, related_name="incidents", verbose_name=_("gateway")
    )
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.SET_NULL, null=True, related_name="incidents", verbose_name=_("webhook")
    )
    # The chat, where it is about one only.
    conversation = models.ForeignKey(
        Conversation, on_delete=models.SET_NULL, null=True, related_name="incidents", verbose_name=_("conversation")
    )
    # Of failures: the reason and the code that they have in common.
    reason = models.CharField(_("reason"), max_length=16, blank=True, default="", db_default="")
    error_code = models.CharField(_("code"), max_length=CODE_LENGTH, blank=True, default="", db_default="")
    # How many deliveries, chats or callbacks it concerns now; 0 where nothing is counted.
    count = models.PositiveIntegerField(_("count"), default=0, db_default=0)
    # When the first and the newest of them came; without a newest one it lasts until now.
    first_seen_at = models.DateTimeField(_("first seen"), null=True)
    last_seen_at = models.DateTimeField(_("last seen"), null=True)
    opened_at = models.DateTimeField(_("since"), default=timezone.now)
    closed_at = models.DateTimeField(_("resolved"), null=True)
    notified_at = models.DateTimeField(_("alert sent"), null=True)
    resolved_notified_at = models.DateTimeField(_("recovery alert sent"), null=True)
    # Why it could not be alerted: a cause for each channel that did not accept it.
    alert_errors = models.JSONField(default=list)
    # What staff do about it.
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("acknowledged by"),
    )
    muted_until = models.DateTimeField(_("muted until"), null=True)
    muted_to_end = models.BooleanField(_("muted until it is resolved"), default=False, db_default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("owner")
    )
    note = models.TextField(_("note"), max_length=NOTE_LENGTH, blank=True, default="", db_default="")

    class Meta:
        verbose_name, verbose_name_plural = _("incident"), _("incidents")
        ordering = ["-opened_at"]
        permissions = [("handle_incident", gettext_noop("Can acknowledge, mute and assign an incident"))]
        constraints = [models.UniqueConstraint(fields=["cause"], condition=Q(closed_at=None), name="incident_one_open")]
        indexes = [
            # alerts.send_alerts: what nobody was alerted of yet.
            models.Index(
                fields=["id"],
                condition=Q(notified_at=None) | Q(closed_at__isnull=False, resolved_notified_at=None),
                name="incident_untold",
            ),
            # Needs attention, and incidents.update_incidents: what is open, the worst and oldest first.
            models.Index(F("severity").desc(), F("opened_at"), condition=Q(closed_at=None), name="incident_open"),
            # The list of incidents, and earlier incidents of the same cause.
            models.Index(fields=["-opened_at"], name="incident_newest"),
            models.Index(fields=["cause", "-opened_at"], name="incident_cause"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        """In the language that is active now, like all that follows. Failures that differ only in their code are told apart by it."""
        title = incidents.title_of(self.code, self._shown_params())
        return f"{title} · {self.error_code}" if self.reason and self.error_code else title

    @property
    def detail(self) -> str:
        """Why, and what to do; empty where the title says all."""
        return incidents.detail_of(self.code, self._shown_params())

    @property
    def error(self) -> str:
        """Why staff were not alerted; empty where they were, or nobody tried."""
        return " ".join(incidents.alert_error_of(error) for error in self.alert_errors)

    @property
    def is_muted(self) -> bool:
        return self.is_muted_at(timezone.now())

    def is_muted_at(self, now: datetime) -> bool:
        return self.closed_at is None and (self.muted_to_end or bool(self.muted_until and self.muted_until > now))

    def _shown_params(self) -> dict[str, Any]:
        """Return the parameters with the words of the reason, which is stored as its code."""
        reason = self.reason
        return {**self.code_params, "reason": Reason(reason).label if reason in Reason.values else reason}


def select_muted(now: datetime) -> Q:
    """Return the condition of the open incidents that are muted at this time."""
    return Q(closed_at=None) & (Q(muted_to_end=True) | Q(muted_until__gt=now))
