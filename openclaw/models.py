"""An OpenClaw gateway, which runs agents."""

from __future__ import annotations

import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.channels import guard
from accounts.fields import EncryptedTextField
from accounts.health import HealthMixin
from channels_wechat.contract.pasted import NOTHING_SEEN, as_seen, one_line, without_invisible
from channels_wechat.wire.addresses import check_address, leads_elsewhere
from openclaw.errors import EXPLANATIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from accounts.health import Health
    from channels_wechat.contract.explanations import Params, Table

FIELDS_OF_ONE_ADDRESS = ("device_key", "device_token", "boot_id", "version")


class Gateway(HealthMixin):
    """One connector at a time holds the connection to it."""

    # The encrypted fields can be decrypted only in the row with this key.
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=100, unique=True)
    base_url = models.URLField(
        _("address"),
        help_text=_("For example http://127.0.0.1:18789. WebSocket and HTTP share it."),
    )
    token = EncryptedTextField(
        _("token"), row="key", blank=True, default="", help_text=_("gateway.auth.token in openclaw.json.")
    )
    device_key = EncryptedTextField(row="key", blank=True, default="", editable=False)  # PEM, ed25519
    device_token = EncryptedTextField(row="key", blank=True, default="", editable=False)
    transport = models.CharField(
        _("transport"),
        max_length=8,
        choices=[("ws", _("WebSocket")), ("http", _("HTTP streaming"))],
        default="ws",
        help_text=_("HTTP streaming only where WebSocket is not let through: a lost connection there loses the turn."),
    )
    timeout_seconds = models.PositiveIntegerField(
        _("longest turn, seconds"), default=1800, validators=[MinValueValidator(5), MaxValueValidator(24 * 3600)]
    )
    max_in_flight = models.PositiveIntegerField(
        _("turns at a time"),
        default=8,
        validators=[MinValueValidator(1), MaxValueValidator(2000)],
        help_text=_("About twice the processor cores of the gateway's machine."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    version = models.CharField(_("version"), max_length=40, blank=True, editable=False)
    boot_id = models.CharField(max_length=80, blank=True, editable=False)
    agents = models.JSONField(_("agents"), default=list, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    _stored_address = _stored_name = ""

    class Meta:
        verbose_name, verbose_name_plural = _("gateway"), _("gateways")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """Save. If the address has changed, clear the device key and what the gateway gave the bridge: they belong to the old address."""
        if self._stored_address and leads_elsewhere(self._stored_address, self.base_url):
            self.device_key = self.device_token = self.boot_id = self.version = ""
            update_fields = None if update_fields is None else {*update_fields, *FIELDS_OF_ONE_ADDRESS}
        super().save(update_fields=update_fields, **options)
        self._stored_address = self.base_url

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any) -> Self:
        gateway = super().from_db(db, field_names, values, **options)
        gateway._stored_address, gateway._stored_name = (
            gateway.__dict__.get(name, "") for name in ("base_url", "name")
        )
        return gateway

    def clean(self) -> None:
        """Check the name and the address, and remove a slash at its end. Raises ValidationError by field."""
        self._check_name()
        self.base_url = without_invisible(self.base_url).rstrip("/")
        try:
            check_address(self.base_url, guard())
        except ValidationError as error:
            raise ValidationError({"base_url": error.messages}) from error

    def _check_name(self) -> None:
        """Check that a new name does not look like another gateway's: lists and filters show only names. Raises ValidationError."""
        if self.name == self._stored_name:
            return
        old_name, self.name = self.name, one_line(self.name)
        if old_name and not self.name:
            raise ValidationError({"name": NOTHING_SEEN})
        others = Gateway.objects.exclude(pk=self.pk).values_list("name", flat=True)
        if similar := next((name for name in others if as_seen(name) == as_seen(self.name)), ""):
            message = _now("There is a gateway with this name already: “%(name)s”.")
            raise ValidationError({"name": message % {"name": similar}})

    @property
    def explanations(self) -> Table:
        return EXPLANATIONS

    def needs_token_for(self, address: str) -> bool:
        """Whether the stored token was entered for another scheme, host or port than this address has."""
        return bool(self.pk and self.token and leads_elsewhere(self.base_url, address))

    def set_state_as_holder(self, state: Health, code: str = "", params: Params = MappingProxyType({})) -> bool:
        """Set the state as the connector that holds the lease. Write nothing if another took the gateway since this row was read."""
        return self.set_state(state, code, params, self.as_held())

    def as_held(self) -> models.QuerySet[Gateway]:
        """Return a query that finds this row only while its connection has the holder that it had when this row was read."""
        return Gateway.objects.filter(pk=self.pk, connection__fence=self.connection.fence)
