"""A report: the figures of a range of days, grouped by account, agent, conversation, day or hour of the day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import ChannelAccount
from bridge.models import Conversation
from bridge.operations.figures.periods import KEEP, midnight
from bridge.operations.figures.reading_sql import REPORTS, ReportRow
from bridge.operations.figures.times import BUCKETS, percentile
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Sequence

# A page shows at most so many rows, those with the most messages; a file has more.
MOST_ROWS, MOST_ROWS_OF_FILE = 200, 20_000
MOST_DAYS = KEEP.days
# The total of days without a message.
NOTHING = ReportRow(None, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, [0] * BUCKETS)


class Grouping(models.TextChoices):
    DAY = "day", _("day")
    ACCOUNT = "account", _("account")
    AGENT = "agent", _("agent")
    CONVERSATION = "conversation", _("group or person")
    HOUR = "hour", _("hour of the day")


@dataclass(frozen=True)
class Line:
    """One line of a report. key: the number of the account, gateway or conversation, or the hour; text: the agent or the day.

    tokens_in counts those that a model read from its cache or wrote into it, too; cost is in dollars.
    """

    key: int | None
    text: str
    name: str
    messages_in: int
    messages_out: int
    failed: int
    uncertain: int
    questions: int
    tokens_in: int
    tokens_out: int
    cost: float
    answer_times: Sequence[int]

    @property
    def answers(self) -> int:
        return sum(self.answer_times)

    @cached_property
    def p50(self) -> float | None:
        return percentile(self.answer_times, 0.5)

    @cached_property
    def p95(self) -> float | None:
        return percentile(self.answer_times, 0.95)


@dataclass(frozen=True)
class Report:
    """is_cut: there are more lines than were asked for."""

    first: date
    last: date
    by: Grouping
    lines: list[Line]
    total: Line
    is_cut: bool


def default_range() -> tuple[date, date]:
    """Return the last seven days, today included."""
    today = timezone.localdate()
    return today - timedelta(days=6), today


def is_range(first: date, last: date) -> bool:
    """Whether a report can be made of these days: so many at most, and none at either end of the calendar."""
    return timedelta(0) <= last - first < timedelta(days=MOST_DAYS) and first > date.min and last < date.max


def build_report(first: date, last: date, by: Grouping, most: int = MOST_ROWS) -> Report:
    """Return the figures from the first day to the last, both included, in three queries."""
    days = {"first": first, "last": last, "since": midnight(first), "until": midnight(last + timedelta(days=1))}
    zone = str(timezone.get_default_timezone())
    rows = REPORTS[by.value].fetch(**days, zone=zone, most=most + 1)
    total = REPORTS["total"].fetch_one(**days, zone=zone, most=1)
    names = _read_names(by, rows[:most])
    return Report(
        first,
        last,
        by,
        [_build_line(row, names.get(row.number or 0, "")) for row in rows[:most]],
        _build_line(total or NOTHING, ""),
        len(rows) > most,
    )


def _build_line(row: ReportRow, name: str) -> Line:
    read = row.tokens_input + row.tokens_cache_read + row.tokens_cache_write
    said = (row.messages_in, row.messages_out, row.failed, row.uncertain, row.questions)
    return Line(
        row.number, row.text, name, *said, read, row.tokens_output, row.cost_microdollars / 1_000_000, row.answer_times
    )


def _read_names(by: Grouping, rows: list[ReportRow]) -> dict[int, str]:
    """Return number → name of the accounts, gateways or conversations of these rows. One query, or none."""
    numbers = [row.number for row in rows if row.number]
    tables: dict[Grouping, Any] = {
        Grouping.ACCOUNT: ChannelAccount.objects.only("name"),
        Grouping.AGENT: Gateway.objects.only("name"),
        Grouping.CONVERSATION: Conversation.objects.only("title", "peer_id"),
    }
    return {pk: str(row) for pk, row in tables[by].in_bulk(numbers).items()} if by in tables and numbers else {}
