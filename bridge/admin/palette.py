"""The palette (Ctrl+K): pages, things to do, and rows by name, number, id or code. Each only for those who may open it.

The theme draws it and has a search of its own behind it, which this takes the place of: that one writes every term in small letters, though
ids of platforms are not, and keeps for minutes what somebody found, even when their rights were taken away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from bridge.admin import saved_filters
from bridge.admin.base import user_of
from bridge.admin.menu import list_pages
from bridge.ui import palette

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse
    from django.utils.functional import _StrOrPromise

LONGEST_TERM = 200
MOST_FILTERS = 20


class Action(NamedTuple):
    """Something that staff do on a page of its own. name: the address's name within the admin; permissions: it needs all of them."""

    title: _StrOrPromise
    name: str
    permissions: tuple[str, ...]


ACTIONS = (
    Action(_("Add an account"), "accounts_channelaccount_add", ("accounts.add_channelaccount",)),
    Action(_("Add a gateway"), "openclaw_gateway_add", ("openclaw.add_gateway",)),
    Action(_("Add a mapping"), "bridge_route_add", ("bridge.add_route",)),
    Action(_("Test routing"), "bridge_route_explain", ("bridge.view_route",)),
    Action(_("Add a webhook"), "bridge_webhookendpoint_add", ("bridge.add_webhookendpoint",)),
    Action(_("Add a canned answer"), "bridge_cannedanswer_add", ("bridge.send_message",)),
    Action(_("Add a member of staff"), "auth_user_add", ("auth.add_user", "auth.change_user")),
    Action(_("Change my password"), "password_change", ()),
)
# Kind of a row → its icon, what it is called, and the name of its page.
ROWS: dict[str, tuple[str, _StrOrPromise, str]] = {
    "conversation": ("forum", _("conversation"), "bridge_conversation_change"),
    "contact": ("contacts", _("contact"), "bridge_contact_change"),
    "channelaccount": ("account_circle", _("account"), "accounts_channelaccount_change"),
    "gateway": ("hub", _("gateway"), "openclaw_gateway_change"),
    "route": ("alt_route", _("mapping"), "bridge_route_change"),
    "message": ("chat_bubble", _("message"), "bridge_message_change"),
    "delivery": ("outbox", _("delivery"), "bridge_delivery_change"),
}


class Result(NamedTuple):
    """A line of the palette, by the names that its template reads."""

    title: str
    description: str
    link: str
    icon: str


def search(request: HttpRequest) -> HttpResponse:
    """Answer what is typed into the palette."""
    term = request.GET.get("s", "").strip()[:LONGEST_TERM].replace("\x00", "")
    results = [*_find_pages(request, term), *_find_filters(request, term), *_find_rows(request, term)] if term else []
    answer = TemplateResponse(request, "unfold/helpers/command_results.html", {"results": results, "term": term})
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _find_pages(request: HttpRequest, term: str) -> Iterator[Result]:
    """Yield pages of the menu and things to do whose name holds the term."""
    folded = term.casefold()
    for page in list_pages(request):
        if folded in str(page["title"]).casefold():
            yield Result(str(page["title"]), str(_("page")), str(page["link"]), str(page["icon"]))
    for action in ACTIONS:
        if folded in str(action.title).casefold() and user_of(request).has_perms(action.permissions):
            yield Result(str(action.title), str(_("action")), reverse(f"admin:{action.name}"), "bolt")


def _find_filters(request: HttpRequest, term: str) -> Iterator[Result]:
    """Yield saved filters of the lists that this person may open."""
    lists = {page["link"]: str(page["title"]) for page in list_pages(request)}
    for saved in saved_filters.list_filters(user_of(request)).filter(name__icontains=term)[:MOST_FILTERS]:
        address = saved_filters.find_list(saved)
        if address in lists:
            about = f"{_('saved filter')} · {lists[address]}"
            yield Result(saved.name, about, f"{address}?{saved.query}", "filter_list")


def _find_rows(request: HttpRequest, term: str) -> Iterator[Result]:
    for hit in palette.find_rows(term, user_of(request).has_perm):
        yield _describe_code(hit) if hit.kind == "code" else _describe_row(hit)


def _describe_row(hit: palette.Hit) -> Result:
    icon, what, name = ROWS[hit.kind]
    title = f"#{hit.title}" if hit.kind in ("message", "delivery") else hit.title
    return Result(
        title, f"{what} · {hit.about}" if hit.about else str(what), reverse(f"admin:{name}", args=[hit.key]), icon
    )


def _describe_code(hit: palette.Hit) -> Result:
    address = f"{reverse('admin:bridge_delivery_changelist')}?{urlencode({'code': hit.key})}"
    return Result(hit.title, str(_("deliveries with this code")), address, "error")
