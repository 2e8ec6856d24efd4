"""Finds the channels of alerts that do not accept them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.explanations.tables import nest_cause
from bridge.models import AlertChannel, AlertMessage
from bridge.operations.problems.problem import Problem
from channels_wechat.contract.explanations import NO_CAUSE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.contract.explanations import Cause

# One refusal may be a short outage. The next attempt is made within a minute, or after a quarter of an hour where only staff can mend it.
MIN_FAILURES = 2


def cause_of(channel: int) -> str:
    return f"alert_channel:{channel}"


def find_failing_channels() -> Iterator[Problem]:
    """Find each enabled channel that did not accept the last alerts, in two queries; in one where none fails."""
    rows = AlertChannel.objects.filter(enabled=True, failures__gte=MIN_FAILURES).order_by("pk")
    failing = [row for row in rows if row.is_set]
    causes = _find_last_causes(failing) if failing else {}
    for channel in failing:
        cause = causes.get(channel.pk, NO_CAUSE)
        because = nest_cause(cause, "alert") if cause.code else ""
        params = {"name": channel.name, "because": because}
        yield Problem(cause_of(channel.pk), "alert_channel_fails", params, error_code=cause.code)


def _find_last_causes(failing: list[AlertChannel]) -> dict[int, Cause]:
    """Return channel → why it did not accept the last message that it did not accept."""
    refused = AlertMessage.objects.filter(channel__in=failing, state=AlertMessage.State.REFUSED)
    newest = refused.order_by("channel_id", "-id").distinct("channel_id")
    return {message.channel_id: message.cause for message in newest}
