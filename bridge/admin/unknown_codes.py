"""The page of codes that no table explains: how often and when they were met, and what the platform said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of
from bridge.models import Target
from bridge.operations.unknown_codes import list_unknown_codes
from channels_wechat import KINDS, channel_class

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.utils.functional import _StrOrPromise

    from bridge.operations.unknown_codes import UnknownCode

SIDES: dict[str, _StrOrPromise] = {Target.AGENT: _("gateway"), Target.WEBHOOK: _("webhook")}


def show_unknown_codes(request: HttpRequest) -> HttpResponse:
    """Answer the page. Raises PermissionDenied."""
    user = user_of(request)
    if not user.has_perm("bridge.view_incident"):
        raise PermissionDenied
    may_open = user.has_perm("bridge.view_delivery")
    rows = [_as_row(one, may_open) for one in list_unknown_codes()]
    context = {**admin.site.each_context(request), "title": _("Codes without an explanation"), "rows": rows}
    return TemplateResponse(request, "admin/bridge/unknown_codes.html", context)


def _as_row(one: UnknownCode, may_open: bool) -> dict[str, Any]:
    deliveries = f"{reverse('admin:bridge_delivery_changelist')}?{urlencode({'code': one.code})}"
    return {
        "one": one,
        "side": SIDES.get(one.target) or (channel_class(one.kind).label if one.kind in KINDS else one.kind),
        "incident": reverse("admin:bridge_incident_change", args=[one.incident]),
        "deliveries": deliveries if one.has_deliveries and may_open else "",
    }
