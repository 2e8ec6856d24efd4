"""Why deliveries failed, counted: by state, reason and code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, F
from django.utils.translation import gettext_lazy as _

from bridge.models import Delivery, Reason, State
from bridge.operations.dashboard import DEAD
from bridge.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest

# So many codes are listed at most.
MAX_CODES = 60


class CodeFilter(admin.SimpleListFilter):
    """Those that failed with this code."""

    title, parameter_name = _("code"), "code"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        chosen = request.GET.get("code", "")
        return [(code, code) for code in sorted({code for _s, _r, code, _n in counted()} | ({chosen} - {""}))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(code=value) if value else queryset


class PossibleStates(admin.ChoicesFieldListFilter):
    """Of a field's choices those that dead letters can have, by their words."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        everything, *each = super().choices(changelist)
        possible = {str(label) for label in self.possible()}
        yield everything
        yield from sorted((one for one in each if str(one["display"]) in possible), key=lambda one: str(one["display"]))

    def possible(self) -> list[Any]:
        return [State.DEAD.label, State.UNCERTAIN.label]


class PossibleReasons(PossibleStates):
    """Those that there are now, and the chosen one; beside a search all, because a search costs its own queries."""

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **fields: Any) -> None:
        super().__init__(field, request, *args, **fields)
        self.searches = bool(request.GET.get("q"))

    def possible(self) -> list[Any]:
        if self.searches:
            return [reason.label for reason in Reason]
        found = Delivery.objects.filter(DEAD).order_by().values_list("reason", flat=True).distinct()
        return [Reason(reason).label for reason in {*found, *(self.lookup_val or [])} & {*Reason.values}]


def causes() -> list[dict[str, Any]]:
    """How many failures have the same state and reason, most frequent first, with the codes behind them; two queries."""
    rows = Delivery.objects.filter(DEAD).order_by().values_list("state", "reason").annotate(n=Count("id"))
    codes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for state, reason, code, n in counted():
        query = _query(state, reason, code)
        codes.setdefault((state, reason), []).append({"code": code, "count": n, "query": query})
    return [
        {
            "state": formatting.badge(State(state).label, formatting.STATE_TONES[State(state)]),
            "reason": Reason(reason).label,
            "codes": codes.get((state, reason), []),
            "count": count,
            "query": _query(state, reason),
        }
        for state, reason, count in rows.order_by("-n")
    ]


def counted() -> list[tuple[str, str, str, int]]:
    """State, reason, code, and how many failures ended so; a code that only repeats the reason is left out."""
    rows = Delivery.objects.filter(DEAD).exclude(code="").exclude(code=F("reason")).order_by()
    groups = rows.values_list("state", "reason", "code").annotate(n=Count("id"))
    return list(groups.order_by("-n", "code")[:MAX_CODES])


def _query(state: str, reason: str, code: str = "") -> str:
    return "?" + urlencode({"state__exact": state, "reason__exact": reason, **({"code": code} if code else {})})
