"""The result of a person's last replay: how many deliveries arrived, how many wait, and how many failed again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import local_path, user_of
from bridge.models import Delivery, State
from bridge.security.permissions import hide_errors, may_read
from bridge.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.http import HttpRequest, HttpResponse

    from bridge.admin.base import BridgeAdmin

    Page = TypeVar("Page", bound=HttpResponse)

OPEN = (State.PENDING, State.SENDING)
# How often a page is read anew while something on it is on its way, and for how long after it was queued. Seconds.
REFRESH_SECONDS = 3
CURRENT = timedelta(minutes=10)
SHOWN = 50


def remember_replay(request: HttpRequest, ids: Collection[int]) -> None:
    request.session["replayed"] = {"ids": sorted(ids), "back": ""}


def has_report(request: HttpRequest, verb: str, back: str) -> bool:
    """Whether a report is shown, which is not needed for a single delivery. back: the page that the person came from."""
    kept = request.session.get("replayed")
    if verb != "replay" or not kept or len(kept["ids"]) < 2:
        return False
    request.session["replayed"] = {**kept, "back": back}
    return True


def show_report(page_admin: BridgeAdmin[Delivery], request: HttpRequest) -> HttpResponse:
    """Show the page of this person's last replay."""
    page_admin.require(request, "bridge.replay_delivery")
    kept = request.session.get("replayed", {"ids": [], "back": ""})
    rows = Delivery.objects.filter(pk__in=kept["ids"])
    counts = dict(rows.order_by().values_list("state").annotate(n=Count("pk")))
    left = list(
        rows.exclude(state=State.DELIVERED).select_related("account", "message__conversation").order_by("id")[:SHOWN]
    )
    if not may_read(user_of(request)):
        hide_errors(left)
    context: dict[str, Any] = {
        "total": len(kept["ids"]),
        "went": counts.get(State.DELIVERED, 0),
        "counts": [
            (formatting.badge(state.label, formatting.STATE_TONES[state]), counts[state])
            for state in State
            if state in counts
        ],
        "gone": len(kept["ids"]) - sum(counts.values()),
        "left": left,
        "back": local_path(kept["back"], page_admin.url("dead_letters")),
    }
    return refresh_while_moving(page_admin.page(request, "admin/bridge/replayed.html", _("Replayed"), **context), left)


def refresh_while_moving(page: Page, rows: Iterable[Delivery]) -> Page:
    """Let the browser reload the page while deliveries that were just replayed are on their way."""
    since = timezone.now() - CURRENT
    if any(row.state in OPEN and row.replays and row.queued_at > since for row in rows):
        page.headers["Refresh"] = str(REFRESH_SECONDS)
    return page
