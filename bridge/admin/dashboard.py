"""The start page: one look at everything; each figure leads to the list behind it.

Its parts are pages of their own, which the start page's script fetches at once and keeps up to date: so the cause of a trouble above them
stands there before they are counted, and no page costs many queries.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.admin import charts, sides
from bridge.admin.attention import describe_attention
from bridge.admin.base import user_of
from bridge.admin.incidents import describe_alerts
from bridge.models import Incident, Reason
from bridge.operations import dashboard
from bridge.runtime.spool import report
from bridge.runtime.spool.journal import read_status
from channels_wechat import can
from channels_wechat.contract.connection import Login
from openclaw.models import Gateway

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

# The ranges of the charts, in days.
RANGES = ((1, _("today")), (7, _("7 days")), (30, _("30 days")))


def add_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what stands on the start page itself; the theme calls it."""
    accounts = list(ChannelAccount.objects.only("name", "kind", "key", "enabled", "state"))
    gateways = list(Gateway.objects.only("name", "enabled", "state"))
    return {
        **context,
        "title": _("Dashboard"),
        "days": _read_range(request),
        "steps": _list_first_steps(accounts, gateways),
        **_read_disk(),
        **describe_attention(request),
        **describe_alerts(),
    }


def show_part(request: HttpRequest, part: str) -> HttpResponse:
    """Answer one part of the start page: `numbers` or `sides`. Raises Http404."""
    if part == "numbers":
        return render(request, "admin/bridge/dashboard/numbers.html", _read_numbers(request))
    if part == "sides":
        return render(request, "admin/bridge/dashboard/sides.html", sides.read_sides(user_of(request)))
    raise Http404


def _read_disk() -> dict[str, Any]:
    """Return what waits on disk, and what was stored there within a day."""
    spooled = Incident.objects.filter(cause=report.CAUSE, closed_at__gt=timezone.now() - timedelta(days=1))
    return {"spooled": list(spooled[:50]), "spool": read_status()}


def _read_range(request: HttpRequest) -> int:
    given = request.GET.get("days", "")
    return next((days for days, _label in RANGES if str(days) == given), 1)


def _read_numbers(request: HttpRequest) -> dict[str, Any]:
    allowed, days = user_of(request).has_perm, _read_range(request)
    board = dashboard.read_dashboard()
    names = dict(Gateway.objects.values_list("pk", "name"))
    return {
        "now": timezone.now(),
        "days": days,
        "ranges": [{"days": number, "label": label, "active": number == days} for number, label in RANGES],
        "figures": _build_figures(board) if allowed("bridge.view_delivery") else [],
        "chart": charts.build_columns(board.points_of(days), by_hour=days == 1),
        "times": charts.build_times(board.times_of(days), names),
    }


def _build_figures(board: dashboard.Dashboard) -> list[dict[str, Any]]:
    messages, deliveries = reverse("admin:bridge_message_changelist"), reverse("admin:bridge_delivery_changelist")
    dead_letters = reverse("admin:bridge_delivery_dead_letters")
    return [
        {"label": _("received today"), "value": board.incoming, "link": f"{messages}?direction__exact=in&day=today"},
        {"label": _("sent today"), "value": board.outgoing, "link": f"{messages}?direction__exact=out&day=today"},
        {
            "label": _("waiting"),
            "value": board.waiting,
            "link": f"{deliveries}?open=waiting",
            "since": board.oldest_waiting,
            "note": _("the oldest:"),
        },
        *_count_held(board, deliveries),
        _build_warning_figure(_("failed"), board.dead, f"{dead_letters}?state__exact=dead"),
        _build_warning_figure(_("uncertain"), board.uncertain, f"{dead_letters}?state__exact=uncertain"),
    ]


def _count_held(board: dashboard.Dashboard, deliveries: str) -> list[dict[str, Any]]:
    """Return a figure for what is on hold, by reason, and one for what waits for staff."""
    why = [f"{count} × {Reason(reason).label}" for reason, count in sorted(board.held_by.items())]
    figures = [{"label": _("on hold"), "value": board.held, "link": f"{deliveries}?open=held", "why": why}]
    review = board.held_by.get(Reason.REVIEW, 0)
    return [
        *figures,
        *([_build_warning_figure(_("awaiting your decision"), review, f"{deliveries}?open=review")] if review else []),
    ]


def _build_warning_figure(label: _StrOrPromise, value: int, link: str) -> dict[str, Any]:
    return {"label": label, "value": value, "link": link, "tone": "bad" if value else ""}


def _list_first_steps(accounts: list[ChannelAccount], gateways: list[Gateway]) -> list[dict[str, Any]]:
    """Return the steps that are left before the first message can be answered."""
    steps = [*_list_account_steps(accounts), *_list_gateway_steps(gateways)]
    if not accounts or not gateways:
        text = _("Then map a group or person to an agent.")
        steps.append({"text": text, "link": reverse("admin:bridge_route_add")})
    return steps


def _list_account_steps(accounts: list[ChannelAccount]) -> list[dict[str, Any]]:
    """Return the steps of the accounts; the callback address must be entered at the platform after the account is saved."""
    if not accounts:
        text = _("Add an account: the WeChat identity the agents speak as.")
        more = _("Its page then shows the callback address for the platform's console, and the button Test.")
        return [{"text": text, "more": more, "link": reverse("admin:accounts_channelaccount_add")}]
    return [_describe_account_step(account) for account in accounts if account.enabled and account.state == Health.NEW]


def _describe_account_step(account: ChannelAccount) -> dict[str, Any]:
    link = reverse("admin:accounts_channelaccount_change", args=[account.pk])
    if can(account.kind, Login):
        return {"text": _("Log %(name)s in: scan the code on its page.") % {"name": account.name}, "link": link}
    text = _("Enter the callback address of %(name)s in the platform's console, then press Test.")
    more = f"{settings.PUBLIC_URL}/callbacks/{account.key}"
    return {"text": text % {"name": account.name}, "more": more, "link": link}


def _list_gateway_steps(gateways: list[Gateway]) -> list[dict[str, Any]]:
    if not gateways:
        text = _("Add a gateway: the OpenClaw where the agents are.")
        more = _("Its page then has the button Test.")
        return [{"text": text, "more": more, "link": reverse("admin:openclaw_gateway_add")}]
    text = _("Press Test on the page of the gateway %(name)s.")
    return [
        {"text": text % {"name": gateway.name}, "link": reverse("admin:openclaw_gateway_change", args=[gateway.pk])}
        for gateway in gateways
        if gateway.enabled and gateway.state == Health.NEW
    ]
