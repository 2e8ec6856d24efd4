"""Says which alert is due by which channel: one row for each incident, channel and occasion, written once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, F, OuterRef, Q, prefetch_related_objects
from django.utils import timezone

from bridge.models import AlertDelivery, AlertRule, Incident, Route, RuleKind
from bridge.models.alerts import FINDING
from bridge.models.incidents import select_muted
from bridge.operations.alerts import channels

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from bridge.models import AlertChannel

Occasion, AlertState = AlertDelivery.Occasion, AlertDelivery.State
# Somebody who sets up a channel today needs no alert of an incident that was resolved longer ago than this.
MAX_AGE = timedelta(days=1)
# The codes of incidents → the kind of the rules that match them. Of a kind of `FINDING`, rules tell of what they find themselves instead.
MATCHED_CODES = {
    "account_down": RuleKind.ACCOUNT_DOWN,
    "account_unreadable": RuleKind.ACCOUNT_DOWN,
    "gateway_down": RuleKind.GATEWAY_DOWN,
    "gateway_unreadable": RuleKind.GATEWAY_DOWN,
    "gateway_takes_no_turns": RuleKind.GATEWAY_DOWN,
    "account_failures": RuleKind.FAILURE_CODES,
    "gateway_failures": RuleKind.FAILURE_CODES,
    "webhook_failures": RuleKind.FAILURE_CODES,
    "uncertain": RuleKind.FAILURE_CODES,
    "quota_low": RuleKind.QUOTA,
    "chats_waiting": RuleKind.WAITING_CHATS,
    "stuck": RuleKind.WORKER_SILENT,
    "sweep_silent": RuleKind.WORKER_SILENT,
    "sweep_never": RuleKind.WORKER_SILENT,
    "valkey_away": RuleKind.WORKER_SILENT,
    "connector_silent": RuleKind.WORKER_SILENT,
}


def rule_of(incident: Incident) -> int | None:
    """Return the id of the rule that found the incident; None where it is found anyway. Its cause is like "rule:5:account:3"."""
    words = incident.cause.split(":")
    return int(words[1]) if words[0] == "rule" and len(words) > 1 and words[1].isdecimal() else None


def plan_alerts() -> None:
    """Write a row for each alert that is due. Where no channel is active nothing is written, so that one set later still tells."""
    active = channels.list_active()
    if not active:
        return
    plan = _Plan(active)
    AlertDelivery.objects.bulk_create([*plan.openings(), *plan.reminders()], ignore_conflicts=True)
    AlertDelivery.objects.bulk_create(plan.recoveries(), ignore_conflicts=True)


def silenced() -> Q:
    """The incidents that are muted now: nothing is sent of them, and what waits goes on waiting."""
    return select_muted(timezone.now())


def muted_lately() -> Q:
    """The incidents that last and are muted, or were within `MAX_AGE`: that made their alerts wait, so these are not too old."""
    return Q(closed_at=None, muted_until__gt=timezone.now() - MAX_AGE)


def ended_silently() -> Q:
    """The incidents that end, or ended, while they were muted: whoever was not told before is never told."""
    return Q(muted_to_end=True) | Q(closed_at__isnull=False, muted_until__gt=F("closed_at"))


def skipped_beginnings() -> QuerySet[AlertDelivery]:
    """For a subquery: the first alert of the same incident by the same channel, where it was skipped."""
    same = AlertDelivery.objects.filter(incident=OuterRef("incident"), channel=OuterRef("channel"))
    return same.filter(occasion=Occasion.OPENED, state=AlertState.SKIPPED)


def settled() -> Q:
    """The incidents that somebody has acknowledged: no alert or reminder of them is sent, only their end."""
    return Q(acknowledged_at__isnull=False)


class _Plan:
    def __init__(self, active: list[AlertChannel]) -> None:
        self.channels = active
        prefetch_related_objects(active, "rules")
        self.rules = list(AlertRule.objects.filter(enabled=True).prefetch_related("accounts"))
        self.robots = channels.find_robot_accounts(active)
        self.mapped = _find_mapped_gateways(set(self.robots.values()))
        self.recent = Q(closed_at=None) | Q(closed_at__gt=timezone.now() - MAX_AGE)

    def openings(self) -> list[AlertDelivery]:
        incidents = list(
            Incident.objects.filter(self.recent)
            .exclude(code="alerts_off")
            .exclude(silenced() | ended_silently() | settled())
            .order_by("id")
        )
        planned = set(
            AlertDelivery.objects.filter(incident__in=incidents, occasion=Occasion.OPENED).values_list(
                "incident_id", "channel_id"
            )
        )
        return [
            self._build(incident, channel, Occasion.OPENED)
            for incident in incidents
            for channel in self.channels
            if (incident.pk, channel.pk) not in planned
            and _is_news(incident, channel)
            and self._wants(channel, incident)
        ]

    def reminders(self) -> list[AlertDelivery]:
        """Remind so long after the last alert or reminder, also one that was skipped, but nobody who was not told of the beginning."""
        reminding = [rule for rule in self.rules if rule.reminder_hours]
        if not reminding:
            return []
        told = AlertDelivery.objects.filter(incident__closed_at=None, channel__in=self.channels).exclude(
            incident__in=Incident.objects.filter(closed_at=None).filter(silenced() | settled())
        )
        last = (
            told.exclude(Exists(skipped_beginnings()))
            .order_by("incident_id", "channel_id", "-number", "-id")
            .distinct("incident_id", "channel_id")
        )
        return [
            self._build(row.incident, row.channel, Occasion.REMINDER, row.number + 1)
            for row in last.select_related("incident", "channel")
            if row.finished_at and self._remind_after(row.incident) <= timezone.now() - row.finished_at
        ]

    def recoveries(self) -> list[AlertDelivery]:
        """Whoever got the alert, or is to get it, is told of the end."""
        over = Incident.objects.filter(closed_at__gt=timezone.now() - MAX_AGE)
        told = AlertDelivery.objects.filter(incident__in=over, channel__in=self.channels, occasion=Occasion.OPENED)
        told = told.exclude(state=AlertState.SKIPPED)
        done = AlertDelivery.objects.filter(incident__in=over, occasion=Occasion.RESOLVED)
        finished = set(done.values_list("incident_id", "channel_id"))
        rows = [
            AlertDelivery(incident_id=incident, channel_id=channel, occasion=Occasion.RESOLVED)
            for incident, channel in told.values_list("incident_id", "channel_id")
            if (incident, channel) not in finished
        ]
        return rows + self._recoveries_of_an_earlier_version(over)

    def _recoveries_of_an_earlier_version(self, over: Any) -> list[AlertDelivery]:
        """Of incidents that were alerted before there were rows for that: by the channels of the settings, as then."""
        old = over.filter(notified_at__isnull=False, resolved_notified_at=None, alerts=None)
        settings_channels = [channel for channel in self.channels if channel.environment]
        return [
            AlertDelivery(incident=incident, channel=channel, occasion=Occasion.RESOLVED)
            for incident in (old if settings_channels else ())
            for channel in settings_channels
        ]

    def _build(self, incident: Incident, channel: AlertChannel, occasion: str, number: int = 0) -> AlertDelivery:
        row = AlertDelivery(incident=incident, channel=channel, occasion=occasion, number=number)
        if code := self._why_not_by(channel, incident):
            row.state, row.code, row.finished_at = AlertState.SKIPPED, code, timezone.now()
        return row

    def _why_not_by(self, channel: AlertChannel, incident: Incident) -> str:
        """Return why this channel cannot tell of it: it is the channel itself that does not work, or its account."""
        if incident.cause == f"alert_channel:{channel.pk}":
            return "own_failure"
        return "own_channel" if self._is_about(channel, incident) else ""

    def _is_about(self, channel: AlertChannel, incident: Incident) -> bool:
        """Whether the incident is about what the channel itself needs: its account, or that account's gateway."""
        account = self.robots.get(channel.pk)
        if account is None:
            return False
        return incident.account_id == account or (account, incident.gateway_id) in self.mapped

    def _wants(self, channel: AlertChannel, incident: Incident) -> bool:
        chosen = {rule.pk for rule in channel.rules.all()}
        return any(not chosen or rule.pk in chosen for rule in self._matching(incident))

    def _remind_after(self, incident: Incident) -> timedelta:
        hours = [rule.reminder_hours for rule in self._matching(incident) if rule.reminder_hours]
        return timedelta(hours=min(hours)) if hours else timedelta.max

    def _matching(self, incident: Incident) -> list[AlertRule]:
        found_by = rule_of(incident)
        if found_by is not None:
            return [rule for rule in self.rules if rule.pk == found_by]
        kind = MATCHED_CODES.get(incident.code, RuleKind.OTHER)
        if kind in FINDING:  # its rules tell of what they found themselves
            return []
        return [rule for rule in self.rules if rule.kind == kind and _covers(rule, incident)]


def _covers(rule: AlertRule, incident: Incident) -> bool:
    """Whether the incident is about the rule's accounts and codes, and is bad and large enough."""
    accounts = {account.pk for account in rule.accounts.all()}
    return (
        (not accounts or incident.account_id is None or incident.account_id in accounts)
        and incident.severity >= rule.least_severity
        and (not rule.codes or incident.error_code in rule.codes)
        and (rule.least_count is None or incident.count >= rule.least_count)
    )


def _is_news(incident: Incident, channel: AlertChannel) -> bool:
    """Whether it began while the channel was there, or lasts and nobody was told of it."""
    return incident.opened_at >= channel.created_at or (incident.closed_at is None and incident.notified_at is None)


def _find_mapped_gateways(accounts: set[int]) -> set[tuple[int, int]]:
    """Return the pairs of account and gateway that a mapping connects, of these accounts."""
    rows = Route.objects.filter(account__in=accounts) if accounts else Route.objects.none()
    return set(rows.values_list("account_id", "gateway_id").distinct())
