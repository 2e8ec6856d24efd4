"""Accounts, their access tokens, reply windows and restrictions."""

from __future__ import annotations

import uuid
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Coalesce, Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.explanations import explanations_of
from accounts.fields import EncryptedJSONField, EncryptedTextField, Undecryptable
from accounts.health import CODE_LENGTH, Health, HealthMixin
from accounts.lease import LeaseMixin
from accounts.state_changes import StateChange as StateChange  # Django looks for models here
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.connection import LOGIN_STATES, ConnectionState, describe_state
from channels_wechat.contract.explanations import explain
from channels_wechat.contract.sentences import CHINESE, LANGUAGES, Sentences

if TYPE_CHECKING:
    from typing import Self

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.explanations import Params, Table


# An account that begins to fail is asked after so many seconds whether it works again, unless a message shows it before.
FIRST_PROBE_SECONDS = 30
# An account whose platform has no call for that counts as working when nothing has failed for so long.
QUIET_TIME = timedelta(minutes=5)

# A platform repeats a callback, and a script a request, within days at most: so long the key by which a repetition is known is kept.
RETENTION_LEAST_DAYS = 7
RETENTION_MOST_DAYS = 36500


def default_retention() -> int | None:
    return settings.RETENTION_DAYS or None


def kind_choices() -> list[tuple[str, _StrOrPromise]]:
    return [(kind, channel_class(kind).label) for kind in KINDS]


class ModerationScope(models.TextChoices):
    """Whose messages the platform's content check checks, where it has one."""

    OFF = "", _("nothing")
    IN = "in", _("what people write")
    OUT = "out", _("what the agent answers")
    BOTH = "both", _("both")


