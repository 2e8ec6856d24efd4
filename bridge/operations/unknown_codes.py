"""Codes that no table explains, as incidents met them: each waits for an explanation of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.explanations.tables import table_for
from bridge.models import Incident
from channels_wechat.contract.explanations import is_listed

if TYPE_CHECKING:
    from datetime import datetime

# At most so many incidents are looked at, the newest, by the index incident_newest. Each cause has one, kept for 90 days after its end.
MOST_INCIDENTS = 2000


class UnknownCode(NamedTuple):
    """A code of one side. target: a `Target`; kind: of the accounts, where it is WeChat. total: of failed deliveries, else of incidents.

    words: what the other side said the last time. incident: the id of the newest. has_deliveries: whether deliveries failed with it.
    """

    code: str
    target: str
    kind: str
    total: int
    last_seen_at: datetime
    words: str
    incident: int
    has_deliveries: bool


def list_unknown_codes() -> list[UnknownCode]:
    """Return them grouped by code and side, the last seen first; one query."""
    incidents = Incident.objects.filter(code_params__has_key="because").order_by("-opened_at")
    found: dict[tuple[str, str, str], UnknownCode] = {}
    for incident in incidents.only("code_params", "error_code", "count", "last_seen_at", "opened_at")[:MOST_INCIDENTS]:
        one = _read(incident)
        if one is None:
            continue
        side = (one.code, one.target, one.kind)
        found[side] = _join(found[side], one) if side in found else one
    return sorted(found.values(), key=lambda one: one.last_seen_at, reverse=True)


def _read(incident: Incident) -> UnknownCode | None:
    """Return what the incident is because of, where no table explains it."""
    because: Any = incident.code_params["because"]
    if not isinstance(because, dict) or not because.get("code"):
        return None
    code, target, kind = because["code"], because.get("target", ""), because.get("kind", "")
    if is_listed(table_for(target, kind), code):
        return None
    words = str((because.get("params") or {}).get("detail", ""))
    seen = incident.last_seen_at or incident.opened_at
    return UnknownCode(code, target, kind, incident.count or 1, seen, words, incident.pk, bool(incident.error_code))


def _join(newer: UnknownCode, older: UnknownCode) -> UnknownCode:
    return newer._replace(
        total=newer.total + older.total,
        last_seen_at=max(newer.last_seen_at, older.last_seen_at),
        words=newer.words or older.words,
        has_deliveries=newer.has_deliveries or older.has_deliveries,
    )
