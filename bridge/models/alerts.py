"""Alerts: the rules that say what staff want to know, the channels by which they are told, and what was told by which channel.

A rule matches incidents. For each incident and channel there is an `AlertDelivery`, from the moment in which the alert is due until a
channel accepted it. An `AlertMessage` is one sending: a channel takes all that is due at the moment in one message.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, validate_email
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.channels import guard
from accounts.fields import EncryptedTextField, list_unreadable
from accounts.health import CODE_LENGTH
from accounts.lease import LeaseMixin
from accounts.models import ChannelAccount
from bridge.explanations.alerts import SKIPPED_ALERTS
from bridge.explanations.incidents import alert_error_of
from bridge.models.incidents import Incident, Severity
from bridge.models.webhooks import MAX_URL_LENGTH, new_secret, origin_of
from channels_wechat.contract.explanations import Cause, explain
from channels_wechat.contract.pasted import without_invisible
from channels_wechat.wecom.robot.credentials import read_address
from channels_wechat.wire.addresses import check_address, leads_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.utils.functional import _StrOrPromise

ROBOT_KIND = "wecom_robot"
MAX_EMAILS = 20


class RuleKind(models.TextChoices):
    ACCOUNT_DOWN = "account_down", _("an account is down")
    GATEWAY_DOWN = "gateway_down", _("a gateway is down or takes no turns")
    BACKLOG = "backlog", _("messages wait too long")
    FAILURE_RATE = "failure_rate", _("many deliveries fail")
    FAILURE_CODES = "failure_codes", _("deliveries fail")
    TOKEN = "token", _("an access token cannot be refreshed")  # noqa: S105 - a kind of rule
    QUOTA = "quota", _("a quota is nearly used up")
    SILENCE = "silence", _("an account receives nothing")
    WAITING_CHATS = "waiting_chats", _("people wait for staff")
    WORKER_SILENT = "worker_silent", _("a worker, beat or connector does not work")
    OTHER = "other", _("anything else that is listed as an incident")


# The kinds whose rules find incidents themselves; those of the others match incidents that are found anyway.
FINDING = (RuleKind.BACKLOG, RuleKind.FAILURE_RATE, RuleKind.TOKEN, RuleKind.SILENCE, RuleKind.WAITING_CHATS)
# The numbers that rules of a kind compare, with those of a new rule. The other kinds have none.
RULE_NUMBERS: dict[str, dict[str, int]] = {
    RuleKind.BACKLOG: {"minutes": 15},
    RuleKind.FAILURE_RATE: {"minutes": 15, "percent": 20, "least_count": 10},
    RuleKind.FAILURE_CODES: {"least_count": 1},
    RuleKind.TOKEN: {"minutes": 3},
    RuleKind.SILENCE: {"minutes": 180},
    RuleKind.WAITING_CHATS: {"minutes": 15},
}
NUMBERS = ("minutes", "percent", "least_count")
MAX_MINUTES = 60 * 24 * 14


class AlertRule(models.Model):
    """What staff want to know. Rules of some kinds find incidents by their numbers; those of the others match incidents found anyway."""

    kind = models.CharField(_("what"), max_length=16, choices=RuleKind.choices)
    name = models.CharField(
        _("name"), max_length=100, blank=True, default="", help_text=_("Empty: it is called by what it watches.")
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    minutes = models.PositiveIntegerField(
        _("minutes"), null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(MAX_MINUTES)]
    )
    percent = models.PositiveSmallIntegerField(
        _("percent"), null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    least_count = models.PositiveIntegerField(
        _("least number of failures"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    # Of rules of the kind OTHER; all other kinds match warnings and worse only.
    least_severity = models.PositiveSmallIntegerField(
        _("from severity"), choices=Severity.choices, default=Severity.WARNING
    )
    codes = ArrayField(
        models.CharField(max_length=CODE_LENGTH),
        verbose_name=_("codes"),
        default=list,
        blank=True,
        help_text=_("With commas between them, as the page of a delivery shows them. Empty: every code."),
    )
    accounts = models.ManyToManyField(
        ChannelAccount,
        blank=True,
        related_name="+",
        verbose_name=_("accounts"),
        help_text=_("None chosen: all accounts."),
    )
    work_from = models.TimeField(_("working hours from"), null=True, blank=True)
    work_until = models.TimeField(_("working hours until"), null=True, blank=True)
    weekdays_only = models.BooleanField(_("Monday to Friday only"), default=False)
    reminder_hours = models.PositiveSmallIntegerField(
        _("remind after hours"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 7)],
        help_text=_("While the incident lasts and nobody has acknowledged it. Empty: no reminder."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name, verbose_name_plural = _("alert rule"), _("alert rules")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(work_from=None, work_until=None) | Q(work_from__isnull=False, work_until__isnull=False),
                name="alert_rule_hours_both",
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.get_kind_display())

    def clean(self) -> None:
        """Raises ValidationError. Numbers that rules of the kind do not use are emptied."""
        used = RULE_NUMBERS.get(self.kind, {})
        missing = [name for name in used if getattr(self, name) is None]
        if missing:
            raise ValidationError(dict.fromkeys(missing, _now("Enter a number.")))
        for name in set(NUMBERS) - set(used):
            setattr(self, name, None)
        if (self.work_from is None) != (self.work_until is None) or (
            self.work_from and self.work_from == self.work_until
        ):
            raise ValidationError({"work_until": _now("Enter two different times, or none.")})


def default_language() -> str:
    return settings.LANGUAGE_CODE


class ChannelKind(models.TextChoices):
    ROBOT = "robot", _("WeCom group robot")
    EMAIL = "email", _("e-mail")
    WEBHOOK = "webhook", _("signed webhook")


class AlertChannel(LeaseMixin):
    """One way to tell staff. The holder of its lease is the one process that sends by it at the moment.

    environment: the name of the setting that has its address, for the channels that are set there; empty for all others.
    """

    has_new_secret = False

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(_("kind"), max_length=8, choices=ChannelKind.choices)
    name = models.CharField(_("name"), max_length=100)
    enabled = models.BooleanField(_("enabled"), default=True)
    environment = models.CharField(max_length=32, blank=True, default="", editable=False)
    account = models.ForeignKey(
        ChannelAccount,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        limit_choices_to={"kind": ROBOT_KIND},
        related_name="+",
        verbose_name=_("account of the robot"),
    )
    # Encrypted, because a robot's address holds its key and many services put a secret into theirs; pages show `origin`.
    url = EncryptedTextField(_("address"), row="key", blank=True, default="")
    emails = ArrayField(models.EmailField(), verbose_name=_("e-mail addresses"), default=list, blank=True)
    secret = EncryptedTextField(row="key", blank=True, default="", editable=False)
    language = models.CharField(
        _("language"),
        max_length=8,
        choices=settings.LANGUAGES,
        default=default_language,
        help_text=_("Of the alerts that this channel sends."),
    )
    quiet_from = models.TimeField(_("quiet from"), null=True, blank=True)
    quiet_until = models.TimeField(
        _("quiet until"),
        null=True,
        blank=True,
        help_text=_("In the time zone of the site. What happens meanwhile is sent after that as one summary."),
    )
    max_per_hour = models.PositiveSmallIntegerField(
        _("messages an hour at most"),
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text=_("What comes beyond that waits and is sent later in one message."),
    )
    rules = models.ManyToManyField(
        AlertRule, blank=True, related_name="channels", verbose_name=_("rules"), help_text=_("None chosen: all rules.")
    )
    # How often in a row it has failed, and when it is tried next.
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    next_try_at = models.DateTimeField(_("next attempt"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name, verbose_name_plural = _("alert channel"), _("alert channels")
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["environment"], condition=~Q(environment=""), name="alert_channel_environment_once"
            ),
            models.CheckConstraint(
                condition=Q(quiet_from=None, quiet_until=None) | Q(quiet_from__isnull=False, quiet_until__isnull=False),
                name="alert_channel_quiet_both",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """A signed webhook gets a secret when it is made, and another one when its address leads to another host."""
        writes_address = update_fields is None or "url" in update_fields
        if writes_address and not self._state.adding:
            self._drop_unreadable()
        if self.kind == ChannelKind.WEBHOOK and writes_address and self._needs_secret():
            self.secret, self.has_new_secret = new_secret(), True
            update_fields = update_fields and {*update_fields, "secret"}
        super().save(update_fields=update_fields, **options)

    def _needs_secret(self) -> bool:
        """Whether there is none, its address leads to another host, or what was stored could not be read."""
        stored = None if self._state.adding else AlertChannel.objects.filter(pk=self.pk).first()
        return not self.secret or bool(stored and (not stored.url or leads_elsewhere(stored.url, self.url)))

    def _drop_unreadable(self) -> None:
        """Empty in the database what no key of FIELD_KEYS opens: the audit log would compare it with what is written now."""
        stored = AlertChannel.objects.filter(pk=self.pk).first()
        if stored and (names := list_unreadable(stored)):
            AlertChannel.objects.filter(pk=self.pk).update(**dict.fromkeys(names, ""))

    def rotate(self) -> str:
        """Make a new secret, store and return it. The old one ends at once."""
        self.secret = new_secret()
        self.save(update_fields=["secret", "updated_at"])
        return self.secret

    @property
    def address(self) -> str:
        """The address it posts to: a secret. Empty for an account's robot and for e-mail."""
        return (
            str(getattr(settings, self.environment, ""))
            if self.environment and self.kind == ChannelKind.ROBOT
            else self.url
        )

    @property
    def known_address(self) -> str:
        """`address`; empty where no key of FIELD_KEYS opens it."""
        return "" if "url" in list_unreadable(self) else self.address

    def forget_unreadable(self) -> None:
        """Empty here what no key of FIELD_KEYS opens, so that a form asks for it anew. Nothing is stored."""
        for name in list_unreadable(self):
            setattr(self, name, "")

    @property
    def recipients(self) -> list[str]:
        """The addresses of its e-mails."""
        return list(getattr(settings, self.environment, [])) if self.environment else self.emails

    @property
    def is_set(self) -> bool:
        """Whether there is somewhere to send to: a setting may have been emptied since."""
        return not self.environment or bool(getattr(settings, self.environment, None))

    @property
    def shown_target(self) -> str:
        """What may be shown of where it sends to, without secrets."""
        if self.kind == ChannelKind.EMAIL:
            return ", ".join(self.recipients)
        if self.account:
            return self.account.name
        return _now("cannot be read") if "url" in list_unreadable(self) else origin_of(self.address)

    def clean(self) -> None:
        """Raises ValidationError."""
        if (self.quiet_from is None) != (self.quiet_until is None) or (
            self.quiet_from and self.quiet_from == self.quiet_until
        ):
            raise ValidationError({"quiet_until": _now("Enter two different times, or none.")})
        if not self.environment and self.kind in ChannelKind:
            self.url = without_invisible(self.url)
            {
                ChannelKind.ROBOT: self._clean_robot,
                ChannelKind.EMAIL: self._clean_email,
                ChannelKind.WEBHOOK: self._clean_webhook,
            }[ChannelKind(self.kind)]()

    def _clean_robot(self) -> None:
        self.emails = []
        if bool(self.account) == bool(self.url):
            raise ValidationError({"url": _now("Choose the account of a robot, or enter the address of one.")})
        if self.url:
            if read_address(self.url) is None:
                raise ValidationError(
                    {
                        "url": _now(
                            "This is no robot's address: copy all of it, up to the end of what stands behind key=."
                        )
                    }
                )
            self._check_url()

    def _clean_email(self) -> None:
        self.account, self.url = None, ""
        self.emails = list(dict.fromkeys(self.emails))
        if not 0 < len(self.emails) <= MAX_EMAILS:
            raise ValidationError({"emails": _now("Enter one to %d addresses.") % MAX_EMAILS})
        for address in self.emails:
            validate_email(address)

    def _clean_webhook(self) -> None:
        self.account, self.emails = None, []
        if not self.url:
            raise ValidationError({"url": _now("Enter the address that takes the alerts.")})
        self._check_url()

    def _check_url(self) -> None:
        try:
            check_address(self.url, guard(), query=True)
        except ValidationError as wrong:
            raise ValidationError({"url": wrong.messages}) from wrong
        if len(self.url) > MAX_URL_LENGTH:
            raise ValidationError({"url": _now("The address is too long.")})


