"""The event that messages of customer service wait to be pulled (page 94670). It names no sender and no message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Knock

if TYPE_CHECKING:
    from channels_wechat.wire.xml import Node

EVENT = "kf_msg_or_event"
KIND = "wecom_kf"


def knocks_in(node: Node) -> tuple[Knock, ...]:
    """Return the account whose messages wait; empty for any other callback."""
    open_kfid = word(node, "OpenKfId")
    if word(node, "Event").lower() != EVENT or not open_kfid:
        return ()
    return (Knock(KIND, open_kfid, word(node, "Token")),)
