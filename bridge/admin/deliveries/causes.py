"""Why deliveries failed, counted: by state, reason and code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, F

from bridge.admin.filters import CodeFilter
from bridge.models import Delivery, Reason, State
from bridge.operations.dashboard import DEAD
from bridge.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

# At most so many codes are listed.
MAX_CODES = 60


class FailureCodeFilter(CodeFilter):
    """Offers the codes of the failures that nobody has dismissed."""

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        chosen = request.GET.get("code", "")
        return [(code, code) for code in sorted({code for _s, _r, code, _n in count_failures()} | ({chosen} - {""}))]


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
        self.searches = bool(request.GET.get("q"))

    def possible(self) -> list[Any]:
        if self.searches:
            return [reason.label for reason in Reason]
        found = Delivery.objects.filter(DEAD).order_by().values_list("reason", flat=True).distinct()
        return [Reason(reason).label for reason in {*found, *(self.lookup_val or [])} & {*Reason.values}]


def list_causes() -> list[dict[str, Any]]:
    """Count the failures with the same state and reason, most frequent first, with their codes; two queries."""
    rows = Delivery.objects.filter(DEAD).order_by().values_list("state", "reason").annotate(n=Count("id"))
    codes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for state, reason, code, n in count_failures():
        query = _build_query(state, reason, code)
        codes.setdefault((state, reason), []).append({"code": code, "count": n, "query": query})
    return [
        {
            "state": formatting.badge(State(state).label, formatting.STATE_TONES[State(state)]),
            "reason": Reason(reason).label,
            "codes": codes.get((state, reason), []),
            "count": count,
            "query": _build_query(state, reason),
        }
        for state, reason, count in rows.order_by("-n")
    ]


def count_failures() -> list[tuple[str, str, str, int]]:
    """Return state, reason, code, and the number of such failures; a code that only repeats the reason is left out."""
    rows = Delivery.objects.filter(DEAD).exclude(code="").exclude(code=F("reason")).order_by()
    groups = rows.values_list("state", "reason", "code").annotate(n=Count("id"))
    return list(groups.order_by("-n", "code")[:MAX_CODES])


def _build_query(state: str, reason: str, code: str = "") -> str:
    return "?" + urlencode({"state__exact": state, "reason__exact": reason, **({"code": code} if code else {})})
