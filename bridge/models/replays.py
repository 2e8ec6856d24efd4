"""Replays of many deliveries: `ReplayRun` is the plan and the run, `ReplayItem` one delivery of it.

planned ── run ──▶ running ── each chosen item has left or was refused ──▶ finished
   │                 │  ▲
   │             pause  resume
   │                 ▼  │
   │               paused
   └─ cancel ─┐      │
              ▼      │
          cancelled ◀┴─ cancel, undo (of running, paused and finished runs)

An item of a run, by its result; each arrow is one conditional UPDATE under the lock of the run's row:

"" ── queued again ──▶ queued ── its delivery ──▶ delivered, failed, held, uncertain, skipped
│                        └── undo, while no attempt was made ──▶ undone
├── cannot be queued ──▶ refused
└── the run is cancelled ──▶ left
"""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.health import CODE_LENGTH
from accounts.lease import LeaseMixin
from bridge.models.deliveries import Delivery, Target

MAX_RATE = 1000
# So many steps that fail one after the other pause a run.
MOST_FAILED_STEPS = 10


class ReplayKind(models.TextChoices):
    """What is done with each delivery. `targets_of` says which deliveries it fits."""

    AGAIN = "again", _("send again: the stored message, unchanged")
    ASK = "ask", _("ask again: a new turn of the agent")


class ReplayState(models.TextChoices):
    PLANNED = "planned", _("planned")
    RUNNING = "running", _("running")
    PAUSED = "paused", _("paused")
    CANCELLED = "cancelled", _("cancelled")
    FINISHED = "finished", _("finished")


class Outlook(models.TextChoices):
    """What would become of a delivery if it were replayed now; the first that fits, in the order of `plan_sql.PLAN`."""

    GO = "go", _("can go")
    WINDOW = "window", _("window closed: on hold until the person writes")
    QUOTA = "quota", _("over quota: more than the platform takes now")
    UNKNOWN = "unknown", _("outcome unknown: may arrive twice")
    ANSWERED = "answered", _("answered since")
    TOO_OLD = "too_old", _("too old: the bridge itself would have given up")
    NO_ROUTE = "no_route", _("no mapping")
    CANNOT = "cannot", _("cannot be replayed")


class ReplayResult(models.TextChoices):
    """What became of an item. Empty: it was not queued."""

    QUEUED = "queued", _("queued")
    DELIVERED = "delivered", _("delivered")
    FAILED = "failed", _("failed again")
    HELD = "held", _("on hold")
    UNCERTAIN = "uncertain", _("uncertain")
    SKIPPED = "skipped", _("skipped")
    REFUSED = "refused", _("not queued")
    UNDONE = "undone", _("taken back")
    LEFT = "left", _("left, because the run was cancelled")


# What nobody can choose.
IMPOSSIBLE = (Outlook.NO_ROUTE, Outlook.CANNOT)
# What may still change, because its delivery is not over, or a late proof can come.
OPEN_RESULTS = (ReplayResult.QUEUED, ReplayResult.HELD, ReplayResult.UNCERTAIN)


def targets_of(kind: str) -> tuple[str, ...]:
    """Return the targets of the deliveries that a kind of replay fits."""
    return (Target.AGENT,) if kind == ReplayKind.ASK else (Target.CHANNEL, Target.WEBHOOK)


