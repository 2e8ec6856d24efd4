"""The page *Reports*: figures of a range of days by account, agent, group, day or hour of the day, and the same as CSV."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of
from bridge.admin.unfold import styled
from bridge.operations.figures.reports import (
    MOST_DAYS,
    MOST_ROWS,
    MOST_ROWS_OF_FILE,
    Grouping,
    Line,
    Report,
    build_report,
    default_range,
    is_range,
)
from bridge.ui import csv_file

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.http.response import HttpResponseBase

COLUMNS = (
    _("received"), _("sent"), _("failed"), _("uncertain"), _("questions"), _("answers"), _("p50, seconds"), _("p95, seconds"),
    _("tokens in"), _("tokens out"), _("cost, $"),
)  # fmt: skip


class RangeForm(forms.Form):
    """Its names stand in the address, so a report can be sent to a colleague."""

    first = forms.DateField(label=_("First day"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    last = forms.DateField(label=_("Last day"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    by = forms.ChoiceField(label=_("By"), choices=Grouping.choices)

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        first, last = found.get("first"), found.get("last")
        if first and last and not is_range(first, last):
            raise forms.ValidationError(
                _("The range must end after it begins, and be no longer than %(days)d days.") % {"days": MOST_DAYS}
            )
        return found


def show_reports(request: HttpRequest) -> HttpResponseBase:
    """Answer the page, or the file with `format=csv`. Raises PermissionDenied."""
    user = user_of(request)
    if not user.has_perm("bridge.view_delivery"):
        raise PermissionDenied
    form = RangeForm(_with_defaults(request))
    if not form.is_valid():
        return _render(request, {"form": styled(form)}, 400)
    chosen = form.cleaned_data
    as_file = request.GET.get("format") == "csv"
    most = MOST_ROWS_OF_FILE if as_file else MOST_ROWS
    report = build_report(chosen["first"], chosen["last"], Grouping(chosen["by"]), most)
    if as_file:
        return _as_csv(report, user)
    lines = [{"line": line, "label": _label(report, line, user), **_links(report, line, user)} for line in report.lines]
    context = {
        "form": styled(form),
        "report": report,
        "lines": lines,
        "presets": _presets(report),
        "csv": _address(report, format="csv"),
    }
    return _render(request, context)


def _with_defaults(request: HttpRequest) -> dict[str, str]:
    first, last = default_range()
    usual = {"first": first.isoformat(), "last": last.isoformat(), "by": Grouping.DAY.value}
    return {name: request.GET.get(name, value) for name, value in usual.items()}


def _render(request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": _("Reports"), **context}
    return TemplateResponse(request, "admin/bridge/dashboard/reports.html", context, status=status)


def _address(report: Report, **more: str) -> str:
    values = {"first": report.first.isoformat(), "last": report.last.isoformat(), "by": report.by.value, **more}
    return f"{reverse('reports')}?{urlencode(values)}"


def _presets(report: Report) -> list[dict[str, Any]]:
    """Return the ranges that can be had with a click."""
    today, presets = timezone.localdate(), list[dict[str, Any]]()
    for days, label in ((1, _("today")), (7, _("7 days")), (30, _("30 days")), (90, _("90 days"))):
        first = today - timedelta(days=days - 1)
        address = _address(report, first=first.isoformat(), last=today.isoformat())
        presets.append({"label": label, "address": address, "active": (report.first, report.last) == (first, today)})
    return presets


def _label(report: Report, line: Line, user: User) -> str:
    """Return what a line is about. What people call a group is shown to those who may see conversations."""
    if report.by == Grouping.AGENT:
        agent = line.text or _now("no agent")
        return f"{agent} · {line.name or f'#{line.key}'}" if line.key else agent
    if report.by == Grouping.HOUR:
        return f"{line.key:02}:00"
    if report.by == Grouping.DAY:
        return line.text
    may_see = report.by == Grouping.ACCOUNT or user.has_perm("bridge.view_conversation")
    return line.name if may_see and line.name else f"#{line.key}"


def _links(report: Report, line: Line, user: User) -> dict[str, str]:
    """Return the lists behind the figures of a line, where lists can be filtered by it."""
    days = line.text if report.by == Grouping.DAY else f"{report.first}..{report.last}"
    if report.by == Grouping.CONVERSATION:
        may_see = user.has_perm("bridge.view_conversation")
        return {"page": reverse("admin:bridge_conversation_change", args=[line.key]) if may_see else ""}
    if report.by in (Grouping.AGENT, Grouping.HOUR):
        return {}
    messages, deliveries = reverse("admin:bridge_message_changelist"), reverse("admin:bridge_delivery_changelist")
    rest: dict[str, Any] = {"day": days, **({"account__id__exact": line.key} if report.by == Grouping.ACCOUNT else {})}
    return {
        "incoming": f"{messages}?{urlencode({'direction__exact': 'in', **rest})}"
        if user.has_perm("bridge.view_message")
        else "",
        "outgoing": f"{messages}?{urlencode({'direction__exact': 'out', **rest})}"
        if user.has_perm("bridge.view_message")
        else "",
        "failed": f"{deliveries}?{urlencode({'state__exact': 'dead', **rest})}",
        "uncertain": f"{deliveries}?{urlencode({'state__exact': 'uncertain', **rest})}",
    }


def _as_csv(report: Report, user: User) -> StreamingHttpResponse:
    """Return the report as a file that spreadsheets read, with a mark by which they know its encoding."""
    lines = [[_label(report, line, user), *_values(line)] for line in report.lines]
    text = csv_file.ENCODING_MARK + csv_file.format_lines([[report.by.label, *COLUMNS], *lines])
    return csv_file.build_response(f"report-{report.by.value}-{report.first}-{report.last}", [text])


def _values(line: Line) -> list[Any]:
    seconds = ["" if each is None else round(each, 1) for each in (line.p50, line.p95)]
    said = [line.messages_in, line.messages_out, line.failed, line.uncertain, line.questions, line.answers]
    return [*said, *seconds, line.tokens_in, line.tokens_out, round(line.cost, 6)]
