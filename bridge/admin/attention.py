"""Needs attention: the open incidents on the first page, each with the button that mends it and the page that says why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of
from bridge.admin.routes import map_url
from bridge.models import Conversation, Delivery, Incident, ReplayKind, State, Target
from bridge.models.incidents import select_muted
from bridge.operations.problems import chats
from bridge.operations.problems.processes import find_silent_processes, read_last_sweep
from channels_wechat.contract.connection import NEEDS_LOGIN

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

    from bridge.operations.problems.sql import WaitingChat

# The first page shows at most so many; a link leads to the list of all.
MAX_ROWS = 30
# The page of an incident shows at most so many of what it is about.
MAX_EXAMPLES = 20
ABOUT_CHATS = ("chats_unmapped", "chats_waiting", "chats_waiting_long")
FAILURES = ("account_failures", "gateway_failures", "webhook_failures", "uncertain")
HELD = {"review_waiting": "review", "window_closed": "held"}


@dataclass(frozen=True, slots=True)
class Button:
    text: _StrOrPromise
    url: str


@dataclass(frozen=True, slots=True)
class Row:
    """incident: not saved, where no process is left that could have stored it. mend: None where this person may not mend it."""

    incident: Incident
    mend: Button | None


def describe_attention(request: HttpRequest) -> dict[str, Any]:
    """Return what attention.html shows: rows, how many are muted, and whether there are more; two queries."""
    user = user_of(request)
    if not user.has_perm("bridge.view_incident"):
        return {"attention": [], "muted": 0, "more": False}
    is_muted = select_muted(timezone.now())
    open_ones = Incident.objects.filter(closed_at=None)
    found = open_ones.exclude(is_muted).select_related("conversation", "owner", "acknowledged_by")
    shown = list(found.order_by("-severity", "opened_at")[: MAX_ROWS + 1])
    # A silent process that is muted, or stands further down, is stored all the same.
    silent = {problem.cause: problem for problem in find_silent_processes(read_last_sweep(), before_first=True)}
    others = list(open_ones.filter(is_muted | Q(cause__in=silent)))
    stored = {incident.cause for incident in others}
    unknown = [Incident(**problem.as_columns()) for cause, problem in silent.items() if cause not in stored]
    return {
        "attention": [Row(incident, find_mend(incident, user)) for incident in unknown + shown[:MAX_ROWS]],
        "muted": sum(incident.is_muted for incident in others),
        "more": len(shown) > MAX_ROWS,
    }


def find_mend(incident: Incident, user: User) -> Button | None:
    """Return the one button that leads to the cure; None where there is none, or this person may not use it."""
    for permission, button in _list_mends(incident):
        return button if user.has_perm(permission) else None
    return None


def _list_mends(incident: Incident) -> list[tuple[str, Button]]:
    """Return at most one button, with the permission that it takes."""
    if incident.code in FAILURES:
        return [("bridge.replay_delivery", Button(_("Fixed: replay these…"), replay_url(incident)))]
    if incident.code in ABOUT_CHATS:
        return [_mend_chats(incident)]
    if incident.code in HELD:
        query = {"open": HELD[incident.code], "account__id__exact": incident.account_id}
        url = f"{reverse('admin:bridge_delivery_changelist')}?{urlencode(query)}"
        return [("bridge.view_delivery", Button(_("Show these messages"), url))]
    if incident.code == "alerts_off":
        url = reverse("admin:bridge_alertchannel_changelist")
        return [("bridge.add_alertchannel", Button(_("Set up alerts"), url))]
    if incident.code == "alert_channel_fails":
        url = reverse("admin:bridge_alertchannel_change", args=[incident.cause.rpartition(":")[2]])
        return [("bridge.view_alertchannel", Button(_("Open the channel"), url))]
    return _open_page(incident)


def _mend_chats(incident: Incident) -> tuple[str, Button]:
    chat = incident.conversation
    if chat is None:
        url = reverse("admin:bridge_incident_change", args=[incident.pk])
        return "bridge.view_conversation", Button(_("Show these chats"), url)
    if incident.code == "chats_unmapped":
        return "bridge.add_route", Button(_("Map this chat"), map_url(chat.account_id, chat.peer_kind, chat.peer_id))
    url = reverse("admin:bridge_conversation_change", args=[chat.pk])
    return "bridge.view_conversation", Button(_("Answer"), url)


def _open_page(incident: Incident) -> list[tuple[str, Button]]:
    """Return the button to the page of the account, the gateway or the webhook that does not work."""
    because = incident.code_params.get("because")
    if incident.account_id:
        page = reverse("admin:accounts_channelaccount_change", args=[incident.account_id])
        if isinstance(because, dict) and because.get("code") == NEEDS_LOGIN:
            return [("accounts.view_channelaccount", Button(_("Log in"), f"{page}#login"))]
        return [("accounts.view_channelaccount", Button(_("Open the account"), page))]
    if incident.gateway_id:
        page = reverse("admin:openclaw_gateway_change", args=[incident.gateway_id])
        return [("openclaw.view_gateway", Button(_("Open the gateway"), page))]
    if incident.endpoint_id:
        page = reverse("admin:bridge_webhookendpoint_change", args=[incident.endpoint_id])
        return [("bridge.view_webhookendpoint", Button(_("Open the webhook"), page))]
    return []


def replay_url(incident: Incident) -> str:
    """Return the address of a new plan with this incident's name, kind of replay and filter filled in."""
    state = State.UNCERTAIN if incident.code == "uncertain" else State.DEAD
    place = {name: getattr(incident, f"{name}_id") for name in ("account", "gateway", "endpoint")}
    because = incident.code_params.get("because")
    to_agent = because["target"] == Target.AGENT if isinstance(because, dict) else bool(incident.gateway_id)
    given = {"kind": ReplayKind.ASK if to_agent else ReplayKind.AGAIN, "state": state, "name": incident.title[:100]}
    given |= place | {"reason": incident.reason, "code": incident.error_code}
    query = urlencode({name: value for name, value in given.items() if value})
    return f"{reverse('admin:bridge_replayrun_add')}?{query}"


