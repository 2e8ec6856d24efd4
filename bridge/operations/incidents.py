"""Finds what is wrong: opens an incident for each problem, and closes it when the problem is gone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q
from django.utils import timezone

from accounts import valkey
from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.explanations.tables import nest_cause
from bridge.models import Carrier, Delivery, Incident, State, Target, WebhookEndpoint
from bridge.operations import alerts
from bridge.runtime.spool import journal, report
from channels_wechat.contract.connection import LOGIN_STATES
from channels_wechat.contract.explanations import Cause
from openclaw.models import Gateway

# A short failure is no incident: accounts and gateways have this long to work again by themselves.
MIN_OUTAGE = timedelta(minutes=2)
# Work that waits longer than this without a reason of its own means that a process is missing.
STUCK_AFTER = timedelta(minutes=5)
# A turn that a gateway refused this often, in half a minute, is tried for up to an hour: staff should know before that.
MIN_REFUSED_TRIES = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """cause: what it is about, for example "account:3"; code, params: of `bridge.explanations.incidents`."""

    cause: str
    code: str
    params: dict[str, Any]


def update_incidents() -> None:
    """Open an incident for each new problem, close the incidents whose problem is gone, and send the alerts that are due."""
    problems = {
        problem.cause: problem
        for problem in [
            *_find_accounts_and_gateways_down(),
            *_find_refusing_gateways(),
            *_find_disabled_webhooks(),
            *_find_dead_letters(),
            *_find_stuck_deliveries(),
            *_find_spooled_callbacks(),
        ]
    }
    for incident in Incident.objects.filter(closed_at=None).exclude(cause__in=problems):
        incident.closed_at = timezone.now()
        incident.save(update_fields=["closed_at"])
    open_causes = set(Incident.objects.filter(closed_at=None).values_list("cause", flat=True))
    new_problems = [problem for cause, problem in problems.items() if cause not in open_causes]
    rows = [Incident(cause=one.cause, code=one.code, code_params=one.params) for one in new_problems]
    Incident.objects.bulk_create(rows, ignore_conflicts=True)
    alerts.send_alerts()


def record_sweep() -> None:
    """Store when the sweep ran last: its age is the surest sign that worker and beat work."""
    valkey.try_valkey(lambda client: client.set("swept", time.time(), ex=86400), None)


def _find_accounts_and_gateways_down() -> list[Problem]:
    """Return a problem for each account and gateway that stopped, or has been failing for a while."""
    is_down = Q(state=Health.STOPPED) | Q(state=Health.FAILING, state_since__lt=timezone.now() - MIN_OUTAGE)
    accounts = ChannelAccount.objects.filter(is_down, enabled=True)
    gateways = Gateway.objects.filter(is_down, enabled=True)
    return [
        *(
            Problem(f"account:{row.pk}", "account_down", _params_of_outage(row, "channel", row.kind))
            for row in accounts
        ),
        *(Problem(f"gateway:{row.pk}", "gateway_down", _params_of_outage(row, "agent")) for row in gateways),
    ]


def _params_of_outage(row: ChannelAccount | Gateway, target: str, kind: str = "") -> dict[str, Any]:
    return {"name": row.name, "because": nest_cause(Cause(row.state_code, row.state_params), target, kind)}


def _find_refusing_gateways() -> list[Problem]:
    """Return a problem for each gateway that is connected and refuses turns again and again."""
    refused = Delivery.objects.filter(target=Target.AGENT, state=State.PENDING, tries__gte=MIN_REFUSED_TRIES)
    names = ("gateway_id", "gateway__name")
    rows = refused.filter(gateway__enabled=True).values(*names).annotate(count=Count("pk"))
    return [
        Problem(
            f"turns:{row['gateway_id']}",
            "gateway_takes_no_turns",
            {"name": row["gateway__name"], "count": row["count"]},
        )
        for row in rows
    ]


def _find_dead_letters() -> list[Problem]:
    rows = Delivery.objects.filter(state__in=(State.DEAD, State.UNCERTAIN), dismissed_at=None)
    rows = rows.exclude(target=Target.WEBHOOK, endpoint=None)  # an alert that fails must not raise an alert
    names = ("account_id", "account__name", "endpoint_id", "endpoint__name")
    return [_problem_of_dead_letters(row) for row in rows.values(*names).annotate(count=Count("pk"))]


def _problem_of_dead_letters(row: dict[str, Any]) -> Problem:
    if row["endpoint_id"]:
        params = {"name": row["endpoint__name"], "count": row["count"]}
        return Problem(f"dead:hook:{row['endpoint_id']}", "webhook_failures", params)
    return Problem(
        f"dead:{row['account_id']}", "account_failures", {"name": row["account__name"], "count": row["count"]}
    )


def _find_disabled_webhooks() -> list[Problem]:
    """Return a problem for each webhook that the bridge disabled because of its answers."""
    endpoints = WebhookEndpoint.objects.filter(enabled=False).exclude(disabled_code="")
    return [Problem(f"hook:{row.pk}", "webhook_disabled", _params_of_webhook(row)) for row in endpoints]


def _params_of_webhook(row: WebhookEndpoint) -> dict[str, Any]:
    return {"name": row.name, "because": nest_cause(Cause(row.disabled_code), "webhook")}


def _find_spooled_callbacks() -> list[Problem]:
    """Return a problem where callbacks wait on this machine's disk. Storing them closes the incident."""
    waiting = journal.read_status()
    problems = []
    if waiting.messages:
        problems.append(Problem(report.CAUSE, "spooled", {"count": waiting.messages}))
    if waiting.unreadable:
        problems.append(Problem(f"{report.CAUSE}:unreadable", "spool_unreadable", {"count": waiting.unreadable}))
    return problems


def _find_stuck_deliveries() -> list[Problem]:
    """Return a problem where a delivery is due for minutes although its account works: a worker, beat or connector is missing."""
    late = Delivery.objects.filter(state=State.PENDING, due_at__lt=timezone.now() - STUCK_AFTER)
    late = late.filter(account__enabled=True).exclude(account__state=Health.STOPPED)
    late = late.exclude(target=Target.CHANNEL, account__sending_stopped_at__isnull=False)
    late = late.exclude(carrier=Carrier.SOCKET, account__connection__state__in=LOGIN_STATES)
    late = late.exclude(gateway__enabled=False).exclude(gateway__state__in=(Health.STOPPED, Health.FAILING))
    before = Delivery.objects.filter(lane=OuterRef("lane"), seq__lt=OuterRef("seq"))
    count = late.exclude(Exists(before.filter(state__in=(State.PENDING, State.SENDING)))).count()
    return [Problem("stuck", "stuck", {"count": count})] if count else []