class ChannelAccount(HealthMixin):
    key = models.UUIDField(_("key"), default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(_("kind"), max_length=32)  # no choices here: a new kind needs no migration
    name = models.CharField(_("name"), max_length=100)
    external_id = models.CharField(_("identity on the platform"), max_length=200, editable=False)
    credentials = EncryptedJSONField(_("credentials"), row="key", default=dict, editable=False)
    api_base_url = models.URLField(
        _("API address"), blank=True, help_text=_("Leave empty for the platform's own. For a proxy or the simulator.")
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    retention_days = models.PositiveIntegerField(
        _("days messages are kept"),
        null=True,
        blank=True,
        default=default_retention,
        validators=[MinValueValidator(RETENTION_LEAST_DAYS), MaxValueValidator(RETENTION_MOST_DAYS)],
        help_text=_(
            "Older messages are deleted with their files, unless something about them is still open. Empty: kept for ever."
        ),
    )
    moderation_scope = models.CharField(
        _("content check"),
        max_length=4,
        blank=True,
        default=ModerationScope.OFF,
        choices=ModerationScope.choices,
        help_text=_("What WeChat's content check flags is on hold until staff release or dismiss it."),
    )
    language = models.CharField(
        _("language of the people"),
        max_length=8,
        choices=LANGUAGES,
        default=CHINESE,
        help_text=_("People read the bridge's own sentences in this language, unless you write other ones below."),
    )
    sentences = models.JSONField(_("sentences"), default=dict, blank=True, editable=False)
    # With three quarters one account can keep a gateway busy, and a message to another account still gets a turn at once.
    gateway_share = models.PositiveSmallIntegerField(
        _("share of a gateway, percent"),
        default=75,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_(
            "At most this share of its gateway's turns at a time, while other accounts are mapped to the same gateway. "
            "One eighth, and at least one turn, stays free for accounts that have nothing under way."
        ),
    )
    # More than anybody types, and enough for nine pictures sent at once three times.
    turns_per_minute = models.PositiveSmallIntegerField(
        _("turns a minute for each person"),
        null=True,
        blank=True,
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text=_("Further messages of the person are skipped, and the person is told so once. Empty: no limit."),
    )
    staff_minutes = models.PositiveIntegerField(
        _("back to the agent after, minutes"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(60 * 24 * 30)],
        help_text=_(
            "The agent answers again, and is asked the last open question, when staff have written nothing for so long in a "
            "conversation that they took over. Empty: staff hand it back themselves."
        ),
    )
    # While it fails: when the platform is asked next whether it works again, and how often it was asked. Of a kind that cannot be asked:
    # when it counts as working again, if nothing fails before.
    next_try_at = models.DateTimeField(_("next attempt"), null=True, editable=False)
    probes = models.PositiveSmallIntegerField(default=0, editable=False)
    # Since when staff have nothing sent, while what comes is still received. What is to be sent waits.
    sending_stopped_at = models.DateTimeField(_("sending stopped"), null=True, editable=False)
    # The last state that was reported to webhooks; where it differs from `state`, an event is still to be queued.
    notified_state = models.CharField(max_length=16, choices=Health.choices, default=Health.NEW, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name, verbose_name_plural = _("account"), _("accounts")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="account_name_once",
                violation_error_message=_("There is an account with this name already."),
            ),
            models.UniqueConstraint(
                fields=["kind", "external_id"],
                name="account_kind_external_id",
                violation_error_message=_("An account with this identity exists already."),
            ),
            models.CheckConstraint(
                condition=models.Q(retention_days=None) | models.Q(retention_days__gte=RETENTION_LEAST_DAYS),
                name="account_retention_not_too_short",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_kind_display(self) -> _StrOrPromise:
        return channel_class(self.kind).label if self.kind in KINDS else self.kind

    @property
    def explanations(self) -> Table:
        return explanations_of(self.kind)

    def sentence(self, name: str, /, **params: object) -> str:
        """Return the sentence that people read on this occasion. names: `channels_wechat.contract.sentences.SENTENCES`."""
        return Sentences(self.language, self.sentences).get(name, **params)

    @property
    def usable(self) -> bool:
        """Whether anything may be sent or refreshed: staff have it on and nothing stopped it."""
        return self.enabled and self.state != Health.STOPPED

    @property
    def may_send(self) -> bool:
        """Whether anything may be sent to people: it is usable, and staff have not stopped all sending."""
        return self.usable and self.sending_stopped_at is None

    def revive(self) -> None:
        """Leave `stopped`, because staff changed something. A token of another API address than ours is deleted.

        The fence moves on, so that whoever asks for a token just now, with what was entered before, stores no refusal any more.
        """
        AccessToken.objects.filter(account=self).exclude(address=self.api_base_url).update(value="")
        AccessToken.objects.filter(account=self).update(
            failure_code="",
            failure_params={},
            wait_until=None,
            expires_at=None,
            owner="",
            owner_until=None,
            fence=models.F("fence") + 1,
        )
        super().revive()

    def set_state(
        self,
        state: Health,
        code: str = "",
        params: Params = MappingProxyType({}),
        rows: models.QuerySet[Self] | None = None,
    ) -> bool:
        """An account that waits for a login does not work, whatever else succeeded.

        Nor does a refusal of credentials that staff have replaced since they were read stop it: a process keeps an account for two seconds.
        """
        if state == Health.STOPPED and self._has_other_credentials():
            return False
        if state == Health.OK:
            rows = (self._row() if rows is None else rows).exclude(connection__state__in=LOGIN_STATES)
        is_changed = super().set_state(state, code, params, rows)
        if state == Health.FAILING and not self.can_be_asked:
            failing = (self._row() if rows is None else rows).filter(state=Health.FAILING)
            failing.update(next_try_at=timezone.now() + QUIET_TIME)
        return is_changed

    @property
    def can_be_asked(self) -> bool:
        """Whether its platform has a call by which a failing account is asked whether it works again."""
        return self.kind in KINDS and channel_class(self.kind).test_calls

    def _has_other_credentials(self) -> bool:
        """Whether staff have changed the credentials or their address since this was read."""
        now = self._row().only("key", "credentials", "api_base_url").first()
        try:
            return now is not None and (now.credentials, now.api_base_url) != (self.credentials, self.api_base_url)
        except Undecryptable:
            return False

    def fields_with_state(self, state: Health) -> dict[str, Any]:
        """When it is tried next; another reason does not put that off. Each failure of one that cannot be asked does, in `set_state`."""
        if state != Health.FAILING:
            return {"next_try_at": None, "probes": 0}
        return {"next_try_at": Coalesce("next_try_at", timezone.now() + timedelta(seconds=FIRST_PROBE_SECONDS))}


class AccessToken(LeaseMixin):
    """One per account, shared by every process; apart from the account, so that a refresh writes no configuration.

    Whoever has the lease fetches the next one.
    """

    account = models.OneToOneField(ChannelAccount, on_delete=models.CASCADE, related_name="token")
    value = EncryptedTextField(row="account", blank=True, default="")
    address = models.CharField(max_length=200, blank=True, default="")  # the account's API address that gave it out
    generation = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField(null=True)
    # Why the platform refuses us; shared, so that one asks and all know.
    failure_code = models.CharField(max_length=CODE_LENGTH, blank=True, default="")
    failure_params = models.JSONField(default=dict)
    failed_at = models.DateTimeField(null=True)
    # With a failure: when somebody may ask again. Empty: when staff changed something.
    wait_until = models.DateTimeField(null=True)
    refreshed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("access token"), _("access tokens")

    def __str__(self) -> str:
        return f"{self.account_id} #{self.generation}"

    @property
    def failure(self) -> str:
        """Why the platform refuses us, for staff, in the language that is active now."""
        return explain(self.account.explanations, self.failure_code, self.failure_params)

    def valid(self, margin: float = 0) -> bool:
        """margin: seconds the token must still be good for."""
        return bool(self.value and self.expires_at and (self.expires_at - timezone.now()).total_seconds() > margin)

    @property
    def refused(self) -> bool:
        """For good: until staff change something."""
        return bool(self.failure_code and self.wait_until is None)

    def waits(self) -> bool:
        """The platform said how long nobody is to ask."""
        return bool(self.failure_code and self.wait_until and self.wait_until > timezone.now())


def connection_states() -> list[tuple[str, _StrOrPromise]]:
    return [(state, describe_state(state)) for state in ConnectionState]


class Connection(LeaseMixin):
    """The long connection of an account or of a gateway. One connector at a time holds it: the holder of the lease.

    An account whose messages are pulled has such a row too: there a worker holds it while it pulls. Each write of the holder goes through
    `as_held`, so that a process that was paused past its lease changes nothing.
    """

    account = models.OneToOneField(
        ChannelAccount, on_delete=models.CASCADE, null=True, related_name="connection", editable=False
    )
    gateway = models.OneToOneField(
        "openclaw.Gateway", on_delete=models.CASCADE, null=True, related_name="connection", editable=False
    )
    # Names the connection to a platform that keeps one for each device. It is the same at every connector.
    device_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    state = models.CharField(
        _("state"), max_length=16, choices=connection_states, default=ConnectionState.CONNECTING, editable=False
    )
    code = models.CharField(max_length=CODE_LENGTH, blank=True, default="", editable=False)
    code_params = models.JSONField(default=dict, blank=True, editable=False)
    state_since = models.DateTimeField(_("since"), default=timezone.now, editable=False)
    held_since = models.DateTimeField(_("held since"), null=True, editable=False)
    last_frame_at = models.DateTimeField(_("last frame"), null=True, editable=False)
    # As whom the account is logged in, where somebody has to log in.
    own_id = models.CharField(_("logged in as"), max_length=200, blank=True, default="", db_default="", editable=False)
    own_name = models.CharField(_("name"), max_length=200, blank=True, default="", db_default="", editable=False)
    # Up to where the platform's messages were received, in its own words; for platforms that keep what came meanwhile.
    cursor = models.TextField(blank=True, default="", editable=False)
    # Of an account whose messages are pulled: when that is due, how often it has failed since it last worked, and what its last knock gave.
    pull_due_at = models.DateTimeField(null=True, editable=False)
    pull_failures = models.PositiveSmallIntegerField(default=0, editable=False)
    knock_token = EncryptedTextField(row="device_id", blank=True, default="", editable=False)
    knock_until = models.DateTimeField(null=True, editable=False)
    # What staff scan to log in, while the platform waits for that. It is as good as a password for some minutes.
    login_code = EncryptedTextField(row="device_id", blank=True, default="", editable=False)

    class Meta:
        verbose_name, verbose_name_plural = _("connection"), _("connections")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(account=None, gateway__isnull=False) | models.Q(account__isnull=False, gateway=None),
                name="connection_of_one",
            )
        ]
        # pulling.claim_due: which accounts are due.
        indexes = [
            models.Index(
                fields=["pull_due_at"], condition=models.Q(pull_due_at__isnull=False), name="connection_pull_due"
            )
        ]

    def __str__(self) -> str:
        return f"{self.account or self.gateway}"

    @property
    def is_held(self) -> bool:
        """Whether a connector has the lease now."""
        return bool(self.owner and self.owner_until and self.owner_until > timezone.now())

    @property
    def current_state(self) -> ConnectionState:
        """Its state; what a lost connector left as connected is not."""
        stored = ConnectionState(self.state)
        return ConnectionState.CONNECTING if stored == ConnectionState.CONNECTED and not self.is_held else stored

    @property
    def current_state_label(self) -> _StrOrPromise:
        return describe_state(self.current_state)

    @property
    def holder(self) -> dict[str, str]:
        """Machine and process of the connector that holds the connection now; empty where none does."""
        if not self.is_held:
            return {}
        host, process, _unique = self.owner.rsplit(":", 2)
        return {"host": host, "process": process}

    @property
    def detail(self) -> str:
        """Why it is in this state, for staff, in the language that is active now."""
        owner = self.account or self.gateway
        return explain(owner.explanations, self.code, self.code_params) if owner else ""


class ConnectionGap(models.Model):
    """A time without a connection, in which a platform that keeps no history may have had messages that never reach us."""

    account = models.ForeignKey(ChannelAccount, on_delete=models.CASCADE, related_name="gaps", db_index=False)
    since = models.DateTimeField(_("from"))
    until = models.DateTimeField(_("until"))

    class Meta:
        verbose_name, verbose_name_plural = _("gap in the connection"), _("gaps in the connection")
        # Transcripts and the account's page look for the gaps of one account by time.
        indexes = [models.Index(fields=["account", "until"], name="gap_account_until")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.since:%Y-%m-%d %H:%M:%S}"


def cleaned_credentials(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """The kind's form as validation for code that has no page. Raises django.core.exceptions.ValidationError."""
    form = channel_class(kind).Credentials(data)
    if not form.is_valid():
        raise ValidationError(dict(form.errors.items()))
    return dict(form.cleaned_data)


class ReplyWindow(models.Model):
    """How many messages may still be sent to one person. Their actions open it, our messages use it up (`accounts.reply_windows`)."""

    account = models.ForeignKey(ChannelAccount, on_delete=models.CASCADE, related_name="windows", db_index=False)
    peer_id = models.CharField(max_length=200)
    left = models.PositiveSmallIntegerField(default=0)
    until = models.DateTimeField()
    last_action_at = models.DateTimeField(default=timezone.now)  # when we heard of their last deed
    # The times of the last uses, which are subtracted from a window whose callback comes late.
    sent_times = ArrayField(models.DateTimeField(), default=list)

    class Meta:
        verbose_name, verbose_name_plural = _("reply window"), _("reply windows")
        constraints = [models.UniqueConstraint(fields=["account", "peer_id"], name="window_one_per_person")]

    def __str__(self) -> str:
        return f"{self.account_id} #{self.pk}"


class Restriction(models.Model):
    """A capability that the platform does not grant this account; `accounts.capabilities` allows it again after `until`.

    peer_id: the person or group to which alone it is not granted; empty: it is granted to nobody.
    """

    account = models.ForeignKey(ChannelAccount, on_delete=models.CASCADE, related_name="restrictions", db_index=False)
    capability = models.CharField(_("capability"), max_length=32)
    peer_id = models.CharField(_("chat"), max_length=200, blank=True, default="")
    code = models.CharField(_("code"), max_length=CODE_LENGTH)
    code_params = models.JSONField(default=dict)
    since = models.DateTimeField(_("since"), default=timezone.now)
    until = models.DateTimeField(_("until"))

    class Meta:
        verbose_name, verbose_name_plural = _("restriction"), _("restrictions")
        constraints = [models.UniqueConstraint(fields=["account", "capability", "peer_id"], name="restriction_once")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.capability}"

    @property
    def text(self) -> str:
        """Why, for staff, in the language that is active now."""
        return explain(self.account.explanations, self.code, self.code_params)