def list_examples(incident: Incident) -> list[Delivery]:
    """Return the newest deliveries that an incident of failures is about, for its page."""
    if incident.code not in FAILURES or incident.closed_at:
        return []
    state = State.UNCERTAIN if incident.code == "uncertain" else State.DEAD
    found = Delivery.objects.filter(state=state, reason=incident.reason, code=incident.error_code, dismissed_at=None)
    for name in ("account", "gateway", "endpoint"):
        if pk := getattr(incident, f"{name}_id"):
            found = found.filter(**{name: pk})
    return list(found.select_related("message__conversation", "account", "endpoint").order_by("-id")[:MAX_EXAMPLES])


def _find_chats(incident: Incident, account: int) -> list[WaitingChat]:
    if incident.code == "chats_unmapped":
        return chats.list_unmapped(account)
    minutes = incident.code_params.get("minutes")
    return chats.list_for_staff(account, timezone.now() - timedelta(minutes=minutes) if minutes else None)


def list_chats(incident: Incident) -> list[dict[str, Any]]:
    """Return the chats that an open incident is about, the longest waiting first, each with the button that mends it."""
    if incident.code not in ABOUT_CHATS or incident.closed_at or not incident.account_id:
        return []
    waiting = _find_chats(incident, incident.account_id)[:MAX_EXAMPLES]
    rows = Conversation.objects.in_bulk([chat.conversation_id for chat in waiting])
    found = [(rows[chat.conversation_id], chat) for chat in waiting if chat.conversation_id in rows]
    to_map = incident.code == "chats_unmapped"
    return [
        {
            "row": row,
            "messages": chat.messages,
            "first": chat.first,
            "map_url": map_url(row.account_id, row.peer_kind, row.peer_id) if to_map else "",
        }
        for row, chat in found
    ]
