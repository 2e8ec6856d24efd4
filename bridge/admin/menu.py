"""The menu. Built for each request, because it shows what this person may see and how many failures wait."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db.models import Value
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of
from bridge.admin.conversations.inbox import select_waiting
from bridge.operations import dashboard
from bridge.people import contact_requests

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.functional import _StrOrPromise

# A badge counts no further, and then shows 99+.
MAX_BADGE = 100


def build_navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups of entries, in the shape the theme takes."""
    groups = _build_groups(request)
    _add_badges([entry for _title, group in groups for entry in group])
    return [{"title": title, "items": _select_allowed(group)} for title, group in groups]


def list_pages(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the entries that this person may open, without counting anything."""
    return _select_allowed([entry for _title, group in _build_groups(request) for entry in group])


def _build_groups(request: HttpRequest) -> list[tuple[_StrOrPromise, list[dict[str, Any]]]]:
    return [
        ("", [_build_entry(request, _("Dashboard"), "dashboard", "index", "")]),
        (_("Messaging"), _messaging_group(request)),
        (_("Setup"), _setup_group(request)),
        (_("Operation"), _operation_group(request)),
    ]


def _add_badges(entries: list[dict[str, Any]]) -> None:
    """Show how many wait behind an entry, to those who see it; one query for all entries."""
    waiting = {reverse(f"admin:{name}"): rows for name, rows in _list_waiting().items()}
    shown = [entry for entry in entries if entry["has_it"] and entry["link"] in waiting]
    counts = _count_rows({entry["link"]: waiting[entry["link"]] for entry in shown})
    for entry in shown:
        if count := counts[entry["link"]]:
            entry["badge"] = "99+" if count >= MAX_BADGE else str(count)


def _list_waiting() -> dict[str, QuerySet[Any]]:
    """Return the name of a list's address → its rows that wait for somebody."""
    return {
        "bridge_delivery_dead_letters": dashboard.select_dead_letters(),
        "bridge_contactrequest_changelist": contact_requests.select_open(),
        "bridge_conversation_changelist": select_waiting(),
    }


def _count_rows(rows: dict[str, QuerySet[Any]]) -> Counter[str]:
    """Count each of these up to MAX_BADGE. Each part stops there, by an index of its own."""
    parts = [each.annotate(link=Value(link)).values_list("link", flat=True)[:MAX_BADGE] for link, each in rows.items()]
    return Counter(parts[0].union(*parts[1:], all=True) if parts else ())


def _messaging_group(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        _build_entry(
            request, _("Conversations"), "forum", "bridge_conversation_changelist", "bridge.view_conversation"
        ),
        _build_entry(request, _("Messages"), "chat_bubble", "bridge_message_changelist", "bridge.view_message"),
        _build_entry(request, _("Deliveries"), "outbox", "bridge_delivery_changelist", "bridge.view_delivery"),
        _build_entry(
            request, _("Dead letters"), "mark_email_unread", "bridge_delivery_dead_letters", "bridge.view_delivery"
        ),
        _build_entry(request, _("Replays"), "replay", "bridge_replayrun_changelist", "bridge.view_delivery"),
        _build_entry(
            request,
            _("Invitations and requests"),
            "person_add",
            "bridge_contactrequest_changelist",
            "bridge.view_contact",
        ),
        _build_entry(
            request, _("Canned answers"), "quickreply", "bridge_cannedanswer_changelist", "bridge.send_message"
        ),
    ]


def _setup_group(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        _build_entry(
            request,
            _("Accounts"),
            "account_circle",
            "accounts_channelaccount_changelist",
            "accounts.view_channelaccount",
        ),
        _build_entry(request, _("Gateways"), "hub", "openclaw_gateway_changelist", "openclaw.view_gateway"),
        _build_entry(request, _("Mappings"), "alt_route", "bridge_route_changelist", "bridge.view_route"),
        _build_entry(request, _("Contacts"), "contacts", "bridge_contact_changelist", "bridge.view_contact"),
    ]


def _operation_group(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        _build_entry(request, _("Reports"), "bar_chart", "reports", "bridge.view_delivery", namespace=""),
        _build_entry(request, _("Incidents"), "warning", "bridge_incident_changelist", "bridge.view_incident"),
        _build_entry(
            request, _("Alerts"), "notifications", "bridge_alertchannel_changelist", "bridge.view_alertchannel"
        ),
        _build_entry(
            request, _("Webhooks"), "webhook", "bridge_webhookendpoint_changelist", "bridge.view_webhookendpoint"
        ),
        _build_entry(request, _("Staff"), "person", "auth_user_changelist", "auth.view_user"),
        _build_entry(request, _("Staff groups"), "group", "auth_group_changelist", "auth.view_group"),
        _build_entry(request, _("API tokens"), "key", "knox_authtoken_changelist", "knox.view_authtoken"),
        _build_entry(request, _("Audit log"), "history", "auditlog_logentry_changelist", "auditlog.view_logentry"),
    ]


def _build_entry(
    request: HttpRequest, title: _StrOrPromise, icon: str, name: str, permission: str, namespace: str = "admin:"
) -> dict[str, Any]:
    """namespace: empty for a page that is not of the admin's own."""
    link = reverse(f"{namespace}{name}")
    here = request.path == link or (
        request.path.startswith(link) and name != "index" and not request.path.startswith(f"{link}dead-letters/")
    )
    has_it = not permission or user_of(request).has_perm(permission)
    return {"title": title, "icon": icon, "link": link, "has_it": has_it, "active": here}


def _select_allowed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["has_it"]]
