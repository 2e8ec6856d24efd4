"""What was read of a platform's directory, and how far the reading is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.health import CODE_LENGTH
from accounts.lease import LeaseMixin
from accounts.models import ChannelAccount
from bridge.explanations.tables import explain_with, table_for

if TYPE_CHECKING:
    from collections.abc import Mapping

PART_LENGTH = 16


class Department(models.Model):
    """A department of a company, so that members are shown with its name."""

    account = models.ForeignKey(ChannelAccount, on_delete=models.CASCADE, related_name="departments", db_index=False)
    external_id = models.CharField(max_length=64)
    name = models.CharField(_("name"), max_length=200, blank=True)
    parent = models.CharField(max_length=64, blank=True)
    read_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = _("department"), _("departments")
        constraints = [models.UniqueConstraint(fields=["account", "external_id"], name="department_once")]

    def __str__(self) -> str:
        return self.name or self.external_id


class CustomerGroup(models.Model):
    """A group chat of members with customers. members: [{"id", "name", "kind"}], as the platform last told."""

    account = models.ForeignKey(
        ChannelAccount, on_delete=models.CASCADE, related_name="customer_groups", db_index=False
    )
    external_id = models.CharField(_("id on the platform"), max_length=200)
    name = models.CharField(_("name"), max_length=200, blank=True)
    owner = models.CharField(_("owner"), max_length=200, blank=True)
    members = models.JSONField(_("members"), default=list)
    dismissed_at = models.DateTimeField(_("dismissed"), null=True)
    read_at = models.DateTimeField(_("read"), default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = _("customer group"), _("customer groups")
        constraints = [models.UniqueConstraint(fields=["account", "external_id"], name="customer_group_once")]

    def __str__(self) -> str:
        return self.name or self.external_id


class DirectoryRead(LeaseMixin):
    """How far an account's directory is read. One process at a time makes the next call (`people.directory`).

    part, cursor: the page that is read next, where a reading is under way (`started_at`). results: part → {"count", "at", "skipped",
    "code", "params"} of the last reading that reached its end.
    """

    account = models.OneToOneField(ChannelAccount, on_delete=models.CASCADE, related_name="directory")
    part = models.CharField(max_length=PART_LENGTH, blank=True, default="")
    cursor = models.TextField(blank=True, default="")
    started_at = models.DateTimeField(null=True)
    count = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    results = models.JSONField(default=dict)
    finished_at = models.DateTimeField(null=True)
    # When the whole directory is read next, and when the next call is made, be it for that or for a change.
    next_reading_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now, db_index=True)
    # Why the last call failed, until one succeeds.
    code = models.CharField(max_length=CODE_LENGTH, blank=True, default="")
    code_params = models.JSONField(default=dict)

    class Meta:
        verbose_name, verbose_name_plural = _("reading of a directory"), _("readings of directories")

    def __str__(self) -> str:
        return f"{self.account_id} {self.part}"

    @property
    def failure(self) -> str:
        """Why the last call failed, for staff, in the language that is active now."""
        return explain_with(table_for("channel", self.account.kind), self.code, self.code_params)

    def failure_of(self, result: Mapping[str, Any]) -> str:
        """Why a part could not be read, for staff."""
        return explain_with(table_for("channel", self.account.kind), result.get("code", ""), result.get("params", {}))


class DirectoryChange(models.Model):
    """An entry of the directory that is to be read again, because an event said that it changed. gone: it is no more."""

    account = models.ForeignKey(
        ChannelAccount, on_delete=models.CASCADE, related_name="directory_changes", db_index=False
    )
    part = models.CharField(max_length=PART_LENGTH)
    external_id = models.CharField(max_length=200)
    gone = models.BooleanField(default=False)
    # Counts the events, so that one that comes while the entry is read has it read again.
    events = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = _("change of a directory"), _("changes of directories")
        constraints = [models.UniqueConstraint(fields=["account", "part", "external_id"], name="directory_change_once")]

    def __str__(self) -> str:
        return f"{self.part} {self.external_id}"