class ReplayRun(LeaseMixin):
    """A replay of many deliveries. The worker that has the lease queues the items, `rate` a second."""

    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=8, choices=ReplayKind.choices)
    state = models.CharField(_("state"), max_length=9, choices=ReplayState.choices, default=ReplayState.PLANNED)
    # What was asked for, as `operations.replays.filters` reads it. Its range is fixed: nothing behind `last_id` or `until_at` comes in.
    filter = models.JSONField(_("filter"), default=dict)
    from_at = models.DateTimeField(_("failed from"), null=True)
    until_at = models.DateTimeField(_("failed until"), default=timezone.now)
    last_id = models.BigIntegerField(default=0)
    rate = models.PositiveSmallIntegerField(
        _("deliveries a second"), default=10, validators=[MinValueValidator(1), MaxValueValidator(MAX_RATE)]
    )
    # Up to when the rate is used: the next item may be queued 1/rate seconds later.
    paced_at = models.DateTimeField(null=True, editable=False)
    # The last delivery that was looked at, so that the next ones are found without a walk over those before.
    position = models.BigIntegerField(default=0, editable=False)
    # Changes before the run (`operations.replays.changes`): gateway, agent, route; text, before.
    changes = models.JSONField(default=dict)
    # The groups of the plan: outlook, detail, count, oldest, newest, example (the number of a delivery).
    groups = models.JSONField(default=list)
    # The outlooks that were chosen when it was run, and result → count, as it was last counted.
    options = models.JSONField(default=dict)
    results = models.JSONField(default=dict)
    # How many steps failed one after the other; `operations.replays.runner` pauses the run where they do not end.
    failed_steps = models.PositiveSmallIntegerField(_("failed steps"), default=0, db_default=0)
    total = models.PositiveIntegerField(_("deliveries"), default=0)
    chosen = models.PositiveIntegerField(_("chosen"), default=0)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, verbose_name=_("planned by"), related_name="+"
    )
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, verbose_name=_("run by"), related_name="+"
    )
    # Of a script: whose idempotency key it is, and what was asked for under it.
    client = models.CharField(max_length=100, blank=True, default="")
    key = models.CharField(max_length=200, null=True)  # noqa: DJ001  null: made on a page, without a key
    request_hash = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(_("planned"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        # Not "replays", which is how often a delivery was replayed, and another word in Chinese.
        verbose_name, verbose_name_plural = _("replay"), _("Replays")
        ordering = ["-id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["client", "key"], name="replay_run_once"),
            models.CheckConstraint(condition=Q(rate__gte=1, rate__lte=MAX_RATE), name="replay_run_rate"),
            models.CheckConstraint(
                condition=Q(state="planned", started_at=None)
                | Q(state="cancelled")
                | (Q(state__in=("running", "paused", "finished")) & Q(started_at__isnull=False)),
                name="replay_run_started_iff_run",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("cancelled", "finished"), finished_at__isnull=False)
                | (~Q(state__in=("cancelled", "finished")) & Q(finished_at=None)),
                name="replay_run_finished_iff_over",
            ),
            models.CheckConstraint(
                condition=Q(from_at=None) | Q(from_at__lt=models.F("until_at")), name="replay_run_range"
            ),
        ]
        indexes = [
            # runner.step_due: the runs that go on.
            models.Index(fields=["id"], condition=Q(state="running"), name="replay_run_running"),
            # retention: the oldest ones.
            models.Index(fields=["created_at"], name="replay_run_age"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_stuck(self) -> bool:
        """Whether it was paused because its steps failed, and nobody has resumed it."""
        return self.state == ReplayState.PAUSED and self.failed_steps >= MOST_FAILED_STEPS

    @property
    def is_over(self) -> bool:
        return self.state in (ReplayState.CANCELLED, ReplayState.FINISHED)

    @property
    def done(self) -> int:
        """How many of the chosen ones are neither waiting to be queued nor on their way, as last counted."""
        counts: dict[str, int] = self.results
        return sum(counts.values()) - counts.get(ReplayResult.QUEUED, 0)


class ReplayItem(models.Model):
    """One delivery of a run. Its number stays when the delivery is deleted, so that the report stays whole."""

    # No number of its own: another index and a sequence would cost a plan of 100 000 a third of a second.
    pk = models.CompositePrimaryKey("run_id", "delivery_id")
    # Neither has a constraint of the database: a plan of 100 000 would take a second longer, and an item may outlive its delivery.
    run = models.ForeignKey(
        ReplayRun, on_delete=models.CASCADE, related_name="items", db_constraint=False, db_index=False
    )
    delivery = models.ForeignKey(
        Delivery, on_delete=models.DO_NOTHING, related_name="replay_items", db_constraint=False, db_index=False
    )
    planned = models.CharField(_("planned"), max_length=8, choices=Outlook.choices)
    chosen = models.BooleanField(_("chosen"), default=False)
    result = models.CharField(
        _("result"), max_length=9, choices=ReplayResult.choices, blank=True, default="", db_default=""
    )
    # Why it cannot be replayed, was not queued, or failed again: a code of `operations.replays.obstacles`, a `Reason`, or an error code.
    detail = models.CharField(_("detail"), max_length=CODE_LENGTH, blank=True, default="", db_default="")
    # The delivery's columns before it was queued, for undo; with `payload` where the replay changed it.
    before = models.JSONField(default=dict, db_default={})
    # `Delivery.replays` since this item was queued: another number means that somebody replayed it again.
    replays = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        verbose_name, verbose_name_plural = _("item of a replay"), _("items of a replay")
        ordering = ["delivery_id"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(chosen=True) | Q(result=""), name="replay_item_result_of_chosen"),
            models.CheckConstraint(
                condition=~Q(chosen=True, planned__in=("no_route", "cannot")), name="replay_item_possible"
            ),
        ]
        indexes = [
            # The run's counts, and its table by result. By planned outcome it is read in the order of the primary key, as the run goes.
            models.Index(fields=["run", "result", "delivery"], condition=~Q(result=""), name="replay_item_result"),
            # The page of a delivery: the runs that queued it.
            models.Index(fields=["delivery"], condition=~Q(result=""), name="replay_item_runs"),
            # follow_sql.FOLLOW: items whose deliveries are not over.
            models.Index(
                fields=["delivery"], condition=Q(result__in=("queued", "held", "uncertain")), name="replay_item_open"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.delivery_id}"
