"""When an account writes like a person: its pauses and its quiet hours, from what staff entered. Pure."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.messages import Pace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def read_pace(credentials: Mapping[str, Any], least: str, most: str) -> Pace | None:
    """Return the pause between these two fields, in seconds; None where there is none."""
    longest = float(credentials.get(most) or 0)
    return Pace(float(credentials.get(least) or 0), longest) if longest else None


def find_quiet_end(credentials: Mapping[str, Any], now: datetime) -> datetime | None:
    """Return when the quiet hours end that `now` is within; None outside of them.

    In UTC: two times of one zone are subtracted by their clock, which jumps by an hour in some nights.
    """
    end = _next_time(credentials.get("quiet_to"), now)
    begin = _last_time(credentials.get("quiet_from"), now)
    if end is None or begin is None:
        return None
    last_end = _last_time(credentials.get("quiet_to"), now)
    return end.astimezone(UTC) if last_end is None or begin > last_end else None


def find_last_quiet_end(credentials: Mapping[str, Any], now: datetime) -> datetime | None:
    """Return when the last quiet hours before `now` ended; None where there are none."""
    return _last_time(credentials.get("quiet_to"), now) if credentials.get("quiet_from") else None


def _last_time(clock: str | None, now: datetime) -> datetime | None:
    """Return when it was last this time of day, `now` included."""
    if not clock:
        return None
    hour, minute = map(int, clock.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)


def _next_time(clock: str | None, now: datetime) -> datetime | None:
    before = _last_time(clock, now)
    return before + timedelta(days=1) if before else None
