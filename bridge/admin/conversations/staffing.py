"""The buttons by which staff take a conversation over, give it to a colleague, pause it, and hand it back to the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, PermissionDenied
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bridge.admin.base import user_of
from bridge.admin.conversations import servicers
from bridge.admin.paging import row_number
from bridge.models import Conversation
from bridge.operations import handing_back
from bridge.operations.handing_back import Ask
from bridge.operations.unanswered import select_unanswered
from bridge.people import entries
from bridge.pipeline.agent import takeover

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from bridge.admin.base import BridgeAdmin

Mode = Conversation.Mode
# So many colleagues are offered.
MOST_COLLEAGUES = 200


def list_colleagues() -> list[User]:
    """Return those who can open the admin, by name."""
    return list(User.objects.filter(is_active=True, is_staff=True).order_by("username")[:MOST_COLLEAGUES])


def change_mode(page_admin: BridgeAdmin[Conversation], request: HttpRequest, talk: Conversation) -> HttpResponse | None:
    """Take over, pause or hand back, as the button says."""
    mode = request.POST.get("mode", "")
    if mode == Mode.HUMAN:
        take_over(page_admin, request, talk)
        return None
    if mode == Mode.PAUSED:
        takeover.pause(talk, user_of(request))
        page_admin.notify(request, talk, _("Paused. New messages are stored but not answered."))
        return None
    if mode != Mode.BOT:
        raise BadRequest
    if talk.servicer:
        servicers.end_service(page_admin, request, talk)
        return None
    return hand_back(page_admin, request, talk)


def take_over(page_admin: BridgeAdmin[Conversation], request: HttpRequest, talk: Conversation) -> None:
    try:
        takeover.take_over(talk, user_of(request))
    except takeover.TakenAlready as taken:
        text = _("%(name)s has taken it over already: assign it to yourself if you are to answer.")
        messages.warning(request, text % {"name": taken.name})
        return
    page_admin.notify(request, talk, _("You answer now. The agent is not asked."))


def assign(page_admin: BridgeAdmin[Conversation], request: HttpRequest, talk: Conversation) -> None:
    """Give it to the chosen colleague, or to nobody yet."""
    chosen = request.POST.get("colleague", "")
    to = User.objects.filter(is_active=True, is_staff=True, pk=row_number(chosen) or 0).first()
    if chosen and to is None:
        raise BadRequest
    takeover.assign(talk, to, user_of(request))
    if to is None:
        page_admin.notify(request, talk, _("It waits for a colleague. The agent is not asked."))
    else:
        page_admin.notify(request, talk, _("%(name)s answers now.") % {"name": entries.name_of(to)})


def hand_back(page_admin: BridgeAdmin[Conversation], request: HttpRequest, talk: Conversation) -> HttpResponse | None:
    """Hand back; where questions were asked meanwhile, ask first which of them the agent is to answer."""
    ask, unanswered = request.POST.get("ask", ""), select_unanswered(talk).count()
    if ask and ask not in list(Ask):
        raise BadRequest
    may_ask = user_of(request).has_perm("bridge.replay_delivery")
    if ask in (Ask.LAST, Ask.ALL) and not may_ask:
        raise PermissionDenied
    if unanswered and not ask and may_ask:
        context = {"conversation": talk, "count": unanswered, "most_asked": handing_back.MOST_ASKED}
        return page_admin.page(
            request, "admin/bridge/hand_back.html", _("Hand back to agent"), talk, _("Hand back to agent"), **context
        )
    try:
        done = handing_back.hand_back(talk, user_of(request), Ask(ask or Ask.NONE))
    except takeover.AnsweredElsewhere:
        messages.warning(
            request, _("A servicer answers it in the platform's own client: take it back from them first.")
        )
        return None
    page_admin.notify(request, talk, _describe(done.asked))
    if done.left_out:
        messages.warning(request, _describe_left_out(done.left_out))
    for pk, why in done.refused:
        messages.warning(request, f"#{pk}: {why}")
    return None


def _describe_left_out(count: int) -> str:
    text = ngettext(
        "%(n)d older message is left out: the agent is asked the newest %(most)d at most.",
        "%(n)d older messages are left out: the agent is asked the newest %(most)d at most.",
        count,
    )
    return text % {"n": count, "most": handing_back.MOST_ASKED}


def _describe(asked: int) -> str:
    if not asked:
        return _("The agent answers again.")
    return ngettext(
        "The agent answers again, and is asked %(n)d message.",
        "The agent answers again, and is asked %(n)d messages.",
        asked,
    ) % {"n": asked}
