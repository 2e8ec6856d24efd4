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
from bridge.explanations.tables import within
from bridge.models import Delivery, Incident, State, Target, WebhookEndpoint
from bridge.runtime.spool import journal, report
from bridge.security import logs
from bridge.security.redaction import redact_text
from bridge.webhooks import post
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Cause
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

log = logging.getLogger(__name__)
# By what could not be sent: each is tried again with every look, three times a minute.
unsent: dict[str, logs.Rarely] = {}
MAX_UNSENT = 100
# A short failure is no incident: accounts and gateways have this long to work again by themselves.
PATIENCE = timedelta(minutes=2)
# Work that waits longer than this without a reason of its own means that a process is missing.
STUCK = timedelta(minutes=5)
# A turn that a gateway refused this often, in half a minute, is tried for up to an hour: staff should know before that.
REFUSED_TRIES = 4
# What was over a day ago is no news for whoever sets up a channel today.
OLD_NEWS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Problem:
    """cause: what it is about, for example "account:3"; code, params: of `bridge.explanations.incidents`."""

    cause: str
    code: str
    params: dict[str, Any]


def check() -> None:
    """Open an incident for each new problem, close those that are over, and send the alerts that are due."""
    troubles = {
        trouble.cause: trouble
        for trouble in [
            *_accounts_and_gateways(),
            *_not_taken(),
            *_gone(),
            *_dead_letters(),
            *_stuck(),
            *_spooled(),
        ]
    }
    for incident in Incident.objects.filter(closed_at=None).exclude(cause__in=troubles):
        incident.closed_at = timezone.now()
        incident.save(update_fields=["closed_at"])
    open_causes = set(Incident.objects.filter(closed_at=None).values_list("cause", flat=True))
    fresh = [trouble for cause, trouble in troubles.items() if cause not in open_causes]
    rows = [Incident(cause=one.cause, code=one.code, code_params=one.params) for one in fresh]
    Incident.objects.bulk_create(rows, ignore_conflicts=True)
    notify()


def notify() -> None:
    """Send the alerts that were not sent yet. Without a channel nothing is sent and nothing is marked as sent."""
    if not channels():
        return
    untold = Q(notified_at=None) | Q(closed_at__isnull=False, resolved_notified_at=None)
    news = Q(closed_at=None) | Q(closed_at__gt=timezone.now() - OLD_NEWS)
    for incident in Incident.objects.filter(untold & news).order_by("id")[:20]:
        _notify_one(incident)


def channels() -> list[str]:
    """Return the names of the settings by which staff are alerted; empty where alerts are off."""
    return [name for name in ("ALERT_EMAIL", "ALERT_WEBHOOK_URL") if getattr(settings, name)]


@dataclass(frozen=True, slots=True)
class TestResult:
    """What became of a test alert on one channel. error: empty where it was accepted."""

    channel: str
    error: str = ""


def send_test() -> list[TestResult]:
    """Send a test alert now, by every channel that is set; one result for each."""
    text = _("A test alert of the bridge: whoever reads this will be told when something is wrong.")
    senders = {
        "ALERT_EMAIL": lambda: _mail(_("Test alert"), text),
        "ALERT_WEBHOOK_URL": lambda: post.post_alert(post.alert_body(text)),
    }
    return [TestResult(name, error_text(_error_of(senders[name]))) for name in channels()]


def error_text(error: Cause) -> str:
    return alert_error_of(error.as_json())


def _error_of(send: Callable[[], object]) -> Cause:
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


def _accounts_and_gateways() -> list[Problem]:
    """Return a problem for each account and gateway that stopped, or has been failing for a while."""
    bad = Q(state=Health.STOPPED) | Q(state=Health.FAILING, state_since__lt=timezone.now() - PATIENCE)
    accounts = ChannelAccount.objects.filter(bad, enabled=True)
    gateways = Gateway.objects.filter(bad, enabled=True)
    return [
        *(Problem(f"account:{row.pk}", "account_down", _down(row, "channel", row.kind)) for row in accounts),
        *(Problem(f"gateway:{row.pk}", "gateway_down", _down(row, "agent")) for row in gateways),
    ]


def _down(row: ChannelAccount | Gateway, target: str, kind: str = "") -> dict[str, Any]:
    return {"name": row.name, "because": within(Cause(row.state_code, row.state_params), target, kind)}


def _not_taken() -> list[Problem]:
    """Return a problem for each gateway that is connected and refuses turns again and again."""
    refused = Delivery.objects.filter(target=Target.AGENT, state=State.PENDING, tries__gte=REFUSED_TRIES)
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


