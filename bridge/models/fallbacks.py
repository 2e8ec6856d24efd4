"""Who sends a conversation's messages where its own account cannot."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.models import ChannelAccount
from accounts.person_ids import person_id
from bridge.models.routes import Conversation, PeerKinds
from channels_wechat import KINDS, channel_class


class FallbackSender(models.Model):
    """An account that sends the messages of a conversation in place of its own, in order of `position`, to its own peer."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="fallbacks", db_index=False)
    position = models.PositiveSmallIntegerField(_("position"))
    account = models.ForeignKey(
        ChannelAccount, on_delete=models.CASCADE, related_name="fallbacks", verbose_name=_("account")
    )
    # May be blank in a form: `clean` fills them in for a kind that has only one peer.
    peer_kind = models.CharField(_("to"), max_length=8, choices=PeerKinds.choices, blank=True)
    peer_id = models.CharField(_("group or person"), max_length=200, blank=True)
    on_quota = models.BooleanField(_("rate limit reached"), default=True)
    on_window = models.BooleanField(_("it may not write before the person does"), default=True)
    on_refusal = models.BooleanField(_("not allowed by the platform"), default=True)
    on_down = models.BooleanField(_("account is down"), default=True)

    class Meta:
        verbose_name, verbose_name_plural = _("fallback sender"), _("fallback senders")
        ordering = ["conversation", "position"]
        constraints = [
            # It is also the index for the fallbacks of one conversation, in their order.
            models.UniqueConstraint(fields=["conversation", "position"], name="fallback_position_once"),
            models.UniqueConstraint(
                fields=["conversation", "account", "peer_kind", "peer_id"],
                name="fallback_sender_once",
                violation_error_message=_("This account sends there already."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} → {self.peer_id}"

    def clean(self) -> None:
        """Fill in the only peer of a kind that has one, and refuse what could never send. Raises ValidationError by field."""
        if not self.account_id or not self.conversation_id:
            return  # the form has said so already
        if self.account.kind not in KINDS:
            raise ValidationError({"account": _now("This kind of account is no longer supported.")})
        kind = channel_class(self.account.kind, self.account.credentials)
        if kind.only_peer:
            self.peer_kind, self.peer_id = kind.only_peer.kind, kind.only_peer.id
        self.peer_id = person_id(self.account, self.peer_kind, self.peer_id.strip())
        if not self.peer_kind or not self.peer_id:
            raise ValidationError({"peer_id": _now("Say to which group or person this account sends.")})
        own = self.conversation
        if (self.account_id, self.peer_kind, self.peer_id) == (own.account_id, own.peer_kind, own.peer_id):
            raise ValidationError(
                {"account": _now("This is the conversation itself: choose another account or group.")}
            )