class AlertMessage(models.Model):
    """One sending by one channel: what was told, when, to whom, and whether the channel accepted it."""

    class State(models.TextChoices):
        SENDING = "sending", _("being sent")
        ACCEPTED = "accepted", _("accepted")
        REFUSED = "refused", _("not accepted")
        LOST = "lost", _("the process was lost")

    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="messages", db_index=False)
    is_test = models.BooleanField(_("test"), default=False)
    target = models.CharField(_("to"), max_length=500)  # `AlertChannel.shown_target` at that time
    title = models.CharField(_("title"), max_length=300)
    text = models.TextField(_("text"))
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.SENDING)
    # Why it was not accepted, or who did not get it of those it was sent to.
    code = models.CharField(_("code"), max_length=CODE_LENGTH, blank=True, default="")
    code_params = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(_("sent"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("alert message"), _("alert messages")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="sending", finished_at=None) | (~Q(state="sending") & Q(finished_at__isnull=False)),
                name="alert_message_finished_iff_not_sending",
            )
        ]
        # The page of a channel, and how many it sent within the hour.
        indexes = [models.Index(fields=["channel", "-id"], name="alert_message_channel")]

    def __str__(self) -> str:
        return f"#{self.pk}"

    @property
    def cause(self) -> Cause:
        return Cause(self.code, self.code_params)

    @property
    def error(self) -> str:
        """In the language that is active now; empty where nothing went wrong."""
        return alert_error_of(self.cause.as_json()) if self.code else ""


