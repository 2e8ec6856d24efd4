"""Sends what waits for each channel. One process at a time sends by a channel: the holder of its lease.

A message is stored before it leaves, and what became of it after that. Where the process is lost in between, whoever has the lease next
marks the message as lost and sends its alerts again: an alert that comes twice does no harm, one that never comes does.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery
from django.utils import timezone, translation

from accounts import lease
from bridge.explanations.incidents import alert_error_of
from bridge.models import AlertChannel, AlertDelivery, AlertMessage, Incident
from bridge.operations.alerts import carriers, channels, planning
from bridge.operations.alerts.composing import compose, compose_test
from bridge.runtime.db.outage import DB_UNAVAILABLE
from bridge.security import logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

    from bridge.operations.alerts.composing import Alert

log = logging.getLogger(__name__)
Occasion, AlertState = AlertDelivery.Occasion, AlertDelivery.State
# Decides for each error which repetitions are logged, because a failed alert is sent again and again.
failures_to_send: dict[str, logs.Rarely] = {}
MAX_FAILURES_TO_SEND = 100
# Longer than one sending can take: the time-outs of a mail to each address, or of one call.
LEASE_SECONDS = 300
# The pause after a failure doubles from the first to the last; after an error that only staff can mend it is the last at once.
FIRST_PAUSE, LAST_PAUSE = timedelta(seconds=20), timedelta(minutes=15)
# What is put into one message at most; the rest follows in the next.
MAX_ALERTS = 200
WITH_INCIDENT = ("incident__account", "incident__gateway", "incident__endpoint")


def send_alerts() -> None:
    """Write down which alerts are due, and send what may be sent now. Without a channel nothing is sent and nothing marked as sent."""
    planning.plan_alerts()
    for channel in _find_channels_with_alerts():
        if channels.next_time(channel) is None:
            _try_to_send(channel)


def _try_to_send(channel: AlertChannel) -> None:
    """Send what waits; a defect is logged, so that it keeps the alerts from no other channel."""
    try:
        send_waiting(channel)
    except DB_UNAVAILABLE:
        raise
    except Exception:
        log.exception("alert channel %s failed", channel.pk)


def send_waiting(channel: AlertChannel) -> None:
    """Send all alerts that wait for this channel in one message, unless another process sends by it now."""
    held = _acquire(channel)
    if held is None:
        return
    rows = _take_waiting(held)
    if not rows:
        held.settle_as_held()
        return
    with translation.override(held.language):
        alert = compose(held, rows)
        message = _store_message(held, alert)
        AlertDelivery.objects.filter(pk__in=[row.pk for row in rows]).update(message=message)
        result = carriers.send(held, alert, ",".join(str(row.pk) for row in rows))
    _settle(held, message, rows, result)


def send_test(channel: AlertChannel) -> AlertMessage:
    """Send a test alert by this channel now, whatever its pause and quiet hours, and return what became of it."""
    with translation.override(channel.language):
        alert = compose_test()
        message = _store_message(channel, alert, is_test=True)
        result = carriers.send(channel, alert, f"test:{message.pk}")
    _finish(message, result)
    if result.accepted:
        AlertChannel.objects.filter(pk=channel.pk).update(failures=0, next_try_at=None)
    return message


def _find_channels_with_alerts() -> list[AlertChannel]:
    waiting = AlertDelivery.objects.filter(channel=OuterRef("pk"), state=AlertState.WAITING)
    rows = AlertChannel.objects.filter(Exists(waiting), enabled=True).order_by("pk")
    return [row for row in rows if row.is_set]


def _acquire(channel: AlertChannel) -> AlertChannel | None:
    """Lease the channel and read it anew; None where another process has it."""
    if not lease.acquire(AlertChannel.objects.filter(pk=channel.pk), uuid.uuid4().hex, LEASE_SECONDS):
        return None
    lost = AlertMessage.objects.filter(channel=channel, state=AlertMessage.State.SENDING, is_test=False)
    lost.update(state=AlertMessage.State.LOST, code="process_lost", finished_at=timezone.now())
    return AlertChannel.objects.select_related("account").get(pk=channel.pk)


def _take_waiting(channel: AlertChannel) -> list[AlertDelivery]:
    """Return what is to be sent now, oldest first. What need not be sent any more is marked as skipped."""
    waiting = AlertDelivery.objects.filter(channel=channel, state=AlertState.WAITING)
    old = waiting.filter(created_at__lt=timezone.now() - planning.MAX_AGE)
    _skip(old.exclude(incident__in=Incident.objects.filter(planning.muted_lately())), "too_old")
    news = waiting.exclude(occasion=Occasion.RESOLVED)
    for found, code in ((planning.ended_silently(), "muted"), (planning.settled(), "acknowledged")):
        _skip(news.filter(incident__in=Incident.objects.filter(found)), code)
    _skip_untold_ends(waiting)
    shown = waiting.exclude(incident__in=Incident.objects.filter(planning.silenced()))
    return list(shown.select_related(*WITH_INCIDENT).order_by("id")[:MAX_ALERTS])


def _skip_untold_ends(waiting: QuerySet[AlertDelivery]) -> None:
    """Tell nobody of the end of what they were not told of, for the same reason."""
    untold = planning.skipped_beginnings()
    ends = waiting.filter(Exists(untold), occasion=Occasion.RESOLVED)
    ends.update(state=AlertState.SKIPPED, code=Subquery(untold.values("code")[:1]), finished_at=timezone.now())


def _skip(rows: QuerySet[AlertDelivery], code: str) -> None:
    rows.update(state=AlertState.SKIPPED, code=code, finished_at=timezone.now())


def _store_message(channel: AlertChannel, alert: Alert, *, is_test: bool = False) -> AlertMessage:
    return AlertMessage.objects.create(
        channel=channel,
        is_test=is_test,
        target=channel.shown_target[:500],
        title=alert.title[:300],
        text=alert.text,
    )


def _finish(message: AlertMessage, result: carriers.Result) -> None:
    message.state = AlertMessage.State.ACCEPTED if result.accepted else AlertMessage.State.REFUSED
    message.code, message.code_params = result.error.code, dict(result.error.params)
    message.finished_at = timezone.now()
    message.save(update_fields=["state", "code", "code_params", "finished_at"])
    if result.error.code:
        _log_failure(alert_error_of(result.error.as_json()))


@transaction.atomic
def _settle(
    channel: AlertChannel, message: AlertMessage, rows: Sequence[AlertDelivery], result: carriers.Result
) -> None:
    """Write what became of the message. Where another process has the channel by now, the message alone is written."""
    failures = 0 if result.accepted else min(channel.failures + 1, 100)
    pause = LAST_PAUSE if result.lasting else min(FIRST_PAUSE * 2 ** min(failures, 10) / 2, LAST_PAUSE)
    again = None if result.accepted else timezone.now() + pause
    channel.settle_as_held(failures=failures, next_try_at=again)
    _finish(message, result)
    if result.accepted:
        _mark_sent(rows, message)
    _note_on_incidents([row.incident_id for row in rows])


def _mark_sent(rows: Sequence[AlertDelivery], message: AlertMessage) -> None:
    AlertDelivery.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=AlertState.SENT, finished_at=message.finished_at, message=message
    )
    ended = {row.incident_id for row in rows if row.incident.closed_at}
    _mark_recoveries(ended, message)
    opened = {row.incident_id for row in rows if row.occasion == Occasion.OPENED}
    for told, column in ((opened, "notified_at"), (ended, "resolved_notified_at")):
        Incident.objects.filter(pk__in=told, **{column: None}).update(**{column: message.finished_at})


def _mark_recoveries(ended: Iterable[int], message: AlertMessage) -> None:
    """What was told as over needs no recovery alert of its own, whether its row was written meanwhile or not."""
    told = {"state": AlertState.SENT, "finished_at": message.finished_at, "message": message}
    key = {"channel_id": message.channel_id, "occasion": Occasion.RESOLVED}
    AlertDelivery.objects.filter(incident__in=ended, state=AlertState.WAITING, **key).update(**told)
    rows = [AlertDelivery(incident_id=pk, **key, **told) for pk in ended]
    AlertDelivery.objects.bulk_create(rows, ignore_conflicts=True)


def _note_on_incidents(incidents: Sequence[int]) -> None:
    """Write to each incident the errors of the channels that have not accepted an alert of it yet."""
    refused = AlertDelivery.objects.filter(
        incident__in=incidents, state=AlertState.WAITING, message__state=AlertMessage.State.REFUSED
    ).select_related("message")
    errors: dict[int, dict[int, AlertMessage]] = {pk: {} for pk in incidents}
    for row in refused:
        if row.message:
            errors[row.incident_id][row.message.pk] = row.message
    for pk, found in errors.items():
        Incident.objects.filter(pk=pk).update(alert_errors=[each.cause.as_json() for each in found.values()])


def _log_failure(error: str) -> None:
    if len(failures_to_send) >= MAX_FAILURES_TO_SEND:
        failures_to_send.clear()
    if failures_to_send.setdefault(error, logs.Rarely()).is_due(error):
        log.warning("an alert could not be sent: %s", error)
