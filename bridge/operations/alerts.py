"""Alerts staff when something is wrong, once for each cause, and again when it is over. By e-mail and to a webhook address."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Count, Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import valkey
from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.explanations.incidents import alert_error_of
from bridge.explanations.tables import nest_cause
from bridge.models import Carrier, Delivery, Incident, State, Target, WebhookEndpoint
from bridge.runtime.spool import journal, report
from bridge.security import logs
from bridge.security.redaction import redact_text
from bridge.webhooks import post
from channels_wechat.contract.connection import LOGIN_STATES, NEEDS_LOGIN
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Cause
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

log = logging.getLogger(__name__)
# Decides for each error which repetitions are logged, because a failed alert is sent again three times a minute.
failures_to_send: dict[str, logs.Rarely] = {}
MAX_FAILURES_TO_SEND = 100
# A short failure is no incident: accounts and gateways have this long to work again by themselves.
MIN_OUTAGE = timedelta(minutes=2)
# Work that waits longer than this without a reason of its own means that a process is missing.
STUCK_AFTER = timedelta(minutes=5)
# A turn that a gateway refused this often, in half a minute, is tried for up to an hour: staff should know before that.
MIN_REFUSED_TRIES = 4
# Somebody who sets up a channel today needs no alert of an incident that was resolved longer ago than this.
MAX_AGE = timedelta(days=1)


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
    send_alerts()


def send_alerts() -> None:
    """Send the alerts that were not sent yet. Without a channel nothing is sent and nothing is marked as sent."""
    if not list_channels():
        return
    without_alert = Q(notified_at=None) | Q(closed_at__isnull=False, resolved_notified_at=None)
    recent = Q(closed_at=None) | Q(closed_at__gt=timezone.now() - MAX_AGE)
    for incident in Incident.objects.filter(without_alert & recent).order_by("id")[:20]:
        _send_alert(incident)


def list_channels() -> list[str]:
    """Return the names of the settings by which staff are alerted; empty where alerts are off."""
    return [name for name in ("ALERT_EMAIL", "ALERT_WEBHOOK_URL") if getattr(settings, name)]


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of a test alert on one channel. error: empty where the channel accepted it."""

    channel: str
    error: str = ""


def send_test() -> list[TestResult]:
    """Send a test alert now, by every channel that is set; one result for each."""
    text = _("A test alert of the bridge: whoever reads this will be told when something is wrong.")
    senders = {
        "ALERT_EMAIL": lambda: _send_mail(_("Test alert"), text),
        "ALERT_WEBHOOK_URL": lambda: post.post_alert(post.build_alert_body(text)),
    }
    return [TestResult(name, describe_error(_try_to_send(senders[name]))) for name in list_channels()]


def describe_error(error: Cause) -> str:
    return alert_error_of(error.as_json())


def _try_to_send(send: Callable[[], object]) -> Cause:
    try:
        send()
    except ChannelError as error:
        return error.cause
    except OSError as error:
        return Cause("mail", {"detail": redact_text(str(error)) or type(error).__name__})
    return NO_CAUSE


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


def _send_alert(incident: Incident) -> None:
    """Alert by every channel that is set. The incident counts as notified when the first channel has accepted the alert."""
    resolved = incident.notified_at is not None
    accepted: list[datetime] = []
    errors: list[Cause] = []
    if settings.ALERT_EMAIL:
        error = _try_to_send(lambda: _send_mail(_title_of(incident, resolved), _text_of(incident, resolved)))
        accepted += [] if error.code else [timezone.now()]
        errors += [error] if error.code else []
    if settings.ALERT_WEBHOOK_URL:
        alert = post.queue_alert(
            _text_of(incident, resolved), f"incident:{incident.pk}:{'over' if resolved else 'open'}"
        )
        if alert.state == State.DELIVERED:
            accepted.append(alert.finished_at or timezone.now())
        elif alert.state == State.DEAD:
            errors.append(alert.cause)
    for error in errors:
        _log_failure_to_send(describe_error(error))
    notified = {"resolved_notified_at" if resolved else "notified_at": accepted[0]} if accepted else {}
    Incident.objects.filter(pk=incident.pk).update(alert_errors=[error.as_json() for error in errors], **notified)


def _log_failure_to_send(error: str) -> None:
    if len(failures_to_send) >= MAX_FAILURES_TO_SEND:
        failures_to_send.clear()
    if failures_to_send.setdefault(error, logs.Rarely()).is_due(error):
        log.warning("an alert could not be sent: %s", error)


def _title_of(incident: Incident, resolved: bool) -> str:
    return _("Resolved: %s") % incident.title if resolved else incident.title


def _text_of(incident: Incident, resolved: bool) -> str:
    """Return the text of the alert: what is wrong, since or until when in the site's time zone, and the address of a page."""
    when = timezone.localtime(incident.closed_at if resolved and incident.closed_at else incident.opened_at)
    since = _("Resolved since %s.") if resolved else _("Since %s.")
    page = f"{settings.PUBLIC_URL}{_path_of(incident)}" if settings.PUBLIC_URL else ""
    lines = [
        _title_of(incident, resolved),
        "" if resolved else incident.detail,
        since % f"{when:%Y-%m-%d %H:%M} ({settings.TIME_ZONE})",
        page,
    ]
    return "\n".join(line for line in lines if line)


def _path_of(incident: Incident) -> str:
    """Return the path of the incident's page; of the account's where somebody has to log in there."""
    kind, _colon, number = incident.cause.partition(":")
    if kind == "account" and (incident.code_params.get("because") or {}).get("code") == NEEDS_LOGIN:
        return f"/admin/accounts/channelaccount/{number}/change/"
    return f"/admin/bridge/incident/{incident.pk}/change/"


def _send_mail(title: str, text: str) -> None:
    """Send an alert by e-mail. Raises OSError."""
    subject = " ".join(f"[bridge] {title}".split())  # a line break would end the header
    send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, settings.ALERT_EMAIL)
