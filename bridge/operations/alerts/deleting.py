"""What may not be deleted, because an alert channel or a rule that is limited to it would be so no more: none chosen means all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.models import AlertChannel, AlertRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from accounts.models import ChannelAccount


def list_channels_limited_to(rules: Iterable[AlertRule]) -> list[AlertChannel]:
    """Return the channels that have chosen rules, and only among these."""
    ids = [rule.pk for rule in rules]
    with_others = AlertChannel.rules.through.objects.exclude(alertrule__in=ids).values("alertchannel")
    return list(AlertChannel.objects.filter(rules__in=ids).exclude(pk__in=with_others).distinct())


def list_rules_limited_to(accounts: Iterable[ChannelAccount]) -> list[AlertRule]:
    """Return the rules that are about chosen accounts, and only about these."""
    ids = [account.pk for account in accounts]
    with_others = AlertRule.accounts.through.objects.exclude(channelaccount__in=ids).values("alertrule")
    return list(AlertRule.objects.filter(accounts__in=ids).exclude(pk__in=with_others).distinct())
