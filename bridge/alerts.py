"""Somebody is told when something is wrong: once for each cause, and again when it is over. By e-mail and to a webhook address."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import valkey
from accounts.models import ChannelAccount, Health
from bridge import hooks
from bridge.models import Delivery, Incident, State, Target, WebhookEndpoint
from bridge.redact import redact_text
from openclaw.models import Gateway

log = logging.getLogger(__name__)
# A hiccup is not an incident: failing things are given this long to come back by themselves.
PATIENCE = timedelta(minutes=2)
# Work that waits longer than this without a reason of its own means that a process is missing.
STUCK = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Trouble:
    cause: str
    title: str
    detail: str = ""


def check() -> None:
    """Open what is new, close what is over, tell what nobody was told."""
    troubles = {trouble.cause: trouble for trouble in [*_sides(), *_gone(), *_dead_letters(), *_stuck()]}
    for incident in Incident.objects.filter(closed_at=None).exclude(cause__in=troubles):
        incident.closed_at = timezone.now()
        incident.save(update_fields=["closed_at"])
    open_causes = set(Incident.objects.filter(closed_at=None).values_list("cause", flat=True))
    fresh = [trouble for cause, trouble in troubles.items() if cause not in open_causes]
    rows = [Incident(cause=t.cause, title=t.title[:200], detail=t.detail) for t in fresh]
    Incident.objects.bulk_create(rows, ignore_conflicts=True)
    tell()


def tell() -> None:
    untold = Q(told_at=None) | Q(closed_at__isnull=False, told_over_at=None)
    for incident in Incident.objects.filter(untold).order_by("id")[:20]:
        _tell_one(incident)


def swept() -> None:
    """The sweep was here; its age is the surest sign that worker and beat do their work."""
    valkey.ask(lambda client: client.set("swept", time.time(), ex=86400), None)


def _sides() -> list[Trouble]:
    """Accounts and gateways that stopped, or have been failing for a while."""
    bad = Q(state=Health.STOPPED) | Q(state=Health.FAILING, state_since__lt=timezone.now() - PATIENCE)
    accounts = ChannelAccount.objects.filter(bad, enabled=True)
    gateways = Gateway.objects.filter(bad, enabled=True)
    told = [Trouble(f"account:{a.pk}", _("Account %s does not work") % a.name, a.state_reason) for a in accounts]
    return told + [Trouble(f"gateway:{g.pk}", _("Gateway %s does not work") % g.name, g.state_reason) for g in gateways]


def _dead_letters() -> list[Trouble]:
    rows = Delivery.objects.filter(state__in=(State.DEAD, State.UNCERTAIN), dismissed_at=None)
    rows = rows.exclude(target=Target.WEBHOOK, endpoint=None)  # an alert that fails must not raise an alert
    names = ("account_id", "account__name", "endpoint_id", "endpoint__name")
    return [_dead_of(row) for row in rows.values(*names).annotate(count=Count("pk"), since=Min("finished_at"))]


def _dead_of(row: dict[str, Any]) -> Trouble:
    cause, title = f"dead:{row['account_id']}", _("Messages of %s were not delivered") % row["account__name"]
    if row["endpoint_id"]:
        cause, title = f"dead:hook:{row['endpoint_id']}", _("Webhook %s was not told") % row["endpoint__name"]
    detail = _("%(count)d since %(since)s. See Dead letters.") % {"count": row["count"], "since": row["since"]}
    return Trouble(cause, title, detail)


def _gone() -> list[Trouble]:
    """Webhooks that were switched off by what they answered, not by staff."""
    gone = WebhookEndpoint.objects.filter(enabled=False).exclude(off_reason="")
    return [Trouble(f"hook:{one.pk}", _("Webhook %s was switched off") % one.name, one.off_reason) for one in gone]


def _stuck() -> list[Trouble]:
    """Due for minutes at the head of its lane, though its account works: worker, beat or connector is not there."""
    late = Delivery.objects.filter(state=State.PENDING, due_at__lt=timezone.now() - STUCK)
    late = late.filter(account__enabled=True).exclude(account__state=Health.STOPPED)
    late = late.exclude(gateway__enabled=False).exclude(gateway__state__in=(Health.STOPPED, Health.FAILING))
    before = Delivery.objects.filter(lane=OuterRef("lane"), seq__lt=OuterRef("seq"))
    count = late.exclude(Exists(before.filter(state__in=(State.PENDING, State.SENDING)))).count()
    detail = (
        _("%d deliveries have been due for more than five minutes. Are worker, beat and connector running?") % count
    )
    return [Trouble("stuck", _("Messages wait"), detail)] if count else []


def _tell_one(incident: Incident) -> None:
    over = incident.told_at is not None
    title = _("Over: %s") % incident.title if over else incident.title
    lines = [title, incident.detail if not over else "", settings.PUBLIC_URL and f"{settings.PUBLIC_URL}/admin/"]
    try:
        _post("\n".join(line for line in lines if line), title)
    except OSError as error:
        log.warning("an incident could not be told: %s", redact_text(str(error)))
        Incident.objects.filter(pk=incident.pk).update(error=redact_text(str(error)))
        return
    Incident.objects.filter(pk=incident.pk).update(**{"told_over_at" if over else "told_at": timezone.now()}, error="")


def _post(text: str, title: str) -> None:
    """The mail goes at once, the webhook as a delivery. Raises OSError."""
    if settings.ALERT_EMAIL:
        send_mail(f"[bridge] {title}", text, settings.DEFAULT_FROM_EMAIL, settings.ALERT_EMAIL)
    if settings.ALERT_WEBHOOK_URL:
        hooks.queue_alert(text)
