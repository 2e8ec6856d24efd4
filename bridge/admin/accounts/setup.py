"""The steps that are left for a new account: its address in the console, *Test*, the first message, and the agent that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.shortcuts import render
from django.urls import reverse

from accounts.health import Health
from accounts.models import Connection
from bridge.admin.accounts import callback
from bridge.admin.accounts.panel import AccountPanel, Page, Position
from bridge.models import Message, Route
from channels_wechat.contract.capabilities import Callbacks
from channels_wechat.contract.connection import Connection as ConnectedChannel
from channels_wechat.contract.connection import Login

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel

VIEW = "accounts.view_channelaccount"


def find_heard_message(account: ChannelAccount) -> Message | None:
    """Return a message that this account received, whichever the index `message_idempotency` has first; None before the first."""
    received = Message.objects.filter(account=account, direction="in", source="channel").order_by()
    return next(iter(received.only("created_at", "conversation")[:1]), None)


def is_receiving(channel: Channel) -> bool:
    return bool(channel.receives_from)


def describe_steps(account: ChannelAccount, channel: Channel) -> dict[str, Any] | None:
    """Return what the panel shows; None once a message was received, because then there is nothing left to set up."""
    progress = describe_progress(account, channel)
    return None if progress["heard"] else {**_describe_way(account, channel), **progress}


def _describe_way(account: ChannelAccount, channel: Channel) -> dict[str, Any]:
    """way: how messages come, which says what is to be done first."""
    way = "login" if isinstance(channel, Login) else "callback" if isinstance(channel, Callbacks) else "connection"
    map_url = f"{reverse('admin:bridge_route_add')}?{urlencode({'account': account.pk})}"
    return {"way": way, "callback_url": callback.build_address(account), "map_url": map_url}


def describe_progress(account: ChannelAccount, channel: Channel) -> dict[str, Any]:
    """Return what happened already, which is read again every few seconds."""
    connected = isinstance(channel, ConnectedChannel)
    return {
        "last": callback.last_callback(account) if isinstance(channel, Callbacks) else None,
        "has_callbacks": isinstance(channel, Callbacks),
        "has_connection": connected,
        "connection": Connection.objects.filter(account=account).first() if connected else None,
        "works": account.state == Health.OK,
        "failed": account.state in (Health.FAILING, Health.STOPPED),
        "heard": find_heard_message(account),
        "mapped": Route.objects.filter(account=account, enabled=True).exists(),
    }


def answer_progress(
    _admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, channel: Channel
) -> HttpResponse:
    """Answer the panel, which asks every few seconds."""
    answer = render(
        request, "admin/accounts/panels/setup_progress.html", {"facts": describe_progress(account, channel)}
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


PANEL = AccountPanel(
    applies_to=is_receiving,
    template="admin/accounts/panels/setup.html",
    position=Position.ABOVE_FORM,
    facts=describe_steps,
    pages=(Page(name="setup", path="setup/", view=answer_progress, permission=VIEW),),
)
