"""What was said. A message is a fact: written once; the router fills in its conversation, and nothing else changes."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Upper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.fields import EncryptedTextField
from accounts.health import CODE_LENGTH
from accounts.lease import LeaseMixin
from accounts.models import ChannelAccount
from bridge.explanations.tables import table_for
from bridge.models.explained import ExplainedMixin
from bridge.models.pairs import CharacterPairs
from bridge.models.routes import Conversation, PeerKinds

if TYPE_CHECKING:
    from channels_wechat.contract.explanations import Table


class Message(models.Model):
    class Direction(models.TextChoices):
        IN = "in", _("in")
        OUT = "out", _("out")

    class Source(models.TextChoices):
        CHANNEL = "channel", _("WeChat")
        AGENT = "agent", _("agent")
        API = "api", _("API")
        STAFF = "staff", _("staff")
        BRIDGE = "bridge", _("the bridge")  # welcomes and answers to commands
        SCHEDULE = "schedule", _("schedule")

    # An inbound message's uuid follows from its account and key, so it can name the stream of its answer.
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # `message_age` begins with it.
    account = models.ForeignKey(ChannelAccount, on_delete=models.PROTECT, related_name="messages", db_index=False)
    peer_kind = models.CharField(_("peer kind"), max_length=8, choices=PeerKinds.choices)
    peer_id = models.CharField(_("peer"), max_length=200)
    # `message_transcript` begins with it.
    conversation = models.ForeignKey(
        Conversation, on_delete=models.PROTECT, null=True, related_name="messages", db_index=False
    )
    direction = models.CharField(_("direction"), max_length=3, choices=Direction.choices)
    source = models.CharField(_("source"), max_length=8, choices=Source.choices)
    client = models.CharField(max_length=100, blank=True, default="")  # whose space the idempotency key is in
    idempotency_key = models.CharField(_("platform id"), max_length=200)
    request_hash = models.CharField(max_length=64, blank=True, default="")
    kind = models.CharField(_("type"), max_length=32, default="text")
    text = models.TextField(_("text"), blank=True)
    data = models.JSONField(default=dict)  # outbound: the platform message of its own type
    sender = models.CharField(_("sender"), max_length=200, blank=True)
    addressed = models.BooleanField(_("addressed to the bot"), default=True)
    reply_to = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="replies")
    # Of what a fallback sender sends: the message of the conversation whose own account could not send it.
    instead_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="stand_ins")
    raw = models.JSONField(default=dict)
    reply_address = EncryptedTextField(row="uuid", blank=True, default="")  # one use; a secret
    reply_until = models.DateTimeField(null=True)
    occurred_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(_("received"), default=timezone.now)
    routed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("message"), _("messages")
        ordering = ["-id"]
        permissions = [
            ("send_message", gettext_noop("Can send a message")),
            ("send_to_many", gettext_noop("Can send to several people, or to everybody, at once")),
            ("read_content", gettext_noop("Can read what messages say")),
            ("export_list", gettext_noop("Can download the rows of a list")),
        ]
        constraints = [
            # Dedupe, the only place of it: three callbacks of one message are one row, an answer is stored once per turn.
            models.UniqueConstraint(
                fields=["account", "direction", "source", "client", "idempotency_key"], name="message_idempotency"
            )
        ]
        indexes = [
            # The outbox: outbox.lock walks in its order, outbox.take reads one peer after the other.
            models.Index(
                fields=["account", "peer_kind", "peer_id", "id"],
                condition=models.Q(routed_at=None, direction="in"),
                name="message_unrouted",
            ),
            # A conversation's transcript, latest first.
            models.Index(fields=["conversation", "-id"], name="message_transcript"),
            # The dashboard's counts of today.
            models.Index(fields=["created_at", "direction"], name="message_day"),
            # retention: the oldest messages of an account.
            models.Index(fields=["account", "created_at"], name="message_age"),
            # Search by platform id and by person.
            models.Index(fields=["idempotency_key"], name="message_platform_id"),
            models.Index(fields=["sender", "-id"], name="message_sender"),
            # search.holding: words of the text. Upper is what Django makes of icontains. New texts wait in a list and are sorted in
            # together, by the INSERT that fills it: with 1024 kB one in 500 takes 10 ms more, all others next to nothing.
            GinIndex(
                OpClass(Upper("text"), name="gin_trgm_ops"),
                fastupdate=True,
                gin_pending_list_limit=1024,
                name="message_text",
            ),
            # search.holding: words of two Chinese characters, which hold no trigram. It adds 60 µs to each message that is stored.
            GinIndex(CharacterPairs("text"), fastupdate=True, gin_pending_list_limit=1024, name="message_pairs"),
            # The list by type and by source: of the frequent ones every page is full of them, without an index.
            models.Index(fields=["kind", "-id"], condition=~models.Q(kind="text"), name="message_kind"),
            models.Index(
                fields=["source", "-id"], condition=~models.Q(source__in=("channel", "agent")), name="message_source"
            ),
        ]

    def __str__(self) -> str:
        """Not the text: this stands in titles, histories and logs, also before people who may not read it."""
        return f"#{self.pk}"

    @property
    def preview(self) -> str:
        """The beginning of the text, for those who may read it (`bridge.security.permissions`)."""
        return self.text[:60] or f"[{self.kind}]"


class AttachmentState(models.TextChoices):
    PENDING = "pending", _("being fetched")
    READY = "ready", _("stored")
    FAILED = "failed", _("could not be fetched")


def attachment_path(attachment: Attachment, filename: str) -> str:
    """A random name: the platform's own is kept in the row and never touches the file system."""
    return f"{timezone.now():%Y/%m}/{uuid.uuid4().hex}"