def _dead_letters() -> list[Problem]:
    rows = Delivery.objects.filter(state__in=(State.DEAD, State.UNCERTAIN), dismissed_at=None)
    rows = rows.exclude(target=Target.WEBHOOK, endpoint=None)  # an alert that fails must not raise an alert
    names = ("account_id", "account__name", "endpoint_id", "endpoint__name")
    return [_dead_of(row) for row in rows.values(*names).annotate(count=Count("pk"))]


def _dead_of(row: dict[str, Any]) -> Problem:
    if row["endpoint_id"]:
        params = {"name": row["endpoint__name"], "count": row["count"]}
        return Problem(f"dead:hook:{row['endpoint_id']}", "webhook_failures", params)
    return Problem(
        f"dead:{row['account_id']}", "account_failures", {"name": row["account__name"], "count": row["count"]}
    )


def _gone() -> list[Problem]:
    """Return a problem for each webhook that the bridge disabled because of its answers."""
    gone = WebhookEndpoint.objects.filter(enabled=False).exclude(disabled_code="")
    return [Problem(f"hook:{row.pk}", "webhook_disabled", _disabled(row)) for row in gone]


def _disabled(row: WebhookEndpoint) -> dict[str, Any]:
    return {"name": row.name, "because": within(Cause(row.disabled_code), "webhook")}


def _spooled() -> list[Problem]:
    """Return a problem where callbacks wait on this machine's disk. The drain that stores them closes the incident."""
    waiting = journal.read_status()
    found = []
    if waiting.messages:
        found.append(Problem(report.CAUSE, "spooled", {"count": waiting.messages}))
    if waiting.unreadable:
        found.append(Problem(f"{report.CAUSE}:unreadable", "spool_unreadable", {"count": waiting.unreadable}))
    return found


def _stuck() -> list[Problem]:
    """Return a problem where a delivery is due for minutes although its account works: a worker, beat or connector is missing."""
    late = Delivery.objects.filter(state=State.PENDING, due_at__lt=timezone.now() - STUCK)
    late = late.filter(account__enabled=True).exclude(account__state=Health.STOPPED)
    late = late.exclude(gateway__enabled=False).exclude(gateway__state__in=(Health.STOPPED, Health.FAILING))
    before = Delivery.objects.filter(lane=OuterRef("lane"), seq__lt=OuterRef("seq"))
    count = late.exclude(Exists(before.filter(state__in=(State.PENDING, State.SENDING)))).count()
    return [Problem("stuck", "stuck", {"count": count})] if count else []


def _notify_one(incident: Incident) -> None:
    """Alert by every channel that is set. It counts as told when the first of them has accepted it."""
    over = incident.notified_at is not None
    accepted: list[datetime] = []
    errors: list[Cause] = []
    if settings.ALERT_EMAIL:
        error = _error_of(lambda: _mail(_title_of(incident, over), _text_of(incident, over)))
        accepted += [] if error.code else [timezone.now()]
        errors += [error] if error.code else []
    if settings.ALERT_WEBHOOK_URL:
        alert = post.queue_alert(_text_of(incident, over), f"incident:{incident.pk}:{'over' if over else 'open'}")
        if alert.state == State.DELIVERED:
            accepted.append(alert.finished_at or timezone.now())
        elif alert.state == State.DEAD:
            errors.append(alert.cause)
    for error in errors:
        _log_unsent(error_text(error))
    told = {"resolved_notified_at" if over else "notified_at": accepted[0]} if accepted else {}
    Incident.objects.filter(pk=incident.pk).update(alert_errors=[error.as_json() for error in errors], **told)


def _log_unsent(error: str) -> None:
    if len(unsent) >= MAX_UNSENT:
        unsent.clear()
    if unsent.setdefault(error, logs.Rarely()).is_due(error):
        log.warning("an alert could not be sent: %s", error)


def _title_of(incident: Incident, over: bool) -> str:
    return _("Resolved: %s") % incident.title if over else incident.title


def _text_of(incident: Incident, over: bool) -> str:
    """Return the alert's lines: what, since or until when in the site's zone, and where to look."""
    when = timezone.localtime(incident.closed_at if over and incident.closed_at else incident.opened_at)
    since = _("Resolved since %s.") if over else _("Since %s.")
    page = f"{settings.PUBLIC_URL}/admin/bridge/incident/{incident.pk}/change/" if settings.PUBLIC_URL else ""
    lines = [
        _title_of(incident, over),
        "" if over else incident.detail,
        since % f"{when:%Y-%m-%d %H:%M} ({settings.TIME_ZONE})",
        page,
    ]
    return "\n".join(line for line in lines if line)


def _mail(title: str, text: str) -> None:
    """Raises OSError."""
    subject = " ".join(f"[bridge] {title}".split())  # a line break would end the header
    send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, settings.ALERT_EMAIL)