class AlertDelivery(models.Model):
    """One alert of one incident by one channel. message: the last sending that had it; none while it waits for its first.

    number: of reminders, from 1 on.
    """

    class Occasion(models.TextChoices):
        OPENED = "opened", _("alert")
        REMINDER = "reminder", _("reminder")
        RESOLVED = "resolved", _("recovery alert")

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        SENT = "sent", _("sent")
        SKIPPED = "skipped", _("not sent")

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="alerts", db_index=False)
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="alerts", db_index=False)
    occasion = models.CharField(_("occasion"), max_length=8, choices=Occasion.choices)
    number = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(_("state"), max_length=7, choices=State.choices, default=State.WAITING)
    # Why it is not sent: a code of `SKIPPED_ALERTS`.
    code = models.CharField(_("code"), max_length=CODE_LENGTH, blank=True, default="")
    message = models.ForeignKey(AlertMessage, on_delete=models.SET_NULL, null=True, related_name="alerts")
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("alert"), _("alerts")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["incident", "channel", "occasion", "number"], name="alert_once"),
            models.CheckConstraint(
                condition=Q(state="waiting", finished_at=None) | (~Q(state="waiting") & Q(finished_at__isnull=False)),
                name="alert_finished_iff_not_waiting",
            ),
        ]
        # alerts.sending: what a channel has to send.
        indexes = [models.Index(fields=["channel", "id"], condition=Q(state="waiting"), name="alert_waiting")]

    def __str__(self) -> str:
        return f"{self.incident_id} {self.occasion}"

    @property
    def reason(self) -> _StrOrPromise:
        """Why it was not sent, or not yet, in the language that is active now; empty where nothing went wrong."""
        if self.code:
            return explain(SKIPPED_ALERTS, self.code, {})
        return self.message.error if self.message else ""
