"""Writing to a person who may never have written, or to the only peer, for kinds that can send first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import BadRequest
from django.http import HttpResponseRedirect
from django.urls import reverse

from bridge.admin.accounts.panel import AccountPanel, Button, Position
from bridge.people import peers
from channels_wechat.contract.messages import Peer
from channels_wechat.contract.pasted import without_invisible

if TYPE_CHECKING:
    from django.http import HttpRequest

    from accounts.models import ChannelAccount
    from bridge.admin.base import BridgeAdmin
    from channels_wechat.contract.channel import Channel

MAX_ID_LENGTH = 200


def can_send_first(channel: Channel) -> bool:
    return channel.only_peer is not None or not channel.cannot_push(Peer("direct", "somebody"))


def open_conversation(
    _page_admin: BridgeAdmin[ChannelAccount], request: HttpRequest, account: ChannelAccount, channel: Channel
) -> HttpResponseRedirect:
    """Go to the conversation with a person, or with another direct peer that the kind accepts."""
    peer = channel.only_peer or Peer("direct", without_invisible(request.POST.get("peer_id", "")))
    if not peer.id or not peer.id.isprintable() or len(peer.id) > MAX_ID_LENGTH:
        raise BadRequest
    conversation = peers.get_conversation(account, peer.kind, peer.id)
    return HttpResponseRedirect(reverse("admin:bridge_conversation_change", args=[conversation.pk]))


PANEL = AccountPanel(
    applies_to=can_send_first,
    template="admin/accounts/panels/write.html",
    position=Position.STATE,
    permission="bridge.send_message",
    facts=lambda _account, channel: {"only_peer": channel.only_peer},
    buttons=(Button(name="write", run=open_conversation, permission="bridge.send_message"),),
)
