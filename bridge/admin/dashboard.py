"""The start page: one look at everything; each figure leads to the list behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.health import Health
from bridge.admin.base import user_of
from bridge.admin.incidents import describe_alerts
from bridge.models import Reason
from bridge.operations import dashboard
from channels_wechat import can
from channels_wechat.contract.connection import Login

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

    from accounts.models import ChannelAccount
    from openclaw.models import Gateway

# The chart's inner size in its own units; the browser scales it.
WIDTH, HEIGHT, SLOT = 480, 100, 20


def add_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the figures to the start page; the theme calls it."""
    allowed = user_of(request).has_perm
    board = dashboard.read_dashboard()
    for row in board.accounts:
        row.waiting = board.waits_for_account.get(row.pk, 0)  # type: ignore[attr-defined]  # for its column
    for home in board.gateways:
        home.waiting = board.waits_for_gateway.get(home.pk, 0)  # type: ignore[attr-defined]  # for its column
    return {
        **context,
        "title": _("Dashboard"),
        "board": board,
        "figures": _build_figures(board) if allowed("bridge.view_delivery") else [],
        "bars": _build_bars(board.hours),
        "chart": {"width": WIDTH, "height": HEIGHT, "peak": _find_peak(board.hours)},
        "steps": _list_first_steps(board),
        **describe_alerts(),
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


def _find_peak(hours: list[dashboard.Hour]) -> int:
    return max((max(hour.incoming, hour.outgoing) for hour in hours), default=0)


def _build_bars(hours: list[dashboard.Hour]) -> list[dict[str, Any]]:
    """Return two bars for each hour, in the chart's units."""
    scale = HEIGHT / (_find_peak(hours) or 1)
    bars = []
    for hour in hours:
        tall_in, tall_out = round(hour.incoming * scale, 1), round(hour.outgoing * scale, 1)
        left = hour.hour * SLOT
        bars.append(
            {
                "hour": hour,
                "in": {"x": left + 2, "y": HEIGHT - tall_in, "height": tall_in},
                "out": {"x": left + 10, "y": HEIGHT - tall_out, "height": tall_out},
                "label": {"x": left + 2, "text": f"{hour.hour:02}"} if hour.hour % 3 == 0 else None,
            }
        )
    return bars


def _list_first_steps(board: dashboard.Dashboard) -> list[dict[str, Any]]:
    """Return the steps that are left before the first message can be answered."""
    steps = [*_list_account_steps(board.accounts), *_list_gateway_steps(board.gateways)]
    if not board.accounts or not board.gateways:
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
