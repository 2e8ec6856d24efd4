"""Why deliveries failed, counted: by state, reason and code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count

from bridge.admin.filters import CodeFilter
from bridge.models import Delivery, Reason, State
from bridge.operations.dashboard import DEAD
from bridge.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

# At most so many codes are listed.
MAX_CODES = 60


class Failures(NamedTuple):
    """How many failures have the same state, reason and code."""

    state: str
    reason: str
    code: str
    number: int


class FailureCodeFilter(CodeFilter):
    """Offers the codes of the failures that nobody has dismissed."""

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        chosen = request.GET.get("code", "")
        return [
            (code, code)
            for code in sorted({*(each.code for each in _select_coded(count_failures(request))), chosen} - {""})
        ]


class PossibleStates(admin.ChoicesFieldListFilter):
    """A filter that offers only the choices of a field that dead letters can have."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        everything, *each = super().choices(changelist)
        possible = {str(label) for label in self.possible()}
        yield everything
        yield from sorted((one for one in each if str(one["display"]) in possible), key=lambda one: str(one["display"]))

    def possible(self) -> list[Any]:
        return [State.DEAD.label, State.UNCERTAIN.label]


class PossibleReasons(PossibleStates):
    """Offers the reasons that occur now, and the chosen one; with a search all of them, because a search has its own queries."""

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **fields: Any) -> None:
        super().__init__(field, request, *args, **fields)
        self.reasons = Reason.values if request.GET.get("q") else [each.reason for each in count_failures(request)]

    def possible(self) -> list[Any]:
        return [Reason(reason).label for reason in {*self.reasons, *(self.lookup_val or [])} & {*Reason.values}]


def list_causes(request: HttpRequest) -> list[dict[str, Any]]:
    """Count the failures with the same state and reason, most frequent first, with their most frequent codes."""
    failures = count_failures(request)
    totals: Counter[tuple[str, str]] = Counter()
    for each in failures:
        totals[each.state, each.reason] += each.number
    coded = _select_coded(failures)
    return [
        {
            "state": formatting.badge(State(state).label, formatting.STATE_TONES[State(state)]),
            "reason": Reason(reason).label,
            "codes": [
                {"code": each.code, "count": each.number, "query": _build_query(*each[:3])}
                for each in coded
                if each[:2] == (state, reason)
            ],
            "count": count,
            "query": _build_query(state, reason),
        }
        for (state, reason), count in totals.most_common()
    ]


def _select_coded(failures: list[Failures]) -> list[Failures]:
    """Return the most frequent ones with a code that says more than the reason does."""
    return [each for each in failures if each.code not in ("", each.reason)][:MAX_CODES]


def count_failures(request: HttpRequest) -> list[Failures]:
    """Count the failures that nobody has dismissed, most frequent first; one query for each request."""
    found: list[Failures] | None = getattr(request, "failures", None)
    if found is None:
        groups = Delivery.objects.filter(DEAD).order_by().values_list("state", "reason", "code")
        found = [Failures(*row) for row in groups.annotate(n=Count("id")).order_by("-n", "code")]
        request.failures = found  # type: ignore[attr-defined]  # for the next filter
    return found


def _build_query(state: str, reason: str, code: str = "") -> str:
    return "?" + urlencode({"state__exact": state, "reason__exact": reason, **({"code": code} if code else {})})
