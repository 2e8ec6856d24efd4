"""Replays: the plan, its run with live progress, its items and its report."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import ReadOnlyAdmin, user_of
from bridge.admin.export import Column, columns
from bridge.admin.paging import row_number
from bridge.admin.replay_changes import build_form
from bridge.admin.unfold import styled
from bridge.models import Delivery, Outlook, ReplayItem, ReplayKind, ReplayResult, ReplayRun, ReplayState, State, Target
from bridge.models.replays import IMPOSSIBLE, MAX_RATE, targets_of
from bridge.operations.obstacles import explain_detail
from bridge.operations.replays import control, plan
from bridge.operations.replays.filters import NAMES, ReplayFilter, WrongFilter
from bridge.security.permissions import may_read, may_write
from bridge.ui import csv_file, formatting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest, StreamingHttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

RIGHT = "bridge.replay_delivery"
SHOWN = 100
# The report is read in pages of so many items.
REPORT_ROWS = 1000
STATE_TONES = {
    ReplayState.PLANNED: "info",
    ReplayState.RUNNING: "info",
    ReplayState.PAUSED: "warn",
    ReplayState.CANCELLED: "quiet",
    ReplayState.FINISHED: "good",
}


class PlanForm(forms.Form):
    """The filter of a plan. Its names are those of the address."""

    kind = forms.ChoiceField(label=_("What is done"), choices=ReplayKind.choices)
    name = forms.CharField(label=_("Name"), max_length=100, required=False)
    account = forms.IntegerField(label=_("Account (number)"), required=False)
    gateway = forms.IntegerField(label=_("Gateway (number)"), required=False)
    route = forms.IntegerField(label=_("Mapping (number)"), required=False)
    conversation = forms.IntegerField(label=_("Conversation (number)"), required=False)
    endpoint = forms.IntegerField(label=_("Webhook (number)"), required=False)
    direction = forms.ChoiceField(label=_("To"), choices=[("", "–"), *Target.choices], required=False)
    state = forms.ChoiceField(
        label=_("State"),
        choices=[
            ("", _("failed or uncertain")),
            *[(one, State(one).label) for one in ("dead", "uncertain", "skipped")],
        ],
        required=False,
    )
    reason = forms.CharField(label=_("Reason"), max_length=16, required=False)
    code = forms.CharField(label=_("Code"), max_length=64, required=False)
    text = forms.CharField(label=_("Text"), max_length=200, required=False)
    # `from` is a word of Python's own, so these are added by name.
    before = forms.CharField(
        label=_("A sentence before it"),
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("When sending again: said before each text, for example an apology."),
    )
    agent = forms.CharField(
        label=_("Another agent"), max_length=64, required=False, help_text=_("When asking again: its id.")
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        try:
            self.wanted = ReplayFilter.parse({name: cleaned.get(name) for name in NAMES})
        except WrongFilter as wrong:
            self.add_error(wrong.name, _("This is not understood."))
        return cleaned

    @property
    def changes(self) -> dict[str, Any]:
        name = "agent" if self.cleaned_data["kind"] == ReplayKind.ASK else "before"
        value = self.cleaned_data.get(name, "").strip()
        return {name: value} if value else {}


for _name, _label in (("from", _("Failed from")), ("to", _("Failed until"))):
    PlanForm.base_fields[_name] = forms.CharField(
        label=_label, required=False, help_text=_("Date and time, like 2026-01-31 14:00.")
    )


@admin.register(ReplayRun)
class ReplayRunAdmin(ReadOnlyAdmin[ReplayRun]):
    list_display = ("name", "kind", "state_label", "progress", "created_by", "when")
    list_select_related = ("created_by",)
    list_filter = ("state", "kind")
    sortable_by = ()
    exported = columns(
        Column("id", _("number")),
        "name",
        "kind",
        "state",
        "total",
        "chosen",
        Column("done", _("done")),
        "rate",
        "created_by",
        "created_at",
        "started_by",
        "started_at",
        "finished_at",
    )
    empty_hint = _("Choose failures in the dead letters and press Replay…, or add a plan here.")
    buttons = dict.fromkeys(("run", "pause", "resume", "cancel", "undo", "look_again", "change_before"), RIGHT)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return user_of(request).has_perm("bridge.view_delivery")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return user_of(request).has_perm(RIGHT)

    @admin.display(description=_("state"))
    def state_label(self, run: ReplayRun) -> SafeString:
        return formatting.badge(run.get_state_display(), STATE_TONES[ReplayState(run.state)])

    @admin.display(description=_("progress"))
    def progress(self, run: ReplayRun) -> str:
        return f"{run.done} / {run.chosen}"

    @admin.display(description=_("when"))
    def when(self, run: ReplayRun) -> SafeString | str:
        return formatting.relative_time(run.started_at or run.created_at)

    def get_urls(self) -> list[URLPattern]:
        live = self.route("<int:pk>/live/", self.live_view, "live")
        report = self.route("<int:pk>/report.csv", self.report_view, "report")
        return [live, report, *super().get_urls()]

    # --- a plan is made

    def add_view(self, request, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        """Show the filter of the address; a POST makes the plan."""
        self.require(request, RIGHT)
        given = {name: request.GET[name] for name in (*NAMES, "kind", "name") if name in request.GET}
        given.setdefault("kind", ReplayKind.ASK if given.get("direction") == Target.AGENT else ReplayKind.AGAIN)
        form = styled(PlanForm(request.POST or None, initial=given))
        for name, is_allowed in (("text", may_read), ("before", may_write)):
            if not is_allowed(user_of(request)):
                del form.fields[name]
        if request.method == "POST" and form.is_valid() and (run := self._plan(request, form)):
            return self.redirect_to(run)
        return self.page(request, "admin/bridge/replay_add.html", _("Plan a replay"), form=form)

    def _plan(self, request: HttpRequest, form: PlanForm) -> ReplayRun | None:
        given = form.cleaned_data
        try:
            return plan.make_plan(
                given["kind"], form.wanted, name=given["name"], changes=form.changes, by=user_of(request)
            )
        except plan.CannotPlan as refused:
            form.add_error(None, str(refused))
            return None

    # --- the page of a run

    def change_view(self, request, object_id, form_url="", extra_context=None) -> HttpResponse:  # type: ignore[no-untyped-def]
        run = self.get_or_404(request, object_id)
        context = {**_describe(run), **_items(request, run)}
        if run.state == ReplayState.PLANNED and user_of(request).has_perm(RIGHT):
            context["changes_form"] = build_form(run, user_of(request))
        return self.page(request, "admin/bridge/replay.html", _("Replay: %(name)s") % {"name": run}, run, **context)

    def live_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer with the part of the page that is kept up to date."""
        run = self.get_or_404(request, pk)
        return render(request, "admin/bridge/replay_progress.html", _describe(run))

    def report_view(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        """Answer with every item as CSV."""
        run = self.get_or_404(request, pk)
        return csv_file.build_response(f"replay-{run.pk}", _write_report(run))

    # --- its buttons

    def run_run(self, request: HttpRequest, run: ReplayRun) -> None:
        outlooks = [one for one in request.POST.getlist("outlook") if one in Outlook.values]
        single = [number for text in request.POST.getlist("delivery") if (number := row_number(text))]
        rate = min(row_number(request.POST.get("rate", "")) or run.rate, MAX_RATE)
        # The boxes of what has an unknown outcome say that it may arrive twice.
        chosen: dict[str, Any] = {"outlooks": outlooks, "deliveries": single, "twice": True}
        self._control(request, run, lambda: control.start(run, user_of(request), **chosen, rate=rate))

    def run_pause(self, request: HttpRequest, run: ReplayRun) -> None:
        self._control(request, run, lambda: control.pause(run))

    def run_resume(self, request: HttpRequest, run: ReplayRun) -> None:
        self._control(request, run, lambda: control.resume(run))

    def run_cancel(self, request: HttpRequest, run: ReplayRun) -> None:
        self._control(request, run, lambda: control.cancel(run))

    def run_undo(self, request: HttpRequest, run: ReplayRun) -> None:
        count = self._control(request, run, lambda: control.undo(run))
        if count is not None:
            text = ngettext("%(n)d delivery was taken back.", "%(n)d deliveries were taken back.", count)
            messages.success(request, text % {"n": count})

    def run_look_again(self, request: HttpRequest, run: ReplayRun) -> None:
        self._control(request, run, lambda: control.look_again(run))

    def run_change_before(self, request: HttpRequest, run: ReplayRun) -> None:
        form = build_form(run, user_of(request), request.POST)
        if form.is_valid():
            self._control(request, run, lambda: control.change(run, form.changed_values()))
        for name, errors in form.errors.items():
            messages.error(request, f"{form.fields[name].label}: {' '.join(map(str, errors))}")

    def _control(self, request: HttpRequest, run: ReplayRun, act: Any) -> Any:
        try:
            return act()
        except control.CannotControl as refused:
            messages.error(request, str(refused))
            return None


def plan_chosen(request: HttpRequest, rows: QuerySet[Delivery]) -> HttpResponse:
    """Make a plan of the chosen deliveries, for each kind that fits some of them, and lead to the larger one."""
    made: list[ReplayRun] = []
    for kind in ReplayKind.values:
        fitting = Delivery.objects.filter(pk__in=rows.order_by().values("pk"), target__in=targets_of(kind))
        try:
            made.append(plan.plan_rows(kind, fitting, by=user_of(request), until_at=timezone.now()))
        except plan.CannotPlan as refused:
            if refused.code == "too_many":
                messages.error(request, str(refused))
    if not made:
        return HttpResponseRedirect(request.get_full_path())
    made.sort(key=lambda run: -run.total)
    page = ReplayRunAdmin(ReplayRun, admin.site)
    for other in made[1:]:
        text = _("The others are in a plan of their own, because they are replayed in another way: %(name)s.")
        messages.info(request, text % {"name": other})
    return page.redirect_to(made[0])


def _describe(run: ReplayRun) -> dict[str, Any]:
    counts = [(ReplayResult(result).label, count) for result, count in run.results.items()]
    groups = [_describe_group(run, group) for group in run.groups]
    waiting = run.chosen - sum(run.results.values()) if run.started_at else 0
    return {
        "replay": run,
        "badge": formatting.badge(run.get_state_display(), STATE_TONES[ReplayState(run.state)]),
        "groups": groups,
        "can_run": any(group["possible"] for group in groups),
        "counts": counts,
        "waiting": waiting,
        "percent": round(100 * run.done / run.chosen) if run.chosen else 0,
        "verbs": [verb for verb, states in control.ALLOWED.items() if run.state in states and run.started_at],
        "is_planned": run.state == ReplayState.PLANNED,
        "is_live": run.state in (ReplayState.RUNNING, ReplayState.PAUSED) or run.results.get(ReplayResult.QUEUED, 0),
    }


def _describe_group(run: ReplayRun, group: dict[str, Any]) -> dict[str, Any]:
    outlook = Outlook(group["planned"])
    return {
        **group,
        "outlook": outlook,
        "detail": explain_detail(group["detail"]) if group["detail"] else "",
        "oldest": datetime.fromisoformat(group["oldest"]),
        "newest": datetime.fromisoformat(group["newest"]),
        "possible": outlook not in IMPOSSIBLE,
        "chosen": outlook in plan.CHOSEN[ReplayKind(run.kind)],
        "warning": _warn(run, outlook),
    }


def _warn(run: ReplayRun, outlook: Outlook) -> str:
    """Return what choosing this group means, where that is not plain."""
    if outlook == Outlook.UNKNOWN:
        return gettext("These may have arrived. Where you choose them, people may see them twice.")
    if outlook != Outlook.TOO_OLD:
        return ""
    ages = {name: _span(getattr(settings, f"MAX_AGE_{name.upper()}")) for name in ("question", "answer", "webhook")}
    if run.kind == ReplayKind.ASK:
        text = _(
            "After %(question)s the bridge answers a question no more. "
            "Where you choose these, the agent is asked now, however late that is."
        )
    else:
        text = _(
            "The bridge gives an answer up after %(answer)s, and the call of a webhook after %(webhook)s. "
            "Where you choose these, they are sent now, however late that is."
        )
    return str(text) % ages


def _span(seconds: float) -> str:
    now = timezone.now()
    return timesince(now - timedelta(seconds=seconds), now)


def _items(request: HttpRequest, run: ReplayRun) -> dict[str, Any]:
    """Return a page of the items, filtered by the address: outlook, result, and after which delivery."""
    rows = ReplayItem.objects.filter(run=run)
    chosen = {"planned": request.GET.get("outlook", ""), "result": request.GET.get("result", "")}
    known = {"planned": Outlook.values, "result": ReplayResult.values}
    rows = rows.filter(**{name: value for name, value in chosen.items() if value in known[name]})
    after = row_number(request.GET.get("after", "")) or 0
    found = list(rows.filter(delivery__gt=after).order_by("delivery_id")[: SHOWN + 1])
    for item in found:
        item.why = explain_detail(item.detail) if item.detail else ""  # type: ignore[attr-defined]  # for the page
    return {
        "items": found[:SHOWN],
        "more": found[SHOWN - 1].delivery_id if len(found) > SHOWN else None,
        "shown": chosen,
        "outlooks": Outlook.choices,
        "all_results": ReplayResult.choices,
    }


def _write_report(run: ReplayRun) -> Iterator[str]:
    """Yield the lines of the report: no text of anybody, so whoever sees deliveries may have it."""
    names = ("delivery_id", "planned", "chosen", "result", "detail")  # for scripts, like the values
    yield csv_file.ENCODING_MARK + csv_file.format_lines([names])
    rows = ReplayItem.objects.filter(run=run).order_by("delivery_id").values_list(*names)
    page = list(rows[:REPORT_ROWS])
    while page:
        yield csv_file.format_lines([(number, planned, str(chosen), *rest) for number, planned, chosen, *rest in page])
        page = list(rows.filter(delivery__gt=page[-1][0])[:REPORT_ROWS])
