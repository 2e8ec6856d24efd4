"""How much of the last days an account worked. The pages of gateways show the same."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from accounts.uptime import read_uptime, share_up, shares_by_day
from bridge.admin.accounts.panel import AccountPanel
from bridge.ui.formatting import share

if TYPE_CHECKING:
    from accounts.health import HealthMixin

# Below this share a day counts as one on which it was down; between this and all of it, as partly up.
DOWN = 0.95


def describe_uptime(row: HealthMixin) -> dict[str, Any]:
    """Return the uptime of 7 and 30 days, and a square for each day, today the last."""
    spans, now = read_uptime(row), timezone.now()
    week, month = (share_up(spans, now - timedelta(days=days)) for days in (7, 30))
    squares = [
        {
            "color": _colour(part),
            "tooltip": _("%(day)s: %(share)s") % {"day": date_format(day, "Y-m-d"), "share": share(part)},
        }
        for day, part in shares_by_day(spans)
    ]
    return {"week": week, "month": month, "squares": squares}


def _colour(part: float | None) -> str:
    if part is None:
        return ""
    return "b-up" if part == 1 else "b-partly" if part >= DOWN else "b-down"


PANEL = AccountPanel(
    applies_to=lambda _channel: True,
    template="admin/accounts/panels/uptime.html",
    facts=lambda account, _channel: describe_uptime(account),
)
