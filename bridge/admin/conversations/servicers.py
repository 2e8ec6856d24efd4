"""Who has a conversation in the platform's own client, for kinds with `Servicers`: handing it over, and taking it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.utils.translation import gettext_lazy as _

from accounts.channels import build_channel
from bridge.pipeline.inbound.reports import set_servicer
from channels_wechat.contract.capabilities import Servicers
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from bridge.admin.base import BridgeAdmin
    from bridge.models import Conversation

STATES = {
    "new": _("new: this account answers"),
    "assistant": _("this account answers"),
    "pool": _("waits for a servicer"),
    "servicer": _("a servicer answers"),
    "ended": _("ended, until the customer writes again"),
}


def has_servicers(conversation: Conversation) -> bool:
    return conversation.peer_kind == "direct" and isinstance(build_channel(conversation.account), Servicers)


def show(
    page_admin: BridgeAdmin[Conversation], request: HttpRequest, conversation: Conversation
) -> HttpResponse | None:
    """Ask the platform, by two calls, how the conversation stands and who can take it."""
    channel = _channel_of(conversation)
    try:
        state, people = channel.service_state(conversation.peer_id), channel.servicers()
    except ChannelError as error:
        messages.error(request, str(error))
        return None
    title = _("Servicers for %(conversation)s") % {"conversation": conversation}
    context = {"conversation": conversation, "state": state, "words": STATES[state.state], "people": people}
    return page_admin.page(request, "admin/bridge/servicers.html", title, conversation, _("Servicers"), **context)


def hand_over(page_admin: BridgeAdmin[Conversation], request: HttpRequest, conversation: Conversation) -> None:
    """Hand the conversation to the chosen servicer. The agent is asked no more until it is taken back or ended."""
    servicer = request.POST.get("servicer", "").strip()
    if not servicer:
        raise BadRequest
    try:
        _channel_of(conversation).hand_over(conversation.peer_id, servicer)
    except ChannelError as error:
        page_admin.notify_and_audit(request, conversation, str(error), messages.ERROR)
        return
    set_servicer(conversation, servicer)
    text = _("Handed over to %(servicer)s, who answers in the WeCom client. The agent is not asked.")
    page_admin.notify_and_audit(request, conversation, text % {"servicer": servicer})


def end_service(page_admin: BridgeAdmin[Conversation], request: HttpRequest, conversation: Conversation) -> None:
    """Take the conversation back. The platform allows that only by ending it, so the customer speaks next."""
    try:
        _channel_of(conversation).end_service(conversation.peer_id)
    except ChannelError as error:
        page_admin.notify_and_audit(request, conversation, str(error), messages.ERROR)
        return
    set_servicer(conversation, "")
    text = _(
        "Taken back: the conversation with the servicer has ended. The agent answers what the customer writes next."
    )
    page_admin.notify_and_audit(request, conversation, text)


def _channel_of(conversation: Conversation) -> Servicers:
    channel = build_channel(conversation.account)
    if not isinstance(channel, Servicers):
        raise BadRequest
    return channel
