"""Accounts, gateways and processes on the start page: what does not work first, what waits for it, how long it has been silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import OuterRef, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import work
from accounts.channels import build_channel
from accounts.fields import Undecryptable
from accounts.health import Health
from accounts.limits import all_limits, list_remaining_of_all
from accounts.models import ChannelAccount
from accounts.uptime import read_uptimes, share_up
from accounts.valkey import try_valkey
from bridge.models import Message
from bridge.operations.dashboard import Backlog, read_backlogs
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.auth.models import User

    from accounts.uptime import Span

# Who works and heard nothing for so long is called silent.
SILENT = timedelta(hours=3)
# Of so many calls left of a hundred, a limit is nearly used up.
NEARLY_USED = 0.1
ROLES = {
    "callbacks": _("callbacks"),
    "web": _("web"),
    "worker": _("worker"),
    "connector": _("connector"),
    "beat": _("beat"),
}
DONE = {
    "messages.in": _("messages received"),
    "messages.out": _("messages stored to be sent"),
    "attempts.agent": _("turns of agents"),
    "attempts.channel": _("calls to WeChat"),
    "attempts.webhook": _("calls of webhooks"),
    "callbacks": _("callbacks"),
    "ticks": _("ticks"),
}
# What the bridge cannot do without.
NEEDED = ("callbacks", "worker", "beat", "connector")


@dataclass
class Side:
    """An account or a gateway on the start page. quotas: its limits, with the calls that are left, the scarcest first."""

    row: Any
    backlog: Backlog
    week: float | None
    month: float | None
    heard_at: datetime | None = None
    quotas: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_broken(self) -> bool:
        return bool(self.row.enabled and self.row.state in (Health.STOPPED, Health.FAILING)) or bool(
            getattr(self.row, "sending_stopped_at", None)
        )

    @property
    def is_silent(self) -> bool:
        return bool(self.row.enabled and self.heard_at and timezone.now() - self.heard_at > SILENT)


def read_sides(user: User) -> dict[str, Any]:
    """Return accounts, gateways and processes, as far as this person may see them, in four queries and three calls of Valkey."""
    accounts = _read_accounts() if user.has_perm("accounts.view_channelaccount") else []
    gateways = (
        list(Gateway.objects.defer("token", "device_key", "device_token"))
        if user.has_perm("openclaw.view_gateway")
        else []
    )
    to_send, to_ask = read_backlogs()
    spans = read_uptimes([*accounts, *gateways])
    of_accounts = [_build_side(row, to_send.get(row.pk), spans[row]) for row in accounts]
    _add_last_heard(of_accounts)
    _add_quotas(of_accounts)
    of_gateways = [_build_side(row, to_ask.get(row.pk), spans[row]) for row in gateways]
    return {
        "now": timezone.now(),
        "accounts": _sort(of_accounts),
        "gateways": _sort(of_gateways),
        "quotas": [side for side in _sort(of_accounts) if side.quotas],
        "waiting": _build_waiting([*of_accounts, *of_gateways]),
        **_read_processes(),
    }


def _read_accounts() -> list[ChannelAccount]:
    """Return all accounts, each with the time of the last message that it received, by the index message_age."""
    received = Message.objects.filter(account=OuterRef("pk"), direction="in", source="channel").order_by("-created_at")
    return list(ChannelAccount.objects.annotate(received_at=Subquery(received.values("created_at")[:1])))


def _build_side(row: Any, backlog: Backlog | None, spans: Sequence[Span]) -> Side:
    now = timezone.now()
    week, month = (share_up(spans, now - timedelta(days=days)) for days in (7, 30))
    return Side(row, backlog or Backlog(), week, month)


def _sort(sides: list[Side]) -> list[Side]:
    """What does not work first, then what waits longest, then by name; what staff disabled last."""
    now = timezone.now()
    return sorted(
        sides,
        key=lambda side: (
            not side.row.enabled,
            not side.is_broken,
            side.backlog.oldest or now,
            side.row.name.casefold(),
        ),
    )


def _add_last_heard(sides: list[Side]) -> None:
    """Add when each account's platform last called, or brought a message."""

    def read(valkey: Any) -> list[str | None]:
        with valkey.pipeline(transaction=False) as pipe:
            for side in sides:
                pipe.hget(f"callback:{side.row.key}", "at")
            found: list[str | None] = pipe.execute()
            return found

    nothing: list[str | None] = [None] * len(sides)
    for side, called in zip(sides, try_valkey(read, nothing), strict=True):
        times = [side.row.received_at, datetime.fromtimestamp(float(called), UTC) if called else None]
        side.heard_at = max((at for at in times if at), default=None)


def _add_quotas(sides: list[Side]) -> None:
    limits = [(str(side.row.key), _limits_of(side.row)) for side in sides]
    for side, found in zip(sides, list_remaining_of_all(limits), strict=True):
        quotas = [
            {"limit": limit, "left": left, "scarce": left is not None and left <= limit.count * NEARLY_USED}
            for limit, left in found
        ]
        side.quotas = sorted(quotas, key=lambda one: 1.0 if one["left"] is None else one["left"] / one["limit"].count)


def _limits_of(account: ChannelAccount) -> Sequence[Any]:
    """Return no limits for an account whose credentials no key of FIELD_KEYS opens."""
    try:
        return all_limits(build_channel(account))
    except Undecryptable:
        return ()


def _build_waiting(sides: list[Side]) -> dict[str, Any]:
    """Return a chart of how old the backlog of each account and gateway is, the oldest first."""
    now = timezone.now()
    waiting = sorted((side for side in sides if side.backlog.oldest), key=lambda side: side.backlog.oldest or now)
    rows: list[dict[str, Any]] = [
        {"side": side, "seconds": (now - (side.backlog.oldest or now)).total_seconds()} for side in waiting
    ]
    longest = max((row["seconds"] for row in rows), default=0.0) or 1.0
    for row in rows:
        row["percent"] = round(100 * row["seconds"] / longest, 1)
        row["is_gateway"] = isinstance(row["side"].row, Gateway)
    return {"rows": rows}


def _read_processes() -> dict[str, Any]:
    found = work.read_work()
    if found is None:
        return {"processes": [], "is_unknown": True, "missing": []}
    alive = {process.role for process in found if not process.is_lost}
    return {
        "processes": [
            {
                "process": process,
                "role": ROLES.get(process.role, process.role),
                "done": [{"what": DONE.get(what, what), "count": count} for what, count in process.done.most_common()],
            }
            for process in found
        ],
        "missing": [ROLES[role] for role in NEEDED if role not in alive] if found else [],
        "is_unknown": False,
    }