class Attachment(ExplainedMixin, LeaseMixin):
    """A file of a message. The bytes are kept, because the platform's media ids die."""

    State = AttachmentState

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # `attachment_position` begins with it.
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="attachments", db_index=False)
    position = models.PositiveSmallIntegerField(default=0)
    kind = models.CharField(_("kind"), max_length=8)
    name = models.CharField(_("name"), max_length=255, blank=True)
    mime = models.CharField(_("type"), max_length=100, blank=True)
    size = models.BigIntegerField(_("size"), default=0)
    file = models.FileField(upload_to=attachment_path, max_length=200, blank=True)
    source = models.TextField(blank=True, default="")  # inbound: the platform's media id or address; good for minutes
    fallback = models.TextField(blank=True, default="", db_default="")  # inbound: another source of the same file
    key = EncryptedTextField(
        row="uuid", blank=True, default=""
    )  # inbound: what this file alone is encrypted with; a secret
    handle = models.TextField(blank=True, default="")  # outbound: the media id after the upload
    handle_at = models.DateTimeField(null=True)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.PENDING)
    code = models.CharField(_("code"), max_length=CODE_LENGTH, blank=True, default="")
    code_params = models.JSONField(blank=True, default=dict)
    tries = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now)
    # The platform's content check: its id, and what it found.
    check_trace = models.CharField(max_length=100, blank=True, default="", db_default="")
    verdict = models.CharField(max_length=8, blank=True, default="", db_default="")

    class Meta:
        verbose_name, verbose_name_plural = _("attachment"), _("attachments")
        ordering = ["message", "position"]
        constraints = [
            models.UniqueConstraint(fields=["message", "position"], name="attachment_position"),
            models.CheckConstraint(
                condition=~models.Q(state="ready") | ~models.Q(file=""), name="attachment_ready_has_file"
            ),
        ]
        indexes = [
            # media.fetch_waiting.
            models.Index(fields=["due_at"], condition=models.Q(state="pending"), name="attachment_due"),
            # The event that brings a content check's result.
            models.Index(fields=["check_trace"], condition=~models.Q(check_trace=""), name="attachment_check"),
        ]

    def __str__(self) -> str:
        return self.name or self.kind

    @property
    def explanations(self) -> Table:
        return table_for("channel", self.message.account.kind)
