"""Figures, counted from the rows by the clock: what was said, what failed, how long answers took, tokens and cost.

`bridge.operations.figures` writes them. A figure belongs to the hour or day in which its message or delivery was created, in the site's
time zone, so results that come later change figures of earlier hours.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import ChannelAccount
from bridge.models.routes import Conversation
from openclaw.models import Gateway


class Figures(models.Model):
    """What was counted for an account and an agent. gateway and agent_id are empty for what no agent had part in."""

    account = models.ForeignKey(ChannelAccount, on_delete=models.CASCADE, related_name="+", db_index=False)
    # The figures of a gateway stay when staff delete it.
    gateway = models.ForeignKey(
        Gateway, on_delete=models.DO_NOTHING, null=True, related_name="+", db_index=False, db_constraint=False
    )
    agent_id = models.CharField(_("agent"), max_length=64)
    messages_in = models.IntegerField()
    messages_out = models.IntegerField()
    failed = models.IntegerField()  # deliveries to agents and to WeChat
    uncertain = models.IntegerField()
    questions = models.IntegerField()  # deliveries to agents that were not skipped
    # How many questions were answered within each of `operations.figures.times.BOUNDS`, and after the last of them.
    answer_times = ArrayField(models.IntegerField())
    tokens_input = models.BigIntegerField()
    tokens_output = models.BigIntegerField()
    tokens_cache_read = models.BigIntegerField()
    tokens_cache_write = models.BigIntegerField()
    cost_microdollars = models.BigIntegerField()

    class Meta:
        abstract = True


class HourFigures(Figures):
    hour = models.DateTimeField()

    class Meta:
        verbose_name, verbose_name_plural = _("figures of an hour"), _("figures of hours")
        constraints = [
            # figures.reading: those of some hours.
            models.UniqueConstraint(
                fields=["hour", "account", "gateway", "agent_id"], name="hour_figures_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {self.account_id}"


class DayFigures(Figures):
    """The sum of a day's hours."""

    day = models.DateField()

    class Meta:
        verbose_name, verbose_name_plural = _("figures of a day"), _("figures of days")
        constraints = [
            # figures.reading: those of some days.
            models.UniqueConstraint(
                fields=["day", "account", "gateway", "agent_id"], name="day_figures_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.account_id}"


class ConversationFigures(Figures):
    """The figures of a day, by conversation."""

    day = models.DateField()
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="+")

    class Meta:
        verbose_name, verbose_name_plural = _("figures of a conversation"), _("figures of conversations")
        constraints = [
            # figures.reading: those of some days.
            models.UniqueConstraint(
                fields=["day", "conversation", "account", "gateway", "agent_id"],
                name="conversation_figures_once",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.conversation_id}"


class CountedPeriod(models.Model):
    """An hour or a day whose figures were counted, and when: where the counting goes on."""

    class Kind(models.TextChoices):
        HOUR = "hour", _("hour")
        DAY = "day", _("day")

    kind = models.CharField(max_length=4, choices=Kind.choices)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    counted_at = models.DateTimeField()
    # What the counting took: a period that costs much is counted again less often.
    seconds = models.FloatField()

    class Meta:
        verbose_name, verbose_name_plural = _("counted period"), _("counted periods")
        constraints = [models.UniqueConstraint(fields=["kind", "starts_at"], name="counted_period_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.starts_at}"
