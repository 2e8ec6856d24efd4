"""Why an incident ended: its problem is gone, or nobody looks for it any more, as staff disabled, stopped or deleted what it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.models import AlertChannel, AlertRule
from bridge.operations.alerts.planning import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.models import Incident

# How causes begin that are about an account, a gateway or a webhook: without one of them it was deleted.
ABOUT_A_ROW = (
    "account", "calls", "chats", "dead", "gateway", "held", "hook", "quota", "rule", "turns", "uncertain", "unmapped", "unreadable",
)  # fmt: skip
# These are found whether what they are about is enabled or not.
FOUND_ANYWAY = (
    "account_failures", "gateway_failures", "webhook_failures", "uncertain", "review_waiting", "window_closed",
)  # fmt: skip
# These are not looked for while staff have stopped all sending of the account.
NOT_WHILE_SENDING_IS_STOPPED = ("backlog",)


def find_withdrawn(incidents: Iterable[Incident]) -> set[int]:
    """Return the ids of those that, where they are closed, did not end, but are only watched no more."""
    rules = set(AlertRule.objects.filter(enabled=True).values_list("pk", flat=True))
    channels = set(AlertChannel.objects.filter(enabled=True).values_list("pk", flat=True))
    found = set()
    for incident in incidents:
        rule, channel = rule_of(incident), _channel_of(incident)
        is_unwatched = (rule is not None and rule not in rules) or (channel is not None and channel not in channels)
        if is_unwatched or _is_about_nothing_watched(incident):
            found.add(incident.pk)
    return found


def _channel_of(incident: Incident) -> int | None:
    kind, _colon, number = incident.cause.partition(":")
    return int(number) if kind == "alert_channel" else None


def _is_about_nothing_watched(incident: Incident) -> bool:
    row = incident.account or incident.gateway or incident.endpoint
    if row is None:
        words = incident.cause.split(":")
        return words[0] in ABOUT_A_ROW and "None" not in words
    if incident.code in NOT_WHILE_SENDING_IS_STOPPED and incident.account and incident.account.sending_stopped_at:
        return True
    return not row.enabled and incident.code not in FOUND_ANYWAY
