"""Formats values for pages: a state as a word in a colour, a time as relative with the exact one on hover. Pure, no queries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from accounts.health import Health
from bridge.models import Conversation, ConversationEntry, Delivery, Outcome, State
from bridge.webhooks import post
from channels_wechat.contract.connection import NEEDS_LOGIN

if TYPE_CHECKING:
    from datetime import datetime

    from django.utils.functional import _StrOrPromise
    from django.utils.safestring import SafeString

# A future time of an hour or more is rounded up by so much: what got 30 days a moment ago still shows 30, not 29.
ROUNDED_UP, HOUR = timedelta(seconds=59), timedelta(hours=1)
# The tone is a CSS class; the word says the same.
STATE_TONES = {
    State.PENDING: "info",
    State.SENDING: "info",
    State.DELIVERED: "good",
    State.HELD: "warn",
    State.SKIPPED: "quiet",
    State.DEAD: "bad",
    State.UNCERTAIN: "warn",
}
HEALTH_TONES = {Health.NEW: "quiet", Health.OK: "good", Health.FAILING: "warn", Health.STOPPED: "bad"}
MODE_TONES = {Conversation.Mode.BOT: "good", Conversation.Mode.PAUSED: "warn", Conversation.Mode.HUMAN: "info"}
OUTCOME_TONES = {Outcome.OK: "good", Outcome.ERROR: "bad", Outcome.UNKNOWN: "warn", Outcome.INTERRUPTED: "warn"}


def badge(word: _StrOrPromise, tone: str) -> SafeString:
    return format_html('<span class="b-badge b-{}">{}</span>', tone, word)


def state_badge(delivery: Delivery) -> SafeString:
    if delivery.recalled_at:
        return badge(_("recalled"), "quiet")
    state = badge(delivery.get_state_display(), STATE_TONES[State(delivery.state)])
    return format_html("{} {}", state, badge(_("possibly twice"), "warn")) if delivery.possibly_twice else state


def recipient_text(delivery: Delivery) -> str:
    """Return the name of the receiver of a delivery that has no message: a webhook, or staff."""
    if delivery.endpoint:
        return _("Webhook %s") % delivery.endpoint
    return _("Event for a webhook that was deleted") if post.has_no_endpoint(delivery) else _("Alert to staff")


def health_badge(row: Any) -> SafeString:
    """Return the badges of an account or a gateway; of a failing account also when it is tried next."""
    if getattr(row, "sending_stopped_at", None):
        return format_html("{} {}", badge(_("sending stopped"), "bad"), _state_badge(row))
    return _state_badge(row)


def _state_badge(row: Any) -> SafeString:
    if not row.enabled:
        return badge(_("disabled"), "quiet")
    state, again = badge(row.get_state_display(), HEALTH_TONES[Health(row.state)]), getattr(row, "next_try_at", None)
    if row.state != Health.FAILING or again is None or row.state_code == NEEDS_LOGIN:
        return state
    if again <= timezone.now():
        return format_html("{} <small>{}</small>", state, _("the next attempt is due"))
    return format_html("{} <small>{} {}</small>", state, _("next attempt"), relative_time(again))


def mode_badge(conversation: Conversation) -> SafeString:
    mode = Conversation.Mode(conversation.mode)
    words = {mode.BOT: _("agent"), mode.PAUSED: _("paused"), mode.HUMAN: _("staff")}
    return badge(words[mode], MODE_TONES[mode])


def change_sentence(entry: ConversationEntry) -> str:
    """Return a sentence about what became of a conversation."""
    kinds, words = ConversationEntry.Kind, {"name": entry.by_name, "text": entry.text}
    by_nobody = {
        kinds.HANDED_BACK: _("The agent answers again, because staff had written nothing for some time."),
        kinds.NEW_SESSION: _("%(text)s began a new session: the agent remembers nothing from before."),
        kinds.CALLED: _("The person asked for staff: the agent is not asked any more."),
        kinds.HANDED_OVER: _("The agent handed over to staff: %(text)s")
        if entry.text
        else _("The agent handed over to staff."),
    }
    by_staff = {
        kinds.TAKEN: _("%(name)s took the conversation over."),
        kinds.ASSIGNED: _("%(name)s assigned it to %(text)s.")
        if entry.text
        else _("%(name)s took the colleague off it."),
        kinds.PAUSED: _("%(name)s paused the conversation."),
        kinds.HANDED_BACK: _("%(name)s handed it back to the agent."),
        kinds.NEW_SESSION: _("%(name)s began a new session: the agent remembers nothing from before."),
    }
    sentences = by_staff if entry.by_name else by_nobody
    kind = kinds(entry.kind)
    return sentences.get(kind, str(kind.label)) % words


def exact_time(when: datetime) -> str:
    return date_format(timezone.localtime(when), "Y-m-d H:i:s")


def relative_time(when: datetime | None) -> SafeString | str:
    """Return a time element. The page's script puts the exact time into the reader's zone and updates the words."""
    if when is None:
        return "–"
    return format_html(
        '<time class="b-time" datetime="{}" title="{}">{}</time>', when.isoformat(), exact_time(when), distance(when)
    )


def full_time(when: datetime | None) -> SafeString | str:
    """Return a time as relative, with the exact one and its zone below: on a phone and in a picture nothing can be hovered over."""
    if when is None:
        return "–"
    return format_html('<div>{}<br><small class="b-exact">{}</small></div>', relative_time(when), zoned_time(when))


def zoned_time(when: datetime) -> str:
    """Return 2026-11-28 14:03:05 UTC+8, in the zone of the page."""
    local = timezone.localtime(when)
    hours, minutes = divmod(int(local.utcoffset().total_seconds()) // 60, 60)  # type: ignore[union-attr]  # it has a zone
    zone = f"UTC{hours:+d}" + (f":{minutes:02d}" if minutes else "")
    return f"{exact_time(when)} {zone}"


def code_link(code: str) -> SafeString | str:
    """Return a code that leads to all deliveries with it."""
    if not code:
        return ""
    link = f"{reverse('admin:bridge_delivery_changelist')}?{urlencode({'code': code})}"
    return format_html('<a class="b-code-link" href="{}"><code>{}</code></a>', link, code)


def distance(when: datetime) -> str:
    now = timezone.now()
    if abs((now - when).total_seconds()) < 60:
        return _("in a moment") if when > now else _("just now")
    if when > now:
        until = when + ROUNDED_UP if when + ROUNDED_UP >= now + HOUR else when
        return _("in %(time)s") % {"time": timesince(now, until, depth=1)}
    return _("%(time)s ago") % {"time": timesince(when, now, depth=1)}


def duration(seconds: float) -> str:
    if seconds < 1:
        return _("%(n)d ms") % {"n": round(seconds * 1000)}
    if seconds < 120:
        return _("%(n).1f s") % {"n": seconds}
    return _("%(n)d min") % {"n": round(seconds / 60)}


def share(part: float | None) -> str:
    """Return a share, 0 to 1, as a percentage; a dash where there is none. What is not quite all is never shown as 100 %."""
    if part is None:
        return "–"
    percent = min(99.99, part * 100) if part < 1 else 100.0
    return f"{percent:.2f}".rstrip("0").rstrip(".") + " %"


def usage(values: dict[str, Any]) -> str:
    """Return one line of what an agent's turn cost. values: the `usage` of its attempt."""
    tokens = {name: int(values.get(name) or 0) for name in ("input", "output", "cache_read", "cache_write")}
    words = {
        "model": values.get("model") or _("a model"),
        "into": tokens["input"] + tokens["cache_read"] + tokens["cache_write"],
        "out": tokens["output"],
        "cached": tokens["cache_read"],
    }
    line = _("%(model)s: %(into)s tokens in (%(cached)s from its cache), %(out)s out") % words
    cost = values.get("cost")
    return line if cost is None else f"{line} · ${cost:.4f}"
