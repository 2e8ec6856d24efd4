"""`bridge.ui.formatting` for templates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import template
from django.utils.translation import gettext_lazy as _

from bridge.security.redaction import redact
from bridge.ui import formatting

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

register = template.Library()
register.filter("ago", formatting.relative_time)
register.filter("full_time", formatting.full_time)
register.filter("zoned_time", formatting.zoned_time)
register.filter("code_link", formatting.code_link)
register.filter("state_badge", formatting.state_badge)
register.filter("health_badge", formatting.health_badge)
register.filter("whom", formatting.recipient_text)
register.filter("mode_badge", formatting.mode_badge)
register.filter("change_sentence", formatting.change_sentence)
register.filter("share", formatting.share)


@register.filter
def duration(seconds: float | None) -> str:
    """A dash where nothing took any time."""
    return "–" if seconds is None else formatting.duration(seconds)


@register.filter
def as_in_the_menu(plural: Any) -> str:
    """The name of a list: some libraries call theirs otherwise than our menu."""
    ours = {"log entries": _("Audit log"), "users": _("Staff"), "groups": _("Staff groups")}
    return str(ours.get(str(plural), plural))


@register.filter
def usage(taken: Any) -> str:
    """What a turn took: the `usage` of an attempt."""
    return formatting.usage(taken)


@register.filter
def pretty(value: Any) -> str:
    """JSON to read, with secrets hidden once more on the way out."""
    return json.dumps(redact(value), indent=2, ensure_ascii=False, default=str)


@register.simple_tag
def badge(word: str, tone: str) -> SafeString:
    return formatting.badge(word, tone)
