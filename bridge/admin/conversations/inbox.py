"""The list of conversations as an inbox: the last message, who answers, since when questions wait, and what became of the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, Min, OuterRef, Q, Subquery
from django.db.models.functions import JSONObject, Left
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of
from bridge.models import Conversation, Delivery, Message, Reason, State, Target
from bridge.operations.dashboard import DEAD
from bridge.people import entries, peers
from bridge.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

WAITING = Q(state__in=(State.PENDING, State.SENDING))
# The reasons for which the newest message got no agent and that staff may want to change; other reasons are intended.
UNANSWERED_REASONS = {
    Reason.NO_ROUTE: _("no mapping"),
    Reason.ROUTE_DISABLED: _("mapping disabled"),
    Reason.PAUSED: _("not answered: paused"),
    Reason.HUMAN: _("for staff"),
}
FOR_STAFF = ~Q(mode=Conversation.Mode.BOT)
# Not where somebody answers in the platform's own client, where it goes on in another conversation, or where the account is disabled.
WAITS_FOR_STAFF = FOR_STAFF & Q(waiting_since__isnull=False, servicer="", moved_to=None, account__enabled=True)
SHOWN_CHARACTERS = 120


class ViewFilter(admin.SimpleListFilter):
    """The views of the inbox; each stands on an index of its own."""

    title, parameter_name = _("view"), "view"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, Any]]:
        return [
            ("waiting", _("waiting for staff")),
            ("mine", _("mine")),
            ("unassigned", _("unassigned")),
            ("unasked", _("no agent asked")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        views = {
            "waiting": WAITS_FOR_STAFF,
            "mine": FOR_STAFF & Q(assignee=user_of(request).pk),
            "unassigned": FOR_STAFF & Q(assignee=None),
            "unasked": Q(mode=Conversation.Mode.BOT, waiting_since__isnull=False),
        }
        return queryset.filter(views.get(self.value() or "", Q()))


def select_waiting() -> QuerySet[Conversation]:
    """Return the conversations that wait for staff, by the index conversation_waiting."""
    return Conversation.objects.filter(WAITS_FOR_STAFF)


@dataclass(frozen=True, slots=True)
class Last:
    """The newest message of a conversation. text: its beginning; author: who wrote it, for staff."""

    id: int
    kind: str
    direction: str
    source: str
    sender: str
    text: str
    at: datetime | None
    author: str = ""


def title_of(conversation: Conversation) -> str:
    return conversation.title or getattr(conversation, "contact_name", "") or conversation.peer_id


def annotate_rows(rows: list[Conversation]) -> None:
    """Give each row what its columns show, in three queries for all.

    `open_work`: what waits and what failed; `contact_name` of a person; `last`: the newest message; `outcome`: state and reason of the
    newest question; `unanswered_reason`: why no agent was asked; `waits_since`: the time of the oldest open question.
    """
    latest, work = _find_latest(rows), _find_open_work(rows)
    people = {(row.account_id, row.peer_id) for row in rows}
    names = peers.load_names(people | {(row.account_id, latest[row.pk][0].get("sender", "")) for row in rows})
    for row in rows:
        told, outcome = latest[row.pk]
        known: Any = row  # these are for the columns only
        known.open_work = {name: work[row.pk].get(name, (0, None))[0] for name in ("waiting", "dead", "uncertain")}
        known.waits_since = min(
            filter(None, [row.waiting_since, *(since for _n, since in work[row.pk].values())]), default=None
        )
        known.outcome = outcome
        reason = outcome.get("reason", "") if outcome.get("state") == State.SKIPPED else ""
        known.unanswered_reason = reason if reason in UNANSWERED_REASONS else ""
        known.contact_name = names.get((row.account_id, row.peer_id), "")
        known.last = _build_last(told, names.get((row.account_id, told.get("sender", "")), "")) if told else None


def _find_latest(rows: Iterable[Conversation]) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """Return conversation → its newest message, and the delivery of its newest question to the agent; by the index message_transcript."""
    messages = Message.objects.exclude(kind="event").order_by("-id")
    said = messages.filter(conversation=OuterRef("pk"))
    fields = {name: name for name in ("id", "kind", "direction", "source", "sender")}
    shown = JSONObject(**fields, text=Left("text", SHOWN_CHARACTERS + 1), at="created_at")
    question = messages.filter(conversation=OuterRef(OuterRef("pk")), direction="in").values("pk")[:1]
    turn = Delivery.objects.filter(message=Subquery(question), target=Target.AGENT, part=0)
    outcome = JSONObject(state="state", reason="reason")
    chosen = Conversation.objects.filter(pk__in=[row.pk for row in rows]).order_by()
    found = chosen.annotate(said=Subquery(said.values(it=shown)[:1]), turn=Subquery(turn.values(it=outcome)[:1]))
    return {pk: (said or {}, turn or {}) for pk, said, turn in found.values_list("pk", "said", "turn")}


def _find_open_work(rows: list[Conversation]) -> dict[int, dict[str, tuple[int, datetime | None]]]:
    """Return conversation → what waits, what is dead and what uncertain in its two lanes: how many, and the oldest question."""
    lanes = {f"{way}:{row.pk}": row.pk for row in rows for way in ("in", "out")}
    found: dict[int, dict[str, tuple[int, datetime | None]]] = {row.pk: {} for row in rows}
    counted = [
        Delivery.objects.filter(which, lane__in=lanes)
        .order_by()
        .values("lane", "state")
        .annotate(n=Count("id"), since=Min("created_at"))
        for which in (WAITING, DEAD)
    ]
    for row in counted[0].union(counted[1], all=True):
        name = row["state"] if row["state"] in (State.DEAD, State.UNCERTAIN) else "waiting"
        count, since = found[lanes[row["lane"]]].get(name, (0, None))
        asked = row["since"] if row["lane"].startswith("in:") else None
        found[lanes[row["lane"]]][name] = (count + row["n"], min(filter(None, (since, asked)), default=None))
    return found


def _build_last(told: dict[str, Any], name: str) -> Last:
    at = parse_datetime(told.pop("at"))
    author = (name or told["sender"]) if told["direction"] == "in" else str(Message.Source(told["source"]).label)
    return Last(**told, at=at, author=author)


def show_last(conversation: Conversation, *, may_read: bool) -> SafeString | str:
    last: Last | None = getattr(conversation, "last", None)
    if last is None:
        return "–"
    text = (last.text[:SHOWN_CHARACTERS] + "…" * (len(last.text) > SHOWN_CHARACTERS)) or f"[{last.kind}]"
    said = format_html('<span class="b-said">{}</span>', text if may_read else f"[{last.kind}]")
    author = format_html("<b>{}</b> ", last.author) if last.author else ""
    return format_html("{}{} <small>{}</small>", author, said, formatting.relative_time(last.at))


def show_waiting(conversation: Conversation) -> SafeString | str:
    since = getattr(conversation, "waits_since", None)
    if since is None:
        return "–"
    count = conversation.waiting_count
    badge = formatting.badge(_now("%(n)d unanswered") % {"n": count}, "warn") if count else ""
    return format_html("{} {}", formatting.relative_time(since), badge)


def show_answerer(conversation: Conversation) -> SafeString:
    mode = formatting.mode_badge(conversation)
    name = entries.name_of(conversation.assignee) or conversation.servicer
    return format_html("{} <span>{}</span>", mode, name) if name else mode


def show_open_work(conversation: Conversation) -> SafeString | str:
    """Show what waits and what failed; else what became of the newest question."""
    found: dict[str, int] = getattr(conversation, "open_work", {})
    words = {"waiting": (_("waiting"), "info"), "dead": (_("failed"), "bad"), "uncertain": (_("uncertain"), "warn")}
    badges = [
        (formatting.badge(f"{found[name]} {word}", tone),) for name, (word, tone) in words.items() if found.get(name)
    ]
    if reason := getattr(conversation, "unanswered_reason", ""):
        badges.append((formatting.badge(UNANSWERED_REASONS[Reason(reason)], "warn"),))
    outcome: dict[str, str] = getattr(conversation, "outcome", {})
    if not badges and outcome:
        label = Reason(outcome["reason"]).label if outcome["reason"] in Reason.values else State(outcome["state"]).label
        badges.append((formatting.badge(label, "quiet"),))
    return format_html_join(" ", "{}", badges) or "–"
