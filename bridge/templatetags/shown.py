"""`bridge.shown` for templates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import template
from django.utils.translation import gettext as _

from bridge import shown
from bridge.redact import redact

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

register = template.Library()
register.filter("ago", shown.ago)
register.filter("state_badge", shown.state_badge)
register.filter("health_badge", shown.health_badge)
register.filter("whom", shown.whom)
register.filter("mode_badge", shown.mode_badge)
register.filter("duration", shown.duration)


@register.filter
def as_in_the_menu(plural: Any) -> str:
    """The name of a list: some libraries call theirs otherwise than our menu."""
    ours = {"log entries": _("Audit log"), "users": _("Staff"), "groups": _("Staff groups")}
    return ours.get(str(plural), str(plural))


@register.filter
def usage(taken: Any) -> str:
    """What a turn took: the `usage` of an attempt."""
    return shown.usage(taken)


@register.filter
def pretty(value: Any) -> str:
    """JSON to read, with secrets hidden once more on the way out."""
    return json.dumps(redact(value), indent=2, ensure_ascii=False, default=str)


@register.simple_tag
def badge(word: str, tone: str) -> SafeString:
    return shown.badge(word, tone)
