"""Which deliveries a replay is about: a filter of named values, as an address, a request of the API and a row have them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from bridge.models import Delivery, Message, Reason, State, Target
from bridge.models.replays import targets_of
from bridge.operations.replay import REPLAYABLE
from bridge.ui import search

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

# Name in an address → column of a delivery.
NUMBERS = {
    "account": "account_id",
    "gateway": "gateway_id",
    "route": "route_id",
    "conversation": "message__conversation_id",
    "endpoint": "endpoint_id",
}
WORDS = ("state", "reason", "code", "direction", "text")
NAMES = (*NUMBERS, *WORDS, "from", "to")
CHOICES = {"state": [str(one) for one in REPLAYABLE], "reason": Reason.values, "direction": Target.values}
# What failed and is open; skipped ones are meant only where the filter names their state or a reason.
FAILED = (State.DEAD, State.UNCERTAIN)
LARGEST, LONGEST = 2**63 - 1, 200
# Python cannot read what PostgreSQL stores of times beyond these years in every zone.
FIRST_YEAR, LAST_YEAR = 1970, 9998


class WrongFilter(ValueError):
    """A value is not allowed. name: of which one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class ReplayFilter:
    """Empty values filter nothing. from_at, to_at: when it failed or was skipped; the first belongs to the range, the last does not."""

    account: int | None = None
    gateway: int | None = None
    route: int | None = None
    conversation: int | None = None
    endpoint: int | None = None
    state: str = ""
    reason: str = ""
    code: str = ""
    direction: str = ""
    text: str = ""
    from_at: datetime | None = None
    to_at: datetime | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> ReplayFilter:
        """Read values as an address has them; names that are no filter's are left out. Raises WrongFilter."""
        values: dict[str, Any] = {name: _number(name, given.get(name)) for name in NUMBERS}
        values |= {name: _word(name, given.get(name)) for name in WORDS}
        found = cls(**values, from_at=_moment("from", given.get("from")), to_at=_moment("to", given.get("to")))
        if found.from_at and found.to_at and found.from_at >= found.to_at:
            raise WrongFilter("to")
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the values that filter something, under the names of an address."""
        values = asdict(self)
        moments = {"from": values.pop("from_at"), "to": values.pop("to_at")}
        given = {name: value for name, value in values.items() if value}
        return given | {name: moment.isoformat() for name, moment in moments.items() if moment}

    def query_string(self) -> str:
        return urlencode(self.as_json())

    def select(self, kind: str, last_id: int, until: datetime) -> QuerySet[Delivery]:
        """Return the deliveries that are meant and that nobody has dismissed, up to this number and this moment."""
        rows = Delivery.objects.filter(pk__lte=last_id, dismissed_at=None, finished_at__lt=until)
        rows = rows.filter(state__in=self.states, target__in=self._targets(kind))
        numbers = {column: getattr(self, name) for name, column in NUMBERS.items() if getattr(self, name)}
        rows = rows.filter(
            **numbers, **{name: getattr(self, name) for name in ("reason", "code") if getattr(self, name)}
        )
        if self.from_at:
            rows = rows.filter(finished_at__gte=self.from_at)
        if self.text:
            rows = rows.filter(message__in=search.holding(Message.objects.all(), self.text).values("pk"))
        return rows

    @property
    def states(self) -> tuple[str, ...]:
        if self.state:
            return (self.state,)
        return REPLAYABLE if self.reason else FAILED

    def _targets(self, kind: str) -> list[str]:
        return [target for target in targets_of(kind) if self.direction in ("", target)]


def _number(name: str, value: Any) -> int | None:
    if value in (None, ""):
        return None
    text = str(value)
    if (
        isinstance(value, bool)
        or not (text.isascii() and text.isdigit())
        or len(text) > 19
        or not 0 < int(text) <= LARGEST
    ):
        raise WrongFilter(name)
    return int(text)


def _word(name: str, value: Any) -> str:
    text = str(value or "").strip()
    if len(text) > LONGEST or "\0" in text or (text and name in CHOICES and text not in CHOICES[name]):
        raise WrongFilter(name)
    return text


def _moment(name: str, value: Any) -> datetime | None:
    """Read ISO 8601; without a zone it is local time."""
    if not value:
        return None
    try:
        found = value if isinstance(value, datetime) else parse_datetime(str(value))
    except ValueError:
        found = None
    if found is None or not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise WrongFilter(name)
    return found if timezone.is_aware(found) else timezone.make_aware(found)
