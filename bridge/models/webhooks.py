"""Addresses of the company's own that are told what happens here, as https://www.standardwebhooks.com describes it."""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.channels import guard
from accounts.fields import EncryptedTextField, Sealed, open_sealed
from accounts.health import CODE_LENGTH
from accounts.models import ChannelAccount
from bridge.explanations.webhooks import WEBHOOK
from channels_wechat.contract.explanations import explain
from channels_wechat.contract.pasted import NOTHING_SEEN, one_line, without_invisible
from channels_wechat.wire.addresses import check_address, leads_elsewhere

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime, timedelta

SECRET_PREFIX = "whsec_"  # noqa: S105  what every secret of the specification begins with
SECRET_BYTES = 32
MAX_URL_LENGTH = 2000
# How long the secret before goes on signing after a rotation, unless somebody says otherwise, and at most. Hours.
OVERLAP_HOURS, MAX_OVERLAP_HOURS = 24, 24 * 14


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def origin_of(address: str) -> str:
    """Return scheme and host of an address; empty where it cannot be read."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Event(models.TextChoices):
    MESSAGE_RECEIVED = "message.received", _("a message was received")
    DELIVERY_DEAD = "delivery.dead", _("a delivery failed or is uncertain")
    CONVERSATION_HANDED_OVER = "conversation.handed_over", _("a conversation was handed to staff")
    ACCOUNT_STATE = "account.state", _("an account works, fails or stops")


class WebhookEndpoint(models.Model):
    """Disabled, it hears nothing new; what was queued for it waits in order until it is on again."""

    _stored_address: str | Sealed = ""
    has_new_secret = False

    # What is encrypted here opens in the row with this key only.
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=100)
    # Encrypted, because many services put a secret into path or query; pages show `origin`.
    url = EncryptedTextField(_("address"), row="key")
    events = ArrayField(models.CharField(max_length=32, choices=Event.choices), verbose_name=_("events"))
    account = models.ForeignKey(
        ChannelAccount,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="webhooks",
        verbose_name=_("account"),
        help_text=_("Only what happens to this account. Empty: all accounts."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    # What the bridge disabled it for; empty where staff did.
    disabled_code = models.CharField(max_length=CODE_LENGTH, blank=True, default="", editable=False)
    secret = EncryptedTextField(row="key", default=new_secret, editable=False)
    # During a rotation both secrets sign, so that the receiver can change over in its own time.
    previous_secret = EncryptedTextField(row="key", blank=True, default="", editable=False)
    previous_until = models.DateTimeField(_("the previous secret signs until"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name, verbose_name_plural = _("webhook"), _("webhooks")
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(events__len__gt=0), name="webhook_events_given"),
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(disabled_code=""), name="webhook_reason_only_when_off"
            ),
            models.CheckConstraint(
                condition=Q(previous_secret="", previous_until=None)
                | (~Q(previous_secret="") & Q(previous_until__isnull=False)),
                name="webhook_previous_secret_iff_until",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """What is posted to another host is signed with another secret: `has_new_secret` says that it is to be shown."""
        self._forget_reason()
        self.has_new_secret = self._leads_elsewhere()
        if self.has_new_secret:
            self.secret, self.previous_secret, self.previous_until = new_secret(), "", None
            update_fields = update_fields and {*update_fields, "secret", "previous_secret", "previous_until"}
        if update_fields is not None and "enabled" in update_fields:
            update_fields = {*update_fields, "disabled_code"}
        super().save(update_fields=update_fields, **options)
        self._stored_address = self.__dict__.get("url", "")

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any) -> Self:
        found = super().from_db(db, field_names, values, **options)
        found._stored_address = found.__dict__.get("url", "")
        return found

    def _leads_elsewhere(self) -> bool:
        """Not asked of an address that nobody looked at since it was read: where it does not open, the webhook is still disabled."""
        if self.__dict__.get("url", "") is self._stored_address:
            return False
        before = open_sealed(self, "url", self._stored_address)
        return bool(before and leads_elsewhere(before, self.url))

    def clean(self) -> None:
        """Raises ValidationError. Whether the host may be reached is judged again at each call, for names change their addresses."""
        self._forget_reason()
        given = {name: getattr(self, name) for name in ("name", "url")}
        self.name, self.url, self.events = (
            one_line(self.name),
            without_invisible(self.url),
            sorted(set(self.events or [])),
        )
        if unseen := [name for name in given if given[name] and not getattr(self, name)]:
            raise ValidationError(dict.fromkeys(unseen, NOTHING_SEEN))
        if not self.url:
            return
        try:
            check_address(self.url, guard(), query=True)
        except ValidationError as wrong:
            raise ValidationError({"url": wrong.messages}) from wrong
        if len(self.url) > MAX_URL_LENGTH:
            raise ValidationError({"url": _now("The address is too long.")})

    @property
    def disabled_reason(self) -> str:
        """Why the bridge disabled it, in the language that is active now; empty where staff did."""
        return explain(WEBHOOK, self.disabled_code, {})

    def _forget_reason(self) -> None:
        """Enabled, it has no reason to be off, whatever it answered since it was read."""
        self.disabled_code = "" if self.enabled else self.disabled_code

    @property
    def lane(self) -> str:
        return f"hook:{self.pk}"

    @property
    def origin(self) -> str:
        """Scheme and host: what may be shown of the address; empty where it cannot be read, as in a form before it is refused."""
        return origin_of(self.url)

    def signing_secrets(self, now: datetime) -> list[str]:
        """Newest first; two while a rotation's overlap lasts."""
        overlap = self.previous_until is not None and self.previous_until > now
        return [self.secret, self.previous_secret] if overlap else [self.secret]

    def rotate(self, overlap: timedelta) -> str:
        """A new secret, returned this once; the one before it goes on signing for the overlap, an older one does not."""
        # Of two rotations at once the second keeps the first one's secret, not the one before.
        with transaction.atomic():
            current = WebhookEndpoint.objects.select_for_update().get(pk=self.pk)
            self.previous_secret, self.previous_until = current.secret, timezone.now() + overlap
            self.secret = new_secret()
            self.save(update_fields=["secret", "previous_secret", "previous_until", "updated_at"])
        return self.secret
