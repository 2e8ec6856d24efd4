"""Replay, release and dismiss for many deliveries at once: a page that asks first, then the work and its audit entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest
from django.http import HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext

from bridge.admin.base import ReadOnlyAdmin, local_path, user_of
from bridge.admin.decisions import VERBS
from bridge.admin.deliveries import replay_report
from bridge.admin.paging import row_number
from bridge.admin.replays import plan_chosen
from bridge.models import Delivery, State
from bridge.operations import replay
from bridge.security import audit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest

# One confirmation covers at most so many deliveries; further ones must be selected again.
BULK_SIZE = 1000


class BulkAdmin(ReadOnlyAdmin[Delivery]):
    """The actions of the lists of deliveries, and the page that confirms them."""

    actions = ("replay_selected", "release_selected", "dismiss_selected")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return user_of(request).has_perm("bridge.replay_delivery")

    def has_dismiss_permission(self, request: HttpRequest) -> bool:
        return user_of(request).has_perm("bridge.dismiss_delivery")

    @admin.action(description=_("Replay…"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        """Make a plan of all that are chosen; a single one needs none."""
        chosen = list(queryset.values_list("pk", flat=True)[:2])
        return self.ask_first(request, "replay", chosen) if len(chosen) == 1 else plan_chosen(request, queryset)

    @admin.action(description=_("Release…"), permissions=["replay"])
    def release_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        return self.ask_first(request, "release", queryset.values_list("pk", flat=True)[: BULK_SIZE + 1])

    @admin.action(description=_("Dismiss…"), permissions=["dismiss"])
    def dismiss_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        return self.ask_first(request, "dismiss", queryset.values_list("pk", flat=True)[: BULK_SIZE + 1])

    def ask_first(self, request: HttpRequest, verb: str, ids: Iterable[int]) -> HttpResponse:
        """Show what will happen, to how many deliveries, and to which it will not."""
        chosen = list(ids)
        rows = Delivery.objects.filter(pk__in=chosen[:BULK_SIZE]).order_by("id")
        rows = rows.select_related(
            "account", "endpoint", "message__account", "message__reply_to", "message__conversation"
        )
        plan = [(row, _why_not(verb, row)) for row in rows]
        going = [row for row, reason in plan if not reason]
        refused = [(row, reason) for row, reason in plan if reason]
        context: dict[str, Any] = {
            "verb": verb,
            "going": going[:50],
            "count": len(going),
            "ids": ",".join(str(row.pk) for row in going),
            "refused": refused[:50],
            "refused_count": len(refused),
            "uncertain": len(replay.find_possible_repeats(going)) if verb == "replay" else 0,
            "held": sum(row.state == State.HELD for row in going),
            "to_agent": sum(row.target == "agent" for row in going),
            "more": len(chosen) > BULK_SIZE,
            "back": local_path(request.POST.get("back") or request.get_full_path(), self.url("changelist")),
        }
        titles = {"replay": _("Replay?"), "release": _("Release?"), "dismiss": _("Dismiss?")}
        return self.page(request, "admin/bridge/confirm.html", titles[verb], **context)

    def confirm_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation at the first POST; do it at the second, with `sure`. ids: numbers with commas."""
        verb = request.POST.get("verb", "")
        if verb not in VERBS:
            raise BadRequest
        self.require(request, VERBS[verb])
        numbers = map(row_number, request.POST.get("ids", "").split(","))
        ids = [number for number in numbers if number is not None][:BULK_SIZE]
        if "sure" not in request.POST:
            return self.ask_first(request, verb, ids)
        {"replay": self._replay, "release": self._release, "dismiss": self._dismiss}[verb](request, ids)
        back = local_path(request.POST.get("back", ""), self.url("changelist"))
        return HttpResponseRedirect(self.url("replayed") if replay_report.has_report(request, verb, back) else back)

    def _replay(self, request: HttpRequest, ids: list[int]) -> None:
        done = replay.replay(ids, user_of(request), twice="twice" in request.POST)
        replay_report.remember_replay(request, set(ids) - {pk for pk, _reason in done.refused})
        if done.count:
            text = ngettext("%(n)d delivery is queued again.", "%(n)d deliveries are queued again.", done.count)
            messages.success(request, text % {"n": done.count})
        self._done(request, ids, done, gettext_noop("replayed"))

    def _release(self, request: HttpRequest, ids: list[int]) -> None:
        done = replay.release(ids, user_of(request))
        if done.count:
            text = ngettext("%(n)d delivery is released.", "%(n)d deliveries are released.", done.count)
            messages.success(request, text % {"n": done.count})
        self._done(request, ids, done, gettext_noop("released"))

    def _done(self, request: HttpRequest, ids: list[int], done: replay.ReplayResult, word: str) -> None:
        for pk, reason in done.refused[:20]:
            messages.warning(request, f"#{pk}: {reason}")
        self._log(request, set(ids) - {pk for pk, _reason in done.refused}, word)

    def _dismiss(self, request: HttpRequest, ids: list[int]) -> None:
        states = (*replay.REPLAYABLE, State.HELD)
        waiting = Delivery.objects.filter(pk__in=ids, state__in=states, dismissed_at=None)
        ids = list(waiting.values_list("pk", flat=True))
        count = replay.dismiss(ids, user_of(request))
        text = ngettext("%(n)d delivery is dismissed.", "%(n)d deliveries are dismissed.", count)
        messages.success(request, text % {"n": count})
        self._log(request, ids, gettext_noop("dismissed"))

    def _log(self, request: HttpRequest, ids: Iterable[int], word: str) -> None:
        rows = list(Delivery.objects.filter(pk__in=ids).only("pk"))
        LogEntry.objects.log_actions(user_of(request).pk, rows, CHANGE, word)
        audit.log_action(word, rows)


def _why_not(verb: str, delivery: Delivery) -> str:
    reasons = {"replay": replay.why_not_replay, "release": replay.why_not_release, "dismiss": replay.why_not_dismiss}
    return reasons[verb](delivery)
