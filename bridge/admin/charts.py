"""Charts drawn by the server as SVG: the Content-Security-Policy needs no exception, they print, and they are there without a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.operations.dashboard import AgentTimes, Point

# The inner size of a chart of columns, in its own units; the browser scales it.
WIDTH, HEIGHT = 480, 100
# Of a chart of bars: the length of the longest, and the height of a row.
LENGTH, ROW = 100, 10
# More labels than this would touch each other.
MOST_LABELS = 8


@dataclass(frozen=True, slots=True)
class Column:
    """The three bars of an hour or a day, in the chart's units."""

    label: str
    x: float
    point: Point
    bars: list[dict[str, Any]]
    links: dict[str, str]


def build_columns(points: Sequence[Point], *, by_hour: bool) -> dict[str, Any]:
    """Return a chart of what was received, sent and failed: three bars for each point."""
    peak = max((max(point.incoming, point.outgoing, point.failed) for point in points), default=0)
    slot = WIDTH / (len(points) or 1)
    columns = [
        _build_column(point, slot * number, slot, HEIGHT / (peak or 1), by_hour) for number, point in enumerate(points)
    ]
    every = -(-len(columns) // MOST_LABELS)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "peak": peak,
        "by_hour": by_hour,
        "columns": columns,
        "labels": columns[::every],
        "totals": {name: sum(getattr(point, name) for point in points) for name in ("incoming", "outgoing", "failed")},
    }


def _build_column(point: Point, x: float, slot: float, scale: float, by_hour: bool) -> Column:
    local = timezone.localtime(point.at)
    width = round(slot * 0.28, 2)
    bars = []
    for number, (kind, value) in enumerate((("in", point.incoming), ("out", point.outgoing), ("failed", point.failed))):
        tall = round(value * scale, 1)
        bars.append(
            {
                "kind": kind,
                "x": round(x + slot * 0.05 + number * slot * 0.3, 2),
                "y": HEIGHT - tall,
                "height": tall,
                "width": width,
            }
        )
    label = date_format(local, "H:i") if by_hour else date_format(local, "m-d")
    return Column(label, round(x, 2), point, bars, _link_day(local.date().isoformat()))


def _link_day(day: str) -> dict[str, str]:
    """Return the lists behind the figures of a day."""
    messages, deliveries = reverse("admin:bridge_message_changelist"), reverse("admin:bridge_delivery_changelist")
    return {
        "incoming": f"{messages}?direction__exact=in&day={day}",
        "outgoing": f"{messages}?direction__exact=out&day={day}",
        "failed": f"{deliveries}?state__exact=dead&day={day}",
    }


def build_times(times: Iterable[AgentTimes], gateways: Mapping[int, str]) -> dict[str, Any]:
    """Return a chart of how long the answers of each agent took: two bars for each. gateways: their names."""
    rows = list(times)
    longest = max((row.p95 or 0.0 for row in rows), default=0.0) or 1.0
    return {
        "length": LENGTH,
        "height": ROW * len(rows),
        "rows": [
            {
                "times": row,
                "agent": row.agent_id or "–",
                "gateway": gateways.get(row.gateway_id or 0, ""),
                "y": ROW * number,
                "p50": round(LENGTH * (row.p50 or 0) / longest, 1),
                "p95": round(LENGTH * (row.p95 or 0) / longest, 1),
            }
            for number, row in enumerate(rows)
        ],
    }
