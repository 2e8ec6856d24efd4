"""What staff write that never leaves by itself: notes in a transcript, what became of a conversation, and texts kept for answers."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Upper
from django.utils.translation import gettext_lazy as _

from accounts.models import ChannelAccount
from bridge.models.routes import Conversation


class ConversationEntry(models.Model):
    """A line of a transcript that never leaves: a note among staff, or what became of the conversation."""

    class Kind(models.TextChoices):
        NOTE = "note", _("note")
        TAKEN = "taken", _("taken over")
        ASSIGNED = "assigned", _("assigned")
        PAUSED = "paused", _("paused")
        HANDED_BACK = "handed_back", _("handed back to the agent")
        CALLED = "called", _("the person asked for staff")
        HANDED_OVER = "handed_over", _("the agent handed over to staff")
        NEW_SESSION = "new_session", _("new session")

    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="entries", verbose_name=_("conversation"), db_index=False
    )
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    # Who wrote or did it, by the name they had; empty where no colleague did.
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )
    by_name = models.CharField(_("by"), max_length=150, blank=True, default="")
    # Of a note: what it says; of an assignment: to whom; of what an agent handed over: why.
    text = models.TextField(_("text"), blank=True, default="")
    created_at = models.DateTimeField(_("written"), auto_now_add=True)

    class Meta:
        verbose_name, verbose_name_plural = _("note"), _("notes")
        ordering = ["-id"]
        default_permissions = ()  # the rights of its conversation
        indexes = [
            # The transcript: the entries between two of its messages.
            models.Index(fields=["conversation", "created_at"], name="entry_transcript")
        ]

    def __str__(self) -> str:
        """Not the text, as for messages."""
        return f"#{self.pk}"


class CannedAnswer(models.Model):
    """A text that staff insert by its shortcut: at one account, or at all."""

    account = models.ForeignKey(
        ChannelAccount,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="canned_answers",
        verbose_name=_("account"),
        help_text=_("Empty: offered at all accounts."),
    )
    shortcut = models.CharField(
        _("shortcut"),
        max_length=32,
        validators=[RegexValidator(r"\A[^\s/]+\Z", _("Without blanks and slashes."))],
        help_text=_("Typed after a slash, such as /price."),
    )
    text = models.TextField(_("text"), max_length=4000)

    class Meta:
        verbose_name, verbose_name_plural = _("canned answer"), _("canned answers")
        ordering = ["shortcut", "id"]
        default_permissions = ()  # whoever may send messages writes them too
        constraints = [
            models.UniqueConstraint(
                "account",
                Upper("shortcut"),
                nulls_distinct=False,
                name="canned_answer_shortcut",
                violation_error_message=_("There is a canned answer with this shortcut already."),
            )
        ]

    def __str__(self) -> str:
        return f"/{self.shortcut}"
