"""Finds the channels of alerts that do not accept them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounts.fields import list_unreadable
from bridge.explanations.tables import nest_cause
from bridge.models import AlertChannel, AlertMessage
from bridge.operations.problems.problem import Problem
from channels_wechat.contract.explanations import NO_CAUSE, Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.operations.problems.problem import Names

# One refusal may be a short outage. The next attempt is made within a minute, or after a quarter of an hour where only staff can mend it.
MIN_FAILURES = 2


# The cause is this and the number of the channel.
CAUSE = "alert_channel:"


def find_failing_channels(_names: Names) -> Iterator[Problem]:
    """Find each enabled channel that cannot be used or did not accept the last alerts, in two queries; in one where none fails."""
    active = [row for row in AlertChannel.objects.filter(enabled=True).order_by("pk") if row.is_set]
    causes = {row.pk: Cause("unreadable") for row in active if list_unreadable(row)}
    failing = [row for row in active if row.failures >= MIN_FAILURES and row.pk not in causes]
    causes |= dict.fromkeys((row.pk for row in failing), NO_CAUSE) | (_find_last_causes(failing) if failing else {})
    for channel in active:
        if channel.pk in causes:
            cause = causes[channel.pk]
            params = {"name": channel.name, "because": nest_cause(cause, "alert") if cause.code else ""}
            yield Problem(f"{CAUSE}{channel.pk}", "alert_channel_fails", params, error_code=cause.code)


def _find_last_causes(failing: list[AlertChannel]) -> dict[int, Cause]:
    """Return channel → why it did not accept the last message that it did not accept."""
    refused = AlertMessage.objects.filter(channel__in=failing, state=AlertMessage.State.REFUSED)
    newest = refused.order_by("channel_id", "-id").distinct("channel_id")
    return {message.channel_id: message.cause for message in newest}
