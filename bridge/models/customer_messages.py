"""Messages to customers that a member has to confirm."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.health import CODE_LENGTH
from accounts.models import ChannelAccount
from bridge.explanations.tables import explain_with, table_for
from bridge.models.routes import PeerKinds

# A request that is open for longer was lost with its process.
LOST_SECONDS = 300


class CustomerMessageState(models.TextChoices):
    ASKING = "asking", _("being handed to the platform")
    CREATED = "created", _("waits until the member confirms it")
    REFUSED = "refused", _("refused by the platform")
    UNCERTAIN = "uncertain", _("not known whether the platform has it")


class CustomerMessage(models.Model):
    """A message that a member was asked to send to customers or customer groups. No delivery of ours: WeCom sends it, or nobody does."""

    account = models.ForeignKey(ChannelAccount, on_delete=models.CASCADE, related_name="customer_messages")
    # Who asked for it, and under which key: the same key again is the same message.
    client = models.CharField(_("by"), max_length=100)
    key = models.CharField(max_length=200)
    request_hash = models.CharField(max_length=64)
    peer_kind = models.CharField(_("to"), max_length=8, choices=PeerKinds.choices)
    sender = models.CharField(_("member who confirms it"), max_length=200)
    recipients = models.JSONField(_("recipients"), default=list)
    text = models.TextField(_("text"), blank=True)
    attachments = models.JSONField(_("attachments"), default=list)
    state = models.CharField(
        _("state"), max_length=10, choices=CustomerMessageState.choices, default=CustomerMessageState.ASKING
    )
    remote_id = models.CharField(_("id on the platform"), max_length=200, blank=True)
    left_out = models.JSONField(_("recipients whom it does not go to"), default=list)
    code = models.CharField(max_length=CODE_LENGTH, blank=True, default="")
    code_params = models.JSONField(default=dict)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = _("message to customers"), _("messages to customers")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["client", "key"], name="customer_message_once")]

    def __str__(self) -> str:
        return f"{self.account_id} #{self.pk}"

    @property
    def current_state(self) -> CustomerMessageState:
        """Its state; one whose process was killed is uncertain."""
        lost = timezone.now() - timedelta(seconds=LOST_SECONDS)
        is_lost = self.state == CustomerMessageState.ASKING and self.created_at < lost
        return CustomerMessageState.UNCERTAIN if is_lost else CustomerMessageState(self.state)

    @property
    def error(self) -> str:
        """Why it failed, for staff, in the language that is active now."""
        return explain_with(table_for("channel", self.account.kind), self.code, self.code_params)
