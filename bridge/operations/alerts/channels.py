"""The channels by which staff are alerted. The two settings are channels as well; only their addresses are not kept in the row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.models import ChannelAccount
from bridge.models import AlertChannel, AlertDelivery, AlertMessage, ChannelKind
from bridge.models.alerts import ROBOT_KIND
from channels_wechat.wecom.robot.channel import WeComRobot
from channels_wechat.wecom.robot.credentials import read_address

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

# The setting → kind and name of the channel that is made for it.
ENVIRONMENT = {
    "ALERT_EMAIL": (ChannelKind.EMAIL, "ALERT_EMAIL"),
    "ALERT_WEBHOOK_URL": (ChannelKind.ROBOT, "ALERT_WEBHOOK_URL"),
}


def add_environment_channels() -> None:
    """Make a channel for each setting that has none yet."""
    wanted = {name for name in ENVIRONMENT if getattr(settings, name)}
    missing = wanted - set(AlertChannel.objects.filter(environment__in=wanted).values_list("environment", flat=True))
    rows = [AlertChannel(environment=name, kind=ENVIRONMENT[name][0], name=name) for name in sorted(missing)]
    AlertChannel.objects.bulk_create(rows, ignore_conflicts=True)


def list_active() -> list[AlertChannel]:
    """Return the channels that are enabled and have somewhere to send to; none where alerts are off."""
    add_environment_channels()
    rows = AlertChannel.objects.filter(enabled=True).select_related("account").order_by("pk")
    return [row for row in rows if row.is_set]


def has_waiting() -> Exists:
    """Whether an active channel still has something to send of the incident of the row."""
    unset = [name for name in ENVIRONMENT if not getattr(settings, name)]
    waiting = AlertDelivery.objects.filter(incident=OuterRef("pk"), state=AlertDelivery.State.WAITING)
    return Exists(waiting.filter(channel__enabled=True).exclude(channel__environment__in=unset))


def find_robot_accounts(channels: Iterable[AlertChannel]) -> dict[int, int]:
    """Return channel → the account by which it sends, also where only the address of that account's robot was entered."""
    found = {row.pk: row.account_id for row in channels if row.account_id}
    digests = {}
    for row in channels:
        address = read_address(row.known_address) if row.kind == ChannelKind.ROBOT and not row.account_id else None
        if address:
            digests[WeComRobot.external_id({"robot_key": address.key})] = row.pk
    accounts = ChannelAccount.objects.filter(kind=ROBOT_KIND, external_id__in=digests)
    return found | {digests[name]: pk for name, pk in accounts.values_list("external_id", "pk")} if digests else found


@dataclass(frozen=True, slots=True)
class Quiet:
    """Whether a moment lies in quiet hours, and when those began and end. Both are None for a channel without quiet hours."""

    now: bool
    began: datetime | None = None
    ends: datetime | None = None


def quiet_at(channel: AlertChannel, moment: datetime) -> Quiet:
    """Look at the quiet hours of a channel, in the site's time zone: those of this moment, or else the last ones before it."""
    if channel.quiet_from is None or channel.quiet_until is None:
        return Quiet(False)
    local = timezone.localtime(moment, timezone.get_default_timezone())
    began = local.replace(hour=channel.quiet_from.hour, minute=channel.quiet_from.minute, second=0, microsecond=0)
    if began > local:
        began -= timedelta(days=1)
    ends = began.replace(hour=channel.quiet_until.hour, minute=channel.quiet_until.minute)
    if ends <= began:
        ends += timedelta(days=1)
    return Quiet(began <= local < ends, began, ends)


def next_time(channel: AlertChannel) -> datetime | None:
    """Return when the channel may send next: after its pause, its quiet hours and its limit an hour. None: now."""
    now = timezone.now()
    quiet = quiet_at(channel, now)
    times = [quiet.ends] if quiet.now else []
    if channel.next_try_at and channel.next_try_at > now:
        times.append(channel.next_try_at)
    sent = AlertMessage.objects.filter(channel=channel, is_test=False, created_at__gt=now - timedelta(hours=1))
    latest = list(sent.order_by("-id").values_list("created_at", flat=True)[: channel.max_per_hour])
    if len(latest) >= channel.max_per_hour:
        times.append(latest[-1] + timedelta(hours=1))
    return max((time for time in times if time), default=None)
