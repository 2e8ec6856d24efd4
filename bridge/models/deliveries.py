"""The work. `Delivery` is the only state machine; `Attempt` is what happened each time.

            store()/send()                      ┌──────────── retryable, tries left ────────────┐
   ┌────────────┴────────────┐                  ▼                                               │
skipped ── replay ──▶ pending ── claim ──▶ sending ── ok ──▶ delivered                          │
   ▲                   ▲ ▲ ▲ ▲                │  │└── error ─────────────────────────────────────┤
   │  held ── released ┘ │ │ └─ lease over,   │  └── stopped by /stop ──▶ skipped             │
   │ (part before)       │ │    no open attempt                                                  │
   │                     │ └──── replay ◀── dead ◀── permanent / tries spent / too old ──────────┘
   │                     └ replay, by a person ◀── uncertain ◀── lease over with an open attempt, or time-out after
   └── no route, not allowed, paused, …                         the request left, where a repetition is not provably safe

delivered ── the platform tells later that it did not arrive ──▶ dead
sending ── not now: no window is left, the content check ──▶ held ── the person writes, staff release it ──▶ pending
sending ── the agent's answer comes, or its turn fails, after staff took over ──▶ skipped; the attempt keeps what became of it
pending ── said within the message before it ──▶ skipped
pending or held ── a run of replays is undone before any attempt ──▶ what it was
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid5

from django.conf import settings
from django.db import models
from django.db.models import Func, Q, Value
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.health import CODE_LENGTH
from accounts.models import ChannelAccount
from bridge.explanations.tables import table_for
from bridge.models.explained import ExplainedMixin
from bridge.models.messages import Message
from bridge.models.routes import Route
from bridge.models.webhooks import WebhookEndpoint
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.explanations import Table


class State(models.TextChoices):
    PENDING = "pending", _("waiting")
    SENDING = "sending", _("on its way")
    DELIVERED = "delivered", _("delivered")
    HELD = "held", _("on hold")
    SKIPPED = "skipped", _("skipped")
    DEAD = "dead", _("failed")
    UNCERTAIN = "uncertain", _("uncertain")


# The conversation that a webhook was told of.
CONVERSATION_OF_EVENT = KeyTextTransform(
    "id", KeyTransform("conversation", KeyTransform("data", KeyTransform("body", "payload")))
)
# Alerts have no endpoint, as the calls of one that was deleted have none: the lane tells them apart.
ALERT_LANE = "hook:alerts"
FAILED_STATES = (State.SKIPPED, State.DEAD, State.UNCERTAIN)
FINAL = (State.DELIVERED, *FAILED_STATES)


class Target(models.TextChoices):
    AGENT = "agent", _("agent")
    CHANNEL = "channel", _("WeChat")
    WEBHOOK = "webhook", _("webhook")


class Carrier(models.TextChoices):
    """Who holds the wire and so may claim: HTTP APIs the worker, gateways and accounts' connections the connector, stream polls the view.

    Webhooks have one of their own, so that no claim for WeChat ever walks past what waits for somebody's slow server.
    """

    WORKER = "worker", _("worker")
    CONNECTOR = "connector", _("connector")
    SOCKET = "socket", _("connection")
    HTTP_REPLY = "http_reply", _("stream")
    WEBHOOK = "webhook", _("webhooks")


class Reason(models.TextChoices):
    """Why a delivery is where it is, when it is not simply delivered."""

    NO_ROUTE = "no_route", _("no mapping for this group or person")
    ROUTE_DISABLED = "route_disabled", _("the mapping is disabled")
    NOT_ADDRESSED = "not_addressed", _("the bot was not addressed")
    NO_TRIGGER = "no_trigger", _("no trigger word in the text")
    SENDER = "sender", _("this sender is not allowed")
    PAUSED = "paused", _("the conversation is paused")
    HUMAN = "human", _("staff answer this conversation")
    EVENT = "event", _("an event, not a message")
    UNSUPPORTED = "unsupported", _("unsupported message type")
    NO_SENDER = "no_sender", _("no sender given")
    EMPTY = "empty", _("empty message")
    COMMAND = "command", _("a command to the bridge")
    STOPPED = "stopped", _("stopped by /stop")
    PART_BEFORE = "part_before", _("waits for the part before it")
    TOO_LONG = "too_long", _("longer than the platform can carry")
    TOO_OLD = "too_old", _("expired: too old to be sent now")
    NO_REPLY = "no_reply", _("reply address used up")
    PERMANENT = "permanent", _("rejected (permanent)")
    CONFIGURATION = "configuration", _("configuration error")
    TRIES_SPENT = "tries_spent", _("all attempts failed")
    UNKNOWN = "unknown", _("no response – may have been delivered")
    CONTENT = "content", _("unsupported content")
    INTERNAL = "internal_error", _("internal error")
    PARTIAL = "partial", _("accepted only in part")
    NO_ANSWER = "no_answer", _("agent gave no reply")
    NO_ENDPOINT = "no_endpoint", _("the webhook was deleted")
    WINDOW = "window", _("WeChat allows no more until the person writes again")
    MERGED = "merged", _("sent in one message with another part")
    READ_ON = "read_on", _("asked for the rest of an answer")
    UNREAD = "unread", _("the person never asked for the rest")
    GONE = "gone", _("the person does not follow the account any more")
    REVIEW = "review", _("awaiting your decision (content check)")
    OWN = "own", _("said by the account itself")
    RECALLED = "recalled", _("taken back by the person")
    PAST = "past", _("said before the account was here, or too long ago")
    TOO_MANY = "too_many_turns", _("too many turns a minute")
    CHECKING = "checking", _("content check running")
    OTHER_SENDER = "other_sender", _("sent by another account")


class Delivery(ExplainedMixin, models.Model):
    target = models.CharField(_("to"), max_length=8, choices=Target.choices)
    # `delivery_part` begins with it.
    message = models.ForeignKey(Message, on_delete=models.CASCADE, null=True, related_name="deliveries", db_index=False)
    account = models.ForeignKey(ChannelAccount, on_delete=models.PROTECT, null=True, related_name="deliveries")
    gateway = models.ForeignKey(Gateway, on_delete=models.PROTECT, null=True, related_name="deliveries")
    # Null for the alert address of the settings, and for what is left of a webhook that staff deleted. `delivery_event_once` is its index.
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.SET_NULL, null=True, related_name="deliveries", db_index=False
    )
    route = models.ForeignKey(Route, on_delete=models.SET_NULL, null=True, related_name="deliveries")
    carrier = models.CharField(max_length=10, choices=Carrier.choices, default=Carrier.WORKER)
    lane = models.CharField(_("lane"), max_length=60)
    # From one sequence, taken under the peer's advisory lock: order in the lane is order of routing or sending.
    seq = models.BigIntegerField(db_default=Func(Value("bridge_delivery_seq"), function="nextval"), editable=False)
    part = models.PositiveSmallIntegerField(_("part"), default=0)
    payload = models.JSONField(_("payload"), default=dict)
    # SHA-256 of what is said; of an event: its identity.
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.PENDING)
    reason = models.CharField(_("reason"), max_length=16, blank=True, default="", choices=Reason.choices)
    # Why, more exactly than `reason`: `error` explains it.
    code = models.CharField(_("code"), max_length=CODE_LENGTH, blank=True, default="")
    code_params = models.JSONField(blank=True, default=dict)
    tries = models.PositiveIntegerField(_("attempts"), default=0)  # since the last replay
    run_number = models.PositiveIntegerField(
        default=0
    )  # grows on replay and on definite errors: part of the gateway's key
    # A person had it sent again although an earlier attempt may have been carried out: it may arrive twice.
    possibly_twice = models.BooleanField(_("possibly twice"), default=False, db_default=False)
    replays = models.PositiveIntegerField(_("replays"), default=0)
    due_at = models.DateTimeField(_("due"), default=timezone.now)
    # Of a question to an agent: when its conversation's turn is (claim_sql.CLAIM).
    turn_at = models.DateTimeField(null=True)
    stopped_at = models.DateTimeField(null=True)  # /stop: a turn that was asked before this is to be broken off
    lease_until = models.DateTimeField(null=True)
    holder = models.CharField(max_length=100, blank=True, default="")
    dedup_until = models.DateTimeField(null=True)  # until then the platform swallows a repetition of this request
    remote_id = models.CharField(_("platform id"), max_length=200, blank=True, default="")
    queued_at = models.DateTimeField(_("queued"), default=timezone.now)  # created, or replayed
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True)
    dismissed_at = models.DateTimeField(_("dismissed"), null=True)
    dismissed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    recalled_at = models.DateTimeField(_("recalled"), null=True)
    # A person released it, or the check of its files passed: it is not checked again.
    reviewed_at = models.DateTimeField(_("reviewed"), null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("delivery"), _("deliveries")
        ordering = ["-id"]
        permissions = [
            ("replay_delivery", gettext_noop("Can replay a delivery")),
            ("dismiss_delivery", gettext_noop("Can dismiss a delivery")),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["lane"], condition=Q(state="sending"), name="delivery_one_sending_per_lane"
            ),
            models.UniqueConstraint(fields=["message", "target", "part"], name="delivery_part"),
            # events: a webhook is told of an event once, however often its cause is worked on.
            models.UniqueConstraint(
                fields=["endpoint", "fingerprint"], condition=Q(endpoint__isnull=False), name="delivery_event_once"
            ),
            models.CheckConstraint(
                condition=Q(state="sending", lease_until__isnull=False) | (~Q(state="sending") & Q(lease_until=None)),
                name="delivery_lease_iff_sending",
            ),
            models.CheckConstraint(
                condition=Q(state__in=FINAL, finished_at__isnull=False) | (~Q(state__in=FINAL) & Q(finished_at=None)),
                name="delivery_finished_iff_final",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("dead", "skipped", "held", "uncertain")) | ~Q(reason=""),
                name="delivery_reason_given",
            ),
            models.CheckConstraint(
                condition=Q(target="webhook", message=None) | (~Q(target="webhook") & Q(message__isnull=False)),
                name="delivery_message_iff_not_webhook",
            ),
        ]
        indexes = [
            # claims.claim: whose turn it is.
            models.Index(
                "carrier",
                Coalesce("gateway", 0),
                Coalesce("account", 0),
                Greatest("due_at", "turn_at"),
                condition=Q(state="pending"),
                name="delivery_fair",
            ),
            # claims.find_due_topics, figures and alerts: what is due.
            models.Index(fields=["carrier", "due_at"], condition=Q(state="pending"), name="delivery_due"),
            # claims.claim: is anything before it in the lane?
            models.Index(
                fields=["lane", "seq"], condition=Q(state__in=("pending", "sending", "held")), name="delivery_lane"
            ),
            # claims.sweep: leases that ran out.
            models.Index(fields=["lease_until"], condition=Q(state="sending"), name="delivery_leased"),
            # The dead letters page, its badge, alerts and how many there are of each cause, without a look at the rows.
            models.Index(
                fields=["-id"],
                include=["state", "reason", "code", "account", "gateway", "endpoint", "target", "finished_at"],
                condition=Q(state__in=("dead", "uncertain"), dismissed_at=None),
                name="delivery_failures",
            ),
            # The list of conversations: how many failures each one has.
            models.Index(
                fields=["lane"],
                condition=Q(state__in=("dead", "uncertain"), dismissed_at=None),
                name="delivery_failed_lanes",
            ),
            # The list by state and by reason: what was delivered is on every page, without an index.
            models.Index(fields=["state", "-id"], condition=Q(state__in=FAILED_STATES), name="delivery_state"),
            models.Index(fields=["reason", "-id"], condition=~Q(reason=""), name="delivery_reason"),
            # The list by code, and search by one.
            models.Index(fields=["code", "-id"], condition=~Q(code=""), name="delivery_code"),
            # retention: the oldest webhook calls.
            models.Index(
                fields=["finished_at"],
                condition=Q(target="webhook", finished_at__isnull=False),
                name="delivery_hook_age",
            ),
            # problems.sql: messages that no agent was asked about, by chat.
            models.Index(
                fields=["reason", "lane", "created_at"],
                include=["account", "message"],
                condition=Q(state="skipped", reason__in=("no_route", "paused", "human"), dismissed_at=None),
                name="delivery_unanswered",
            ),
            # takeover, unanswered and problems.sql: what somebody answered in the platform's own client.
            models.Index(fields=["lane", "-message"], condition=Q(reason="own"), name="delivery_own"),
            # The list by target: webhooks are few beside the messages.
            models.Index(fields=["-id"], condition=Q(target="webhook"), name="delivery_hooks"),
            # erasure: what webhooks were told of a conversation.
            models.Index(CONVERSATION_OF_EVENT, condition=Q(target="webhook"), name="delivery_told"),
            # The list by day, and search.before.
            models.Index(fields=["created_at"], name="delivery_day"),
            # The list of what is held, window_holds.open_windows and the content check.
            models.Index(fields=["lane", "-id"], condition=Q(state="held"), name="delivery_held"),
            # The API's list of what was dismissed.
            models.Index(fields=["-id"], condition=Q(dismissed_at__isnull=False), name="delivery_dismissed"),
            # search.messages: by the id that the platform gave.
            models.Index(fields=["remote_id"], condition=~Q(remote_id=""), name="delivery_remote_id"),
            # connector.speak_first: whose session is this?
            models.Index(
                KeyTextTransform("session_key", "payload"), condition=Q(target="agent"), name="delivery_session"
            ),
            # settle_sql.BEGIN: did the same go to the same people within the platform's duplicate check?
            models.Index(fields=["lane", "fingerprint"], condition=~Q(fingerprint=""), name="delivery_repeats"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    @property
    def explanations(self) -> Table:
        if self.lane == ALERT_LANE:
            return table_for("alert")
        return table_for(self.target, self.account.kind if self.target == Target.CHANNEL and self.account else "")

    @property
    def platform_key(self) -> str:
        """Name this message to a platform that takes an idempotency key: the same at each try, another after a replay."""
        return uuid5(self.message.uuid, f"{self.part}.{self.replays}").hex if self.message else ""

    @staticmethod
    def fingerprint_of(payload: Mapping[str, Any]) -> str:
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


class Outcome(models.TextChoices):
    OK = "ok", _("done")
    ERROR = "error", _("refused")
    UNKNOWN = "unknown", _("no answer")
    INTERRUPTED = "interrupted", _("the process was lost")


class Attempt(ExplainedMixin, models.Model):
    """Committed, open, just before the request leaves; closed by settle. An open one of a lost process proves it may have left."""

    # `attempt_number` begins with it.
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField(_("number"))
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True)
    outcome = models.CharField(_("outcome"), max_length=12, blank=True, default="", choices=Outcome.choices)
    code = models.CharField(_("code"), max_length=CODE_LENGTH, blank=True, default="")
    code_params = models.JSONField(blank=True, default=dict)
    request = models.JSONField(_("request"), default=dict)
    response = models.JSONField(_("response"), default=dict)
    # Of a turn of an agent: the fields of `openclaw.turns.Usage`. Null where the gateway did not say.
    usage = models.JSONField(_("usage"), null=True)
    # An attempt before this one may have been carried out.
    possibly_twice = models.BooleanField(_("possibly twice"), default=False, db_default=False)

    class Meta:
        verbose_name, verbose_name_plural = _("attempt"), _("attempts")
        ordering = ["delivery", "number"]
        constraints = [
            models.UniqueConstraint(fields=["delivery", "number"], name="attempt_number"),
            models.CheckConstraint(
                condition=Q(finished_at=None, outcome="") | (Q(finished_at__isnull=False) & ~Q(outcome="")),
                name="attempt_outcome_iff_finished",
            ),
        ]
        indexes = [
            # retry_policy.may_have_arrived and replays.plan_sql: attempts that may have been carried out.
            models.Index(
                fields=["delivery"], condition=Q(outcome__in=("unknown", "interrupted")), name="attempt_unproven"
            )
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id}.{self.number}"

    @property
    def explanations(self) -> Table:
        return self.delivery.explanations
