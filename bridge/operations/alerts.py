"""Alerts staff of incidents, once when one opens and once when it is over. By e-mail and to a webhook address."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from bridge.explanations.incidents import alert_error_of
from bridge.models import Incident, State
from bridge.security import logs
from bridge.security.redaction import redact_text
from bridge.webhooks import post
from channels_wechat.contract.connection import NEEDS_LOGIN
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import NO_CAUSE, Cause

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

log = logging.getLogger(__name__)
# Decides for each error which repetitions are logged, because a failed alert is sent again three times a minute.
failures_to_send: dict[str, logs.Rarely] = {}
MAX_FAILURES_TO_SEND = 100
# Somebody who sets up a channel today needs no alert of an incident that was resolved longer ago than this.
MAX_AGE = timedelta(days=1)


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
