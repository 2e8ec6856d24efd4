"""What somebody asks of an account and only staff may grant: invitations to groups, and friend requests."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.health import CODE_LENGTH
from accounts.models import ChannelAccount
from channels_wechat.contract.explanations import explain


class ContactRequest(models.Model):
    """accepting: the call to the platform is under way, or nobody knows its outcome."""

    class Kind(models.TextChoices):
        GROUP = "group", _("invitation to a group")
        FRIEND = "friend", _("friend request")

    class State(models.TextChoices):
        OPEN = "open", _("waits for staff")
        ACCEPTING = "accepting", _("being accepted")
        ACCEPTED = "accepted", _("accepted")
        DISMISSED = "dismissed", _("dismissed")

    account = models.ForeignKey(
        ChannelAccount, on_delete=models.CASCADE, related_name="contact_requests", db_index=False
    )
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    remote_id = models.CharField(_("id on the platform"), max_length=200)
    sender = models.CharField(_("from"), max_length=200, blank=True)
    title = models.CharField(_("group"), max_length=200, blank=True)
    text = models.TextField(_("text"), blank=True)
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.OPEN)
    # Why the platform did not accept it when staff tried.
    code = models.CharField(max_length=CODE_LENGTH, blank=True, default="")
    code_params = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(_("received"), auto_now_add=True)
    decided_at = models.DateTimeField(_("decided"), null=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        verbose_name, verbose_name_plural = _("invitation or friend request"), _("invitations and friend requests")
        constraints = [
            # It is also the index for the requests of one account.
            models.UniqueConstraint(fields=["account", "kind", "remote_id"], name="contact_request_once"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.title or self.sender}"

    @property
    def error(self) -> str:
        """Why the platform did not accept it, for staff, in the language that is active now."""
        return explain(self.account.explanations, self.code, self.code_params)
